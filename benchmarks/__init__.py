"""What the project must reach in speed, memory and learning, measured as ratios in one run: `python -m benchmarks`."""
