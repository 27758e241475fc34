"""The HTTP API: `python -m claas.api` serves one engine; `claas.api.app.create_app` is the same, in process."""
