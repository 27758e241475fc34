"""Implementations of `claas.eval.run.reporter.Reporter` for the command line."""
