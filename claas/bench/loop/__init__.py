"""Benchmarks in the loop: lm-evaluation-harness's tasks as a metric of a run."""
