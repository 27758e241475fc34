"""`python -m claas.eval.recompute`: every number of a run once more, from the transcripts in its own records."""
