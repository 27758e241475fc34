"""The text banks in `data/`, read once and typed."""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

DATA_DIR = Path(__file__).parent / "data"
Emoji = tuple[str, ...]


@dataclass(frozen=True)
class Topic:
    """Something to explain: wordings of its facts (the first two can open), its benefits, words one can do without."""

    name: str
    kinds: tuple[str, ...]
    facts: tuple[str, ...]
    benefits: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    plural: bool = False


@dataclass(frozen=True)
class Scene:
    """A kind of small talk; its first `opening` sentences always lead the answer."""

    prompts: tuple[str, ...]
    sentences: tuple[str, ...]
    emoji: Emoji
    opening: int
    slots: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Quiz:
    """A family of questions `<a>` with one right answer `<b>` each."""

    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    pairs: dict[str, str]


@dataclass(frozen=True)
class Snippet:
    """A small Python function."""

    name: str
    does: str
    args: str
    doc: tuple[str, ...]
    note: str
    body: str
    loop: bool = False


@dataclass(frozen=True)
class StyleSpec:
    """Something a user may ask for: how often, in which words, and with what it cannot be combined."""

    weight: float
    phrasings: tuple[str, ...]
    parameter: str = ""
    excludes: frozenset[str] = field(default_factory=frozenset[str])


@dataclass(frozen=True)
class HeldOut:
    """Prompts and feedback are normalized; names and words are as written."""

    names: frozenset[str]
    words: frozenset[str]
    prompts: frozenset[str]
    feedback: tuple[str, ...]


def normalize(text: str) -> str:
    """The text without case, punctuation and doubled spaces: how held-out text is compared."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))


@cache
def topics() -> tuple[Topic, ...]:
    """Everything that can be explained; Python comes first."""
    return tuple(Topic(name=name, **_frozen(entry)) for name, entry in _read("topics").items())


@cache
def scenes() -> dict[str, Scene]:
    """Kinds of small talk by name."""
    return {name: _scene(entry) for name, entry in _read("social").items()}


@cache
def identity() -> dict[str, tuple[str, ...]]:
    """Templates `prompts`, `unnamed`, `named`, `rest`, `intro`, `late`."""
    return _frozen(_read("identity"))


@cache
def quizzes() -> dict[str, Quiz]:
    """Families of short questions by name."""
    return {
        name: Quiz(tuple(e["prompts"]), tuple(e["answers"]), {str(a): str(b) for a, b in e["pairs"].items()})
        for name, e in _read("quiz").items()
    }


@cache
def snippets() -> tuple[Snippet, ...]:
    """The functions to write; `fibonacci` comes first."""
    return tuple(Snippet(**_frozen(entry)) for entry in _read("code"))


@cache
def prompts() -> dict[str, tuple[str, ...]]:
    """Templates about a topic, by kind, and the general answers."""
    return _frozen(_read("prompts"))


@cache
def styles() -> dict[str, StyleSpec]:
    """Every style by name; exclusions hold both ways."""
    entries = {name: e for name, e in _read("styles").items() if name not in ("prefixes", "carriers")}
    excluded = {name: set(e.get("excludes", ())) for name, e in entries.items()}
    for name, others in list(excluded.items()):
        for other in others:
            excluded[other].add(name)
    return {
        name: StyleSpec(e["weight"], tuple(e["phrasings"]), e.get("parameter", ""), frozenset(excluded[name]))
        for name, e in entries.items()
    }


@cache
def prefixes() -> tuple[str, ...]:
    """What may stand before a wish."""
    return tuple(_read("styles")["prefixes"])


@cache
def carriers() -> dict[str, tuple[str, ...]]:
    """Sentences that make room for a style in an answer."""
    return _frozen(_read("styles")["carriers"])


@cache
def words() -> dict[str, tuple[str, ...]]:
    """Lists `names`, `words` and `phrases`."""
    bank = _read("words")
    return {key: tuple(value.split() if isinstance(value, str) else value) for key, value in bank.items()}


@cache
def held_out() -> HeldOut:
    """What the corpus must not contain."""
    bank = _read("held_out")
    return HeldOut(
        names=frozenset(bank["names"]),
        words=frozenset(bank["words"]),
        prompts=frozenset(normalize(prompt) for prompt in bank["prompts"]),
        feedback=tuple(normalize(phrase) for phrase in bank["feedback"]),
    )


def _scene(entry: dict[str, Any]) -> Scene:
    return Scene(
        prompts=tuple(entry["prompts"]),
        sentences=tuple(entry["sentences"]),
        emoji=tuple(entry["emoji"].split()),
        opening=entry["opening"],
        slots=_frozen(entry.get("slots", {})),
    )


def _frozen(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(cast(list[Any], value)) if isinstance(value, list) else value for key, value in entry.items()}


@cache
def _read(name: str) -> Any:
    return yaml.safe_load((DATA_DIR / f"{name}.yaml").read_text(encoding="utf-8"))
