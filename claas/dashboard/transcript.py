"""What a page says of one transcript: how it was judged, measured and sampled, and what it says unlike another."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from statistics import fmean

from claas.dashboard.pages import clipped
from claas.dashboard.step_choice import Pair
from claas.results.items import passed
from claas.results.numbers import NONE, figure
from claas.results.records import Transcript


@dataclass(frozen=True)
class Excerpts:
    """How much of a transcript is shown: characters of the prompt and of each answer, and tokens."""

    prompt: int
    characters: int
    tokens: int


LISTED = Excerpts(prompt=500, characters=1500, tokens=300)
WHOLE = Excerpts(prompt=1_000_000, characters=1_000_000, tokens=5000)


def outcome(transcript: Transcript) -> str | None:
    """`passed 1`, `failed 0.43`, or None without a verdict."""
    if transcript.verdict is None:
        return None
    score, word = transcript.verdict.get("score"), {True: "passed", False: "failed", None: "judged"}[passed(transcript)]
    return f"{word} {figure(score)}" if isinstance(score, float | int) else word


def details(transcript: Transcript, bounds: Excerpts) -> dict[str, str]:
    """What else the verifier said."""
    verdict = transcript.verdict or {}
    return {key: _written(value, bounds) for key, value in verdict.items() if key not in ("score", "passed")}


def measured(transcript: Transcript) -> dict[str, str]:
    """How long and how likely the answer was, as far as that is known."""
    logprobs, bound = transcript.logprobs, "at least " if transcript.entropy_is_lower_bound else ""
    entropy = transcript.mean_entropy
    return _known(
        {
            "finish": transcript.finish_reason,
            "tokens": transcript.completion_tokens,
            "mean logprob": f"{figure(fmean(logprobs))} nats" if logprobs else None,
            "entropy": None if entropy is None else f"{bound}{figure(entropy)} nats/token",
        }
    )


def sampling(transcript: Transcript) -> dict[str, str]:
    """What was asked for, and under which name the answer is kept, as far as that is known."""
    sampled, cut = transcript.sampled_with, transcript.truncated_prompt_tokens
    return _known(
        {
            "temperature": None if transcript.temperature is None else figure(transcript.temperature),
            "seed": transcript.seed,
            "sampled with": None if sampled is None else ", ".join(f"{key} {value}" for key, value in sampled),
            "prompt tokens": transcript.prompt_tokens,
            "cut from the prompt": f"{cut} tokens" if cut else None,
            "rollout": transcript.rollout_id,
        }
    )


def _known(facts: Mapping[str, str | int | None]) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items() if value is not None}


def _written(value: float | str | bool | None, bounds: Excerpts) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    return (clipped(value, bounds.prompt) or NONE) if isinstance(value, str) else figure(value)


_WORD = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
"""A word or a sign, with the space before it: space alone says nothing of two texts being alike."""

MOST_WORDS = 500
"""Words and signs of each text that are compared: the time that takes grows with the square of their number, and comes
to a tenth of a second for two texts of a few words said over and over."""


@dataclass(frozen=True)
class Stretch:
    """A part of one of two texts; `changed`: the other one does not have it there."""

    text: str
    changed: bool


@dataclass(frozen=True)
class Changes:
    """Both texts in full, as stretches; `uncompared` words at their ends were not looked at, and count as unchanged."""

    before: tuple[Stretch, ...]
    after: tuple[Stretch, ...]
    uncompared: int = 0


def changes(pair: Pair, bounds: Excerpts) -> Changes | None:
    """How the answer differs from the baseline's, as far as both are shown; None where there are no two texts."""
    before, now = pair.before and pair.before.response, pair.now.response
    if before is None or now is None:
        return None
    return word_changes(before[: bounds.characters], now[: bounds.characters])


def word_changes(before: str, after: str) -> Changes:
    """The two texts, joined again from their stretches: only the first `MOST_WORDS` of each are compared."""
    one, other = _WORD.findall(before), _WORD.findall(after)
    rests = ["".join(words[MOST_WORDS:]) for words in (one, other)]
    left, right = _compared(one[:MOST_WORDS], other[:MOST_WORDS])
    return Changes(
        before=_joined([*left, Stretch(rests[0], False)]),
        after=_joined([*right, Stretch(rests[1], False)]),
        uncompared=max(0, len(one) - MOST_WORDS) + max(0, len(other) - MOST_WORDS),
    )


def _compared(one: list[str], other: list[str]) -> tuple[list[Stretch], list[Stretch]]:
    """A common beginning needs no search: what is left is often little."""
    pairs = zip(one, other, strict=False)
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    left, right = [Stretch("".join(one[:start]), False)], [Stretch("".join(other[:start]), False)]
    for tag, i, j, k, m in SequenceMatcher(None, one[start:], other[start:], autojunk=False).get_opcodes():
        left.append(Stretch("".join(one[start + i : start + j]), tag != "equal"))
        right.append(Stretch("".join(other[start + k : start + m]), tag != "equal"))
    return left, right


def _joined(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    """The stretches without empty ones, neighbours of one kind as one."""
    joined: list[Stretch] = []
    for each in stretches:
        if each.text and joined and joined[-1].changed == each.changed:
            joined[-1] = Stretch(joined[-1].text + each.text, each.changed)
        elif each.text:
            joined.append(each)
    return tuple(joined)
