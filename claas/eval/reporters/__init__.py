"""Implementations of `claas.eval.reporter.Reporter` for the command line."""
