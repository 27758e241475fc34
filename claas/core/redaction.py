"""Keys and passwords taken out of a text that leaves the process: in a message, a record, a page, or to a service."""

import os
import re

HIDDEN = "[key]"
"""What stands in a secret's place."""

_SHORTEST_VALUE, _SHORTEST_KEPT = 8, 6
"""Characters of a variable's value, and of a key that somebody uses, that is looked for: a shorter one is a word."""

_NAME = re.compile(
    r"(?:^|[_.-])(?:\w*KEY|TOKEN|SECRET|\w*PASSWORD|\w*PASSWD|CREDENTIALS?)(?:$|[_.-](?!(?:PATH|FILE|DIR)$))",
    re.IGNORECASE,
)
_PATTERNS = (
    (re.compile(r"(?<=//)[^/\s]+@"), f"{HIDDEN}@"),  # http://user:password@host
    (
        re.compile(
            r"(\bAuthorization['\"]?\s*[:=]\s*['\"]?(?:Bearer |Basic )?+)(?!\[key\])[^\s'\",;)}\]]+", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(Bearer) (?=[\w.~+/=-]*[\d_-])[\w.~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"([?&][\w.-]*(?:key|token|secret|password|signature)=)[^&\s'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"((?:api[-_]?key|password|passwd|client_secret|(?:access|auth)[-_]token)['\"]?\s*"
            r"(?:=\s*['\"]?|:\s*['\"]|:\s*(?=\S*\d)))"  # after a colon without quotes, a word goes on with the sentence
            r"(?!\[key\]|None\b|null\b)[^\s'\",;&)}\]]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(?:sk|tml|hf|ghp|gho|glpat|xox[abps])[-_][\w-]{16,}"), HIDDEN),
)
_kept: set[str] = set()


def without_secrets(text: str) -> str:
    """The text without keys and passwords. Idempotent.

    Taken out are, wherever they stand, the values of environment variables that are called like secrets, and keys that
    are in use (`keep_secret`); who asks, in an address; what follows `Authorization:`, `Bearer`, `api_key=` and the
    like; and what looks like a key of a known service.
    """
    text = without_known_secrets(text)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def without_known_secrets(text: str) -> str:
    """The text without keys that are known here: of what a model says, which is else left as it is."""
    for value in known_secrets():
        text = text.replace(value, HIDDEN)
    return text


def keep_secret(value: str | None) -> None:
    """Take this key out of every text from now on."""
    if value is not None and len(value) >= _SHORTEST_KEPT:
        _kept.add(value)


def known_secrets() -> list[str]:
    """Keys in use, and the values of variables that are called like secrets, the longest first."""
    named = {value for name, value in os.environ.items() if names_secret(name) and len(value) >= _SHORTEST_VALUE}
    return sorted(named | _kept, key=len, reverse=True)


def names_secret(name: str) -> bool:
    """Whether a variable or a setting of this name holds a secret: `HF_TOKEN`, `api_key`, `password`."""
    return _NAME.search(name) is not None
