"""What the judge is asked, and how its reply is read."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Self

from claas.core.errors import InvalidInput
from claas.core.files import read_text
from claas.core.text import quoting_mark, visible
from claas.results.judging import Place

SHIPPED = Path(__file__).with_name("pairwise.txt")

_LAYOUT = "1"
"""The version of how conversations are quoted, which is as much a part of the prompt as the template."""

_PLACES: Mapping[str, Place] = {"a": "A", "b": "B", "tie": "tie"}
_SAID = re.compile(r"\[\[\s*(A|B|tie)\s*\]\]", re.IGNORECASE)
_NEEDED = {"mark", "conversation_a", "conversation_b"}


@dataclass(frozen=True)
class Exchange:
    """What a user said in each turn, and what one model answered; `reference` answers help the judge to be right."""

    turns: tuple[str, ...]
    answers: tuple[str, ...]
    reference: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.turns or len(self.turns) != len(self.answers):
            raise InvalidInput(f"a conversation needs an answer to each turn, got {len(self.answers)} answers")

    @property
    def length(self) -> int:
        """Characters of its answers, as a user sees them."""
        return sum(len(visible(answer)) for answer in self.answers)

    def reads_like(self, other: "Exchange") -> bool:
        """Whether a user sees the same answers."""
        return list(map(visible, self.answers)) == list(map(visible, other.answers))


@dataclass(frozen=True)
class JudgePrompt:
    """A template in which `$conversation_a`, `$conversation_b`, `$mark` and `$reference` stand for what they say."""

    name: str
    template: str

    @classmethod
    def from_file(cls, path: str | None) -> Self:
        """The one in a file; the shipped one where none is named. `InvalidInput` on one that cannot work."""
        place = SHIPPED if path is None else Path(path).expanduser()
        text = read_text(place)
        template = Template(text)
        if not template.is_valid():
            raise InvalidInput(f"{place}: a $ stands before something that is no name; write $$ for a dollar sign")
        known = _NEEDED | {"reference"}
        names = set(template.get_identifiers())
        if missing := sorted(_NEEDED - names):
            raise InvalidInput(f"{place} lacks ${missing[0]}: without it the judge would not see what it is to judge")
        if unknown := sorted(names - known):
            raise InvalidInput(f"{place}: unknown ${unknown[0]}; known: {', '.join(sorted(known))}")
        if lacking := [mark for mark in ("[[A]]", "[[B]]", "[[tie]]") if mark not in text]:
            raise InvalidInput(f"{place} does not ask for {lacking[0]}, one of the verdicts that are understood")
        return cls("pairwise" if path is None else place.name, text)

    @property
    def sha256(self) -> str:
        """Of everything about the prompt that does not depend on what is judged."""
        return hashlib.sha256(f"{_LAYOUT}\n{self.template}".encode()).hexdigest()

    def asking(self, first: Exchange, second: Exchange) -> str:
        """The whole message about two answers, in this order.

        Both are quoted between lines that begin with a mark. That is made of a hash of what it encloses, so that no
        answer can contain it, and none can end its own quotation or begin another's.
        """
        quoted = [*first.turns, *map(visible, first.answers), *map(visible, second.answers), *first.reference]
        mark = quoting_mark(quoted)
        return Template(self.template).substitute(
            mark=mark,
            conversation_a=_conversation(first, "A", mark),
            conversation_b=_conversation(second, "B", mark),
            reference=_reference(first.reference, mark),
        )


def place_named(reply: str) -> Place | None:
    """The verdict of a reply: that of its last line, else the only one it has. None where there is none, or several."""
    text = visible(reply)
    last = text.rpartition("\n")[2].strip(" \t*_`.")
    found: set[Place] = {_PLACES[said.lower()] for said in _SAID.findall(text)}
    if whole := _SAID.fullmatch(last):
        return _PLACES[whole[1].lower()]
    return next(iter(found)) if len(found) == 1 else None


def _conversation(exchange: Exchange, name: str, mark: str) -> str:
    turns = (
        f"{mark} the user says\n{asked}\n{mark} assistant {name} answers\n{visible(answered)}"
        for asked, answered in zip(exchange.turns, exchange.answers, strict=True)
    )
    return "\n".join([f"{mark} the conversation with assistant {name}", *turns, f"{mark} its end"])


def _reference(answers: Sequence[str], mark: str) -> str:
    if not answers:
        return ""
    quoted = "\n".join(f"{mark} a reference answer to turn {number}\n{text}" for number, text in enumerate(answers, 1))
    return f"\n{quoted}\n{mark} its end\n"
