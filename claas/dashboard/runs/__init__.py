"""The list of runs, and a run."""
