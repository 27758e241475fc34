"""Settings as dataclasses: each is declared once with its default, its range and what it means.

From that one place come the check of a value, the error for a wrong or unknown one, `--help`, and docs/reference.md.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from claas.core.checks import in_range, one_of
from claas.core.errors import InvalidInput

T = TypeVar("T")

_LIMITS = "limits"
_MEANING = "description"  # pydantic's word, so that the schema of the HTTP API has the text, too
_STRICT = "strict"  # pydantic's word, too: no text and no truth value for a number


@dataclass(frozen=True)
class Bounds:
    """What a value may be: a number from `low` (itself excluded where `above`) to `high`, or one of `choices`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    choices: Collection[str] = ()

    def __str__(self) -> str:
        if self.choices:
            return " | ".join(self.choices)
        if math.isfinite(self.high):
            return f"{'above ' if self.above else ''}{self.low:g} to {self.high:g}"
        return f"{'>' if self.above else '>='} {self.low:g}" if math.isfinite(self.low) else ""


def setting(
    default: T,
    meaning: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: bool = False,
    choices: Collection[str] = (),
) -> T:
    """A field of a settings dataclass: its default, what it means in a few words, and its limits.

    None is within the limits of a field whose type has it.
    """
    metadata: dict[str, Any] = {_MEANING: meaning, _LIMITS: Bounds(low, high, above, choices)}
    if math.isfinite(low) or math.isfinite(high):
        metadata[_STRICT] = True
    if isinstance(default, list | dict) or is_dataclass(default):
        return cast(T, dataclasses.field(default_factory=partial(copy, cast(Any, default)), metadata=metadata))
    return cast(T, dataclasses.field(default=default, metadata=metadata))


def check_limits(settings: Any, section: str = "") -> None:
    """Require every field of a settings dataclass to be within its limits and of its type; for its `__post_init__`."""
    hints = _hints(settings.__class__)
    for field in fields(settings):
        limits: Bounds = field.metadata.get(_LIMITS, Bounds())
        value: Any = getattr(settings, field.name)
        name = f"{section}{field.name}"
        is_absent = value is None and NoneType in get_args(hints[field.name])
        if limits.choices and not is_absent:
            one_of(name, value, limits.choices)
        elif str(limits) and not is_absent:
            in_range(name, cast(Any, value), limits.low, limits.high, above=limits.above)
        _require_type(name, value, hints[field.name])


def _require_type(name: str, value: Any, wanted: Any) -> None:
    """What comes from a file was checked before; from Python anything can come."""
    try:
        _adapter(wanted).validate_python(value, strict=True)
    except ValidationError as error:
        raise _first_problem(error, name) from None


@dataclass(frozen=True)
class Setting:
    """One setting as a person meets it: `key` is dotted within a section."""

    key: str
    default: Any
    meaning: str
    limits: Bounds

    @property
    def section(self) -> str:
        """The section that it stands in, empty at the top."""
        return self.key.rpartition(".")[0]


def settings_of(kind: type) -> list[Setting]:
    """Every setting of a settings dataclass in order, those of its sections after the section itself."""
    settings: list[Setting] = []
    for field in fields(kind):
        limits, meaning = field.metadata.get(_LIMITS, Bounds()), field.metadata.get(_MEANING, "")
        settings.append(Setting(field.name, _default(field), meaning, limits))
        section = _section(kind, field.name)
        if section is not None:
            settings += [dataclasses.replace(inner, key=f"{field.name}.{inner.key}") for inner in settings_of(section)]
    return settings


@cache  # a list of runs reads the settings of each
def known_keys(kind: type) -> tuple[str, ...]:
    """Every key, those at the top first, those of the sections dotted."""
    return tuple(each.key for each in sorted(settings_of(kind), key=lambda each: each.section != ""))


def unknown_key(kind: type, key: str) -> InvalidInput:
    """The error for a key that does not exist, with those of its section that look like it, else all of them.

    Of a key in the class's `FOREIGN_KEYS`, it tells what stands there.
    """
    if said := _foreign_keys(kind).get(key):
        return InvalidInput(f"unknown key {key!r}: {said}")
    known = known_keys(kind)
    section, _, last = key.rpartition(".")
    beside = [name for name in known if name.rpartition(".")[0] == section] or known
    parts = {name.rpartition(".")[2]: name for name in (beside if section else reversed(known))}
    close = [parts[name] for name in difflib.get_close_matches(last, parts, n=2)]
    return InvalidInput(
        f"unknown key {key!r}; " + (f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(beside)}")
    )


def _foreign_keys(kind: type) -> Mapping[str, str]:
    """Settings of another program that people bring along, and for each what to write instead."""
    return getattr(kind, "FOREIGN_KEYS", {})


def settings_as_yaml(kind: type) -> list[str]:
    """Lines of YAML with every setting at its default, what it means as a comment; sections come last."""
    every = settings_of(kind)
    sections = [each for each in every if is_dataclass(each.default)]
    lines = [
        f"{each.key}: {written(each.default)}{_comment(each)}"
        for each in every
        if not each.section and each not in sections
    ]
    for section in sections:
        lines += ["", f"{section.key}:{_comment(section)}"]
        for each in every:
            if each.section == section.key:
                lines.append(f"  {each.key.rpartition('.')[2]}: {written(each.default)}{_comment(each)}")
    return lines


def written(value: Any) -> str:
    """A value as YAML and an override spell it, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


def _comment(each: Setting) -> str:
    return f"  # {each.meaning}" + (f" ({each.limits})" if str(each.limits) else "")


def require_known(kind: type, key: str) -> None:
    """Raise `InvalidInput` on a key that `kind` has not; in a section whose names are free, every key is known."""
    known = known_keys(kind)
    parts = key.split(".")
    sections = [".".join(parts[:count]) for count in range(1, len(parts))]
    is_free = any(each in known and not any(name.startswith(f"{each}.") for name in known) for each in sections)
    if key not in known and not is_free:
        raise unknown_key(kind, key)


def checked(kind: type[T], values: Mapping[str, Any]) -> T:
    """The settings of `values`; `InvalidInput` names the key that is unknown, or whose value is wrong.

    A bare value does for a list of one, and a bare text for a section that has a `kind`. A number in text
    (`${oc.env:PORT}`) does for a number, and the other way round.
    """
    if foreign := [unknown_key(kind, key) for key in values if key in _foreign_keys(kind)]:
        raise InvalidInput("; ".join(map(str, foreign)))
    for key in _flat(values):
        require_known(kind, key)
    hints = _hints(kind)
    for key in values:
        if key not in hints:
            raise InvalidInput(f"cannot read {key!r}: in a file, a section's keys stand below it, each on its own line")
    given = {key: _as_wanted(hints[key], value) for key, value in values.items()}
    try:
        # JSON is where pydantic's strict mode takes a mapping for a dataclass and still no text for a number.
        return _adapter(kind).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise _first_problem(error) from None


def _flat(values: Mapping[str, Any]) -> Iterable[str]:
    for key, value in values.items():
        yield str(key)
        if isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in cast(dict[str, Any], value))


def _as_wanted(kind: Any, value: Any) -> Any:
    wanted: set[Any] = {*(_alternatives(kind))} - {NoneType}
    for several, bare in ((list[str], str), (list[int], int)):
        if several in wanted and isinstance(value, bare) and not isinstance(value, bool):
            return [value]
    if isinstance(value, str) and is_dataclass(kind) and "kind" in _hints(cast(type, kind)):
        return {"kind": value}
    if wanted == {str} and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if wanted in ({int}, {float}) and isinstance(value, str):
        try:
            return wanted.pop()(value)
        except ValueError:
            return value
    return value


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _first_problem(error: ValidationError, *within: str) -> InvalidInput:
    """The first thing wrong, in what stands at `within`; types that were tried in turn are not named."""
    problem = error.errors(include_url=False)[0]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        return cause
    where = ".".join([*within, *(str(part) for part in problem["loc"] if part not in ("bool", "float", "int"))])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return InvalidInput(f"{where}: {message}, got {problem['input']!r}")


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _section(kind: type, name: str) -> type | None:
    """The dataclass of a field that is a section, also where it may be None."""
    hint = _hints(kind)[name]
    return next((each for each in (hint, *get_args(hint)) if isinstance(each, type) and is_dataclass(each)), None)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(kind)
