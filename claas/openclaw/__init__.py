"""`python -m claas.openclaw`: a real OpenClaw gateway in front of the API, installed from npm, configured, started."""
