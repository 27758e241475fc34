"""Many checkpoints on the same benchmarks and held-out text, and which of them is the best."""
