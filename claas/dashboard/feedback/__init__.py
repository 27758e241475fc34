"""The feedback log."""
