"""Experiment loggers: a run shown in the services that people watch their runs in, beside its own files."""
