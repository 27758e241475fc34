"""One transcript for reading: the prompt, the answer beside the baseline's, verdicts, and each token's probability."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from statistics import fmean

from claas.dashboard.pages import Excerpt, excerpt, readable, told
from claas.dashboard.step_choice import Pair
from claas.dashboard.token_shades import Shaded, Unlikely, least_likely, shaded
from claas.results.items import passed
from claas.results.numbers import figure
from claas.results.records import Transcript

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


@dataclass(frozen=True)
class Bounds:
    """How much of a transcript is shown: characters of the prompt and of each answer, and tokens."""

    prompt: int
    characters: int
    tokens: int


LISTED = Bounds(prompt=500, characters=1500, tokens=300)
WHOLE = Bounds(prompt=1_000_000, characters=1_000_000, tokens=5000)
_UNLIKELY = 6


@dataclass(frozen=True)
class Said:
    """What came back once: a text, or why it was lost. `outcome` is how the verifier judged it, `details` are its own.

    `passed` is None without a verdict, or where that does not say. `found` was measured of it, and `sampling` is how it
    was asked for; only what is known is there.
    """

    text: Excerpt | None
    error: str | None
    outcome: str | None
    passed: bool | None
    details: Mapping[str, str]
    found: Mapping[str, str]
    sampling: Mapping[str, str]


@dataclass(frozen=True)
class TranscriptView:
    """`before` is None where the baseline has no such item, and `changes` where there are no two texts to compare.

    `scored`: the text was given, and only its likelihood measured. `same`: the answer is the baseline's to the letter.
    `tokens` are None where the record has no texts of them.
    """

    metric: str
    item: str
    prompt: Excerpt
    now: Said
    before: Said | None
    flip: str | None
    truncated: bool
    scored: bool
    same: bool
    changes: Changes | None
    tokens: Shaded | None
    unlikely: list[Unlikely]
    address: str | None


def transcript_view(pair: Pair, bounds: Bounds, address: str | None) -> TranscriptView:
    """`address` shows this transcript whole."""
    now, before = pair.now, pair.before
    same = before is not None and now.response is not None and before.response == now.response
    one, other = _said(now, bounds), None if before is None else _said(before, bounds)
    return TranscriptView(
        metric=readable(now.metric),
        item=readable(now.item),
        prompt=excerpt(now.prompt, bounds.prompt),
        now=one,
        before=other,
        flip=("0 → 1" if passed(now) else "1 → 0") if pair.flipped else None,
        truncated=now.finish_reason == "length" and now.error is None,
        scored=_is_scored(now),
        same=same,
        changes=None if same else _changes(other, one),
        tokens=shaded(now, bounds.tokens),
        unlikely=least_likely(now, before, _UNLIKELY),
        address=address,
    )


def _said(transcript: Transcript, bounds: Bounds) -> Said:
    text = None if transcript.response is None else excerpt(transcript.response, bounds.characters)
    error = None if transcript.error is None else told(transcript.error, bounds.characters)
    details, found, sampling = _details(transcript, bounds), _found(transcript), _sampling(transcript)
    return Said(text, error, _outcome(transcript), passed(transcript), details, found, sampling)


def _changes(before: Said | None, now: Said) -> Changes | None:
    if before is None or before.text is None or now.text is None:
        return None
    return word_changes(before.text.text, now.text.text)


def _outcome(transcript: Transcript) -> str | None:
    """`passed 1`, `failed 0.43`, or None without a verdict."""
    if transcript.verdict is None:
        return None
    score, strict = transcript.verdict.get("score"), passed(transcript)
    word = {True: "passed", False: "failed", None: "judged"}[strict]
    return f"{word} {figure(score)}" if isinstance(score, float | int) else word


def _details(transcript: Transcript, bounds: Bounds) -> dict[str, str]:
    """What else the verifier said."""
    found = transcript.verdict or {}
    return {readable(key): _value(value, bounds) for key, value in found.items() if key not in ("score", "passed")}


def _value(value: float | str | bool | None, bounds: Bounds) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    return (told(value, bounds.prompt) or "–") if isinstance(value, str) else figure(value)


def _found(transcript: Transcript) -> dict[str, str]:
    """How long and how likely it was."""
    logprobs, bound = transcript.logprobs, "at least " if transcript.entropy_is_lower_bound else ""
    return _known(
        {
            "finish": transcript.finish_reason,
            "tokens": None if transcript.completion_tokens is None else str(transcript.completion_tokens),
            "mean logprob": None if not logprobs else f"{figure(fmean(logprobs))} nats",
            "entropy": None
            if transcript.mean_entropy is None
            else f"{bound}{figure(transcript.mean_entropy)} nats/token",
        }
    )


def _sampling(transcript: Transcript) -> dict[str, str]:
    """What was asked for, and under which name the answer is kept."""
    sampled, cut = transcript.sampled_with, transcript.truncated_prompt_tokens
    return _known(
        {
            "temperature": None if transcript.temperature is None else figure(transcript.temperature),
            "seed": None if transcript.seed is None else str(transcript.seed),
            "sampled with": None if sampled is None else ", ".join(f"{key} {value}" for key, value in sampled),
            "prompt tokens": None if transcript.prompt_tokens is None else str(transcript.prompt_tokens),
            "cut from the prompt": None if not cut else f"{cut} tokens",
            "rollout": transcript.rollout_id,
        }
    )


def _known(facts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: readable(value) for name, value in facts.items() if value is not None}


def _is_scored(transcript: Transcript) -> bool:
    """A score has no temperature: its text was read, not written."""
    return transcript.temperature is None
