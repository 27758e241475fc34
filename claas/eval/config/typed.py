"""From what was composed out of YAML and the command line to a checked `EvalConfig`."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from claas.core.errors import InvalidInput
from claas.core.training_config import TrainingConfig
from claas.eval.types import Criteria, EvalConfig

_SECTIONS: dict[str, type] = {"training": TrainingConfig, "criteria": Criteria}
_LISTS = ("preferences", "metrics")
_ADAPTER = TypeAdapter(EvalConfig)


def eval_config(values: Mapping[str, Any]) -> EvalConfig:
    """The configuration of `values`; `InvalidInput` names the key that is unknown, or whose value is wrong.

    One preference or metric may be given as a bare name.
    """
    known = known_keys()
    for key in _flat_keys(values):
        if key not in known:
            raise unknown_key(key)
    given = {key: [value] if key in _LISTS and isinstance(value, str) else value for key, value in values.items()}
    try:
        # JSON is where pydantic's strict mode takes a mapping for a dataclass and still no text for a number.
        return _ADAPTER.validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise _first_problem(error) from None


def known_keys() -> list[str]:
    """Every key, those of the sections dotted."""
    top = [each.name for each in fields(EvalConfig)]
    return top + [f"{section}.{each.name}" for section, kind in _SECTIONS.items() for each in fields(kind)]


def unknown_key(key: str) -> InvalidInput:
    """The error for a key that does not exist, with those of its section that look like it, else all of them."""
    known = known_keys()
    section, _, last = key.rpartition(".")
    beside = [name for name in known if name.rpartition(".")[0] == section] or known
    parts = {name.rpartition(".")[2]: name for name in (beside if section else reversed(known))}
    close = [parts[name] for name in difflib.get_close_matches(last, parts, n=2)]
    return InvalidInput(
        f"unknown key {key!r}; " + (f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(beside)}")
    )


def _flat_keys(values: Mapping[str, Any]) -> Iterable[str]:
    for key, value in values.items():
        yield key
        if key in _SECTIONS and isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in cast(dict[str, Any], value))


def _first_problem(error: ValidationError) -> InvalidInput:
    problem = error.errors(include_url=False)[0]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        return cause
    where = ".".join(str(part) for part in problem["loc"] if not (isinstance(part, str) and part in ("bool", "float")))
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return InvalidInput(f"{where}: {message}, got {problem['input']!r}")
