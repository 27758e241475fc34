"""The HTTP API: `python -m claas.api` serves one engine; `claas.api.app.create_app` is the same, in process."""

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    if name == "web_app":
        raise ImportError(
            "claas.api has no app before its settings are known: start it with `python -m claas.api host=... port=...` "
            "or make it with claas.api.app.create_app"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
