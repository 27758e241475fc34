"""Pictures of a run: what they show (`pictures`), and their drawing as PNG files (`files`)."""
