"""What two answers to the same prompt say differently, word by word."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile

_WORD = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
"""A word or a sign, with the space before it: space alone says nothing of two texts being alike."""

MOST_WORDS = 500
"""Words and signs of each text that are compared: the time that takes grows with the square of their number, and comes
to a tenth of a second for two texts of a few words said over and over."""


@dataclass(frozen=True)
class Run:
    """A stretch of one of the texts; `changed`: the other one does not have it there."""

    text: str
    changed: bool


@dataclass(frozen=True)
class Changes:
    """Both texts in full, as stretches; `uncompared` words at their ends were not looked at, and count as unchanged."""

    before: tuple[Run, ...]
    after: tuple[Run, ...]
    uncompared: int = 0


def word_changes(before: str, after: str) -> Changes:
    """The two texts, joined again from their stretches: only the first `MOST_WORDS` of each are compared."""
    one, other = _WORD.findall(before), _WORD.findall(after)
    rests = ["".join(words[MOST_WORDS:]) for words in (one, other)]
    left, right = _compared(one[:MOST_WORDS], other[:MOST_WORDS])
    return Changes(
        before=_joined([*left, Run(rests[0], False)]),
        after=_joined([*right, Run(rests[1], False)]),
        uncompared=max(0, len(one) - MOST_WORDS) + max(0, len(other) - MOST_WORDS),
    )


def _compared(one: list[str], other: list[str]) -> tuple[list[Run], list[Run]]:
    """A common beginning needs no search: what is left is often little."""
    pairs = zip(one, other, strict=False)
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    left, right = [Run("".join(one[:start]), False)], [Run("".join(other[:start]), False)]
    for tag, i, j, k, m in SequenceMatcher(None, one[start:], other[start:], autojunk=False).get_opcodes():
        left.append(Run("".join(one[start + i : start + j]), tag != "equal"))
        right.append(Run("".join(other[start + k : start + m]), tag != "equal"))
    return left, right


def _joined(runs: list[Run]) -> tuple[Run, ...]:
    """Without empty stretches, and neighbours of one kind as one."""
    found: list[Run] = []
    for run in runs:
        if run.text and found and found[-1].changed == run.changed:
            found[-1] = Run(found[-1].text + run.text, run.changed)
        elif run.text:
            found.append(run)
    return tuple(found)
