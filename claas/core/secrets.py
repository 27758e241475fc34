"""The environment variables that hold secrets, which stand nowhere else."""

API_KEY_VARIABLE = "CLAAS_API_KEY"
"""The bearer token that the API wants, for whoever serves it and whoever asks it."""

TOKEN_VARIABLE = "OPENCLAW_GATEWAY_TOKEN"
"""The bearer token that an OpenClaw gateway wants, for whoever starts it and whoever asks it."""

MODAL_VARIABLES = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")
"""The token of a Modal account, which Modal's own package reads, here or from its own file."""
