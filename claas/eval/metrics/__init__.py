"""The metrics, one file each, and the verifiers they use."""
