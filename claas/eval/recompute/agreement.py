"""Recorded against recomputed: how much was compared, and every place where the two disagree."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

RELATIVE, ABSOLUTE = 1e-9, 1e-12
"""Numbers agree within these. On the machine that made the record they are equal to the last bit; on another one `exp`
and `log` may differ in it, and a difference of sums carries that on."""

_NOTHING = "nothing"


@dataclass(frozen=True)
class Disagreement:
    """One value that is not what the record itself leads to. `where` is the file and, in a file of lines, the step."""

    where: str
    key: str
    recorded: object
    recomputed: object

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: recorded {_shown(self.recorded)}, recomputed {_shown(self.recomputed)}"


@dataclass
class Agreement:
    """What was checked of one part of a run. `notes` say what could not be, and why that is no disagreement."""

    part: str
    numbers: int = 0
    transcripts: int = 0
    disagreements: list[Disagreement] = field(default_factory=list[Disagreement])
    notes: list[str] = field(default_factory=list[str])

    def compare(self, where: str, key: str, recorded: object, recomputed: object) -> None:
        """Compare two JSON values leaf by leaf. Absent (not due) and null (not measured) are different things."""
        if _is_mapping(recorded) and _is_mapping(recomputed):
            for part in {**recorded, **recomputed}:
                self.compare(where, f"{key}.{part}", recorded.get(part, _NOTHING), recomputed.get(part, _NOTHING))
        elif _is_list(recorded) and _is_list(recomputed) and len(recorded) == len(recomputed):
            for index, (one, other) in enumerate(zip(recorded, recomputed, strict=True)):
                self.compare(where, f"{key}.{index}", one, other)
        else:
            self.numbers += _is_number(recorded) or _is_number(recomputed)
            if not _same(recorded, recomputed):
                self.disagreements.append(Disagreement(where, key, recorded, recomputed))

    def note_unreadable(self, where: str, error: Exception) -> None:
        """A record that cannot be read agrees with nothing."""
        self.disagreements.append(Disagreement(where, "the record", "what cannot be used", f"{_NOTHING} ({error})"))


def _same(one: object, other: object) -> bool:
    if _is_number(one) and _is_number(other):
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return type(one) is type(other) and one == other


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _shown(value: object) -> str:
    text = " ".join(str(value).split()) if value is not None else "null"
    return text if len(text) <= 200 else f"{text[:200]}…"
