"""One measurement with its transcripts."""
