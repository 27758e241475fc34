"""Checkpoints of other kinds as Hugging Face folders, each converted once and checked before it is called done."""
