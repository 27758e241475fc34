"""The key to the service: from the environment only, checked before anything is started, and never shown."""

from claas.core.errors import InvalidInput

KEY_VARIABLE = "CLAAS_TINKER_API_KEY"


def require_key(key: str | None) -> str:
    """The key, known to be one. `InvalidInput` says what is wrong, and never what the key is."""
    if not key:
        raise InvalidInput(
            f"mode=tinker needs a key: set the environment variable {KEY_VARIABLE} to your Tinker API key"
        )
    if not key.startswith("tml-") or not key.isascii() or any(character.isspace() for character in key):
        raise InvalidInput(f"{KEY_VARIABLE} is not a Tinker API key: those begin with tml- and have no spaces")
    return key
