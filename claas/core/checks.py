"""Range and name checks whose messages carry the offending value, and what pydantic found, in a few words."""

import math
import re
import sys
from collections.abc import Collection

from pydantic import ValidationError

from claas.core.errors import InvalidInput

_LONGEST_ID = 200
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(_PART)
_ID = re.compile(rf"{_PART}(?:/{_PART})*")
_VERSIONED = re.compile(r"(.+)@([0-9]{1,9})", re.DOTALL)


def in_range(name: str, value: float, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Require `low <= value <= high` (`low < value` if `above`); NaN, infinity and non-numbers never pass."""
    if not is_finite(value) or value < low or (above and value == low) or value > high:
        bounds = f"> {low:g}" if above else f">= {low:g}"
        if math.isfinite(high):
            bounds += f" and <= {high:g}"
        raise InvalidInput(f"{name} must be {bounds}, got {value!r}")


def is_finite(value: object) -> bool:
    """Whether this is a number that a float can hold, neither NaN nor infinite; booleans are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def one_of(name: str, value: object, known: Collection[str]) -> None:
    """Require a known name; the message lists the known ones."""
    if not isinstance(value, str) or value not in known:  # from Python anything can come
        raise InvalidInput(f"unknown {name} {value!r}; known: {', '.join(sorted(known))}")


def adapter_id(value: str) -> str:
    """Require an id that cannot leave its store: parts of letters, digits, '.', '_' and '-', joined by '/'."""
    if len(value) > _LONGEST_ID or not _ID.fullmatch(value):
        raise InvalidInput(
            f"invalid adapter id {value[:_LONGEST_ID]!r}: use letters, digits, '.', '_' and '-', parts joined by '/', "
            f"each part starting with a letter or digit, at most {_LONGEST_ID} characters"
        )
    return value


def alias_name(value: str) -> str:
    """Require a name that an adapter could be served under: letters, digits, '.', '_' and '-'."""
    if len(value) > _LONGEST_ID or not _NAME.fullmatch(value):
        raise InvalidInput(
            f"invalid alias {value[:_LONGEST_ID]!r}: use letters, digits, '.', '_' and '-', starting with a letter or "
            f"digit, at most {_LONGEST_ID} characters"
        )
    return value


def served_name(lora_id: str) -> str:
    """The name an adapter is served under: characters outside [A-Za-z0-9._-] become '-'."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", lora_id)


def versioned_name(lora_id: str, version: int) -> str:
    """The served name of one version of an adapter: `eval-concise@7`."""
    return f"{served_name(lora_id)}@{version}"


def name_and_version(name: str) -> tuple[str, int] | None:
    """The parts of a name such as `eval-concise@7`; None of one without a version."""
    found = _VERSIONED.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def first_problem(error: ValidationError) -> str:
    """The first validation error, with its field if known: `steps.3.n: Field required`."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else problem["msg"]
