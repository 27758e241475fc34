"""What the harness, the installer and the user of an OpenClaw gateway have to agree on."""

DEFAULT_ALIAS = "claas"
"""The model id that the gateway is configured with once and for all: at the API, an alias of the adapter under test."""
