"""The Modal account: known to Modal's own package, checked before anything is started, and never shown."""

from claas.core.errors import InvalidInput, MissingExtra
from claas.core.secrets import MODAL_VARIABLES

_SETTINGS = ("token_id", "oauth_refresh_token")


def require_account() -> None:
    """Raise `MissingExtra` without Modal's package, `InvalidInput` where it knows no account."""
    try:
        from modal.config import config
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "modal":
            raise
        raise MissingExtra("modal", "modal") from error
    if not any(config.get(setting) for setting in _SETTINGS):
        raise InvalidInput(
            f"mode=modal needs a Modal account: run `modal setup`, or set {' and '.join(MODAL_VARIABLES)}"
        )
