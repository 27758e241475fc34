"""How likely each token of a text was, as one of seven shades: the text itself, cut where its tokens are."""

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from claas.core.text import PART_OF_A_CHARACTER, looks_special
from claas.dashboard.pages import control_pictures
from claas.results.records import Transcript

EDGES = (0.1, 0.5, 1.0, 2.0, 4.0, 7.0)
"""Nats below certainty at which a darker shade begins: 90 %, 61 %, 37 %, 14 %, 1.8 % and 0.09 %."""

_WHITE = {ord(" "): "␣", ord("\n"): "⏎", ord("\t"): "⇥"}
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True)
class Shade:
    """One line of the legend: the shade's number, and which tokens have it."""

    number: int
    meaning: str


@dataclass(frozen=True)
class ShadedSpan:
    """A stretch of text made by one token, or by several that are one character only together.

    `logprob` (nats) is the token's, of several the least likely one's. `in_text` is false for a token that the text
    does not show, such as the end of the turn.
    """

    text: str
    logprob: float
    tokens: int = 1
    in_text: bool = True

    @property
    def shade(self) -> int:
        """0 for what was all but certain, up to 6."""
        return shade(self.logprob)

    @property
    def note(self) -> str:
        """The exact number."""
        several = "" if self.tokens == 1 else f", the least likely of {self.tokens} tokens"
        return f"{self.logprob + 0.0:.4g} nats, {share(self.logprob)}{several}"


@dataclass(frozen=True)
class Shaded:
    """A text as its first tokens, `left_out` of which are not shown.

    `of_tokens`: text and tokens do not agree, so this is what the tokens spell, and not the text.
    """

    spans: tuple[ShadedSpan, ...]
    left_out: int
    of_tokens: bool


@dataclass(frozen=True)
class Unlikely:
    """One of the least likely tokens; `place` counts from 1. `before` is the same token's logprob at baseline."""

    place: int
    token: str
    logprob: float
    before: float | None

    @property
    def share(self) -> str:
        """Its probability."""
        return share(self.logprob)


def shade(logprob: float) -> int:
    """Which shade a logprob (nats) has."""
    return bisect_right(EDGES, -logprob)


def share(logprob: float) -> str:
    """A logprob as a probability in per cent, with two digits."""
    per_cent = 100 * math.exp(min(0.0, logprob))
    return f"{per_cent:.0f} %" if per_cent >= 10 else f"{per_cent:.2g} %"


def legend() -> list[Shade]:
    """Every shade, from certain to unlikely."""
    first = Shade(0, f"over {share(-EDGES[0])}")
    return [first, *(Shade(index, f"≤ {share(-edge)} (−{edge:g})") for index, edge in enumerate(EDGES, start=1))]


def shaded(transcript: Transcript, at_most: int) -> Shaded | None:
    """The first `at_most` tokens of what was said or scored; None where tokens are unknown."""
    tokens, logprobs = transcript.tokens, transcript.logprobs
    if tokens is None or logprobs is None or len(tokens) != len(logprobs):
        return None
    text = transcript.response or ""
    spans = _along(text, tokens, logprobs)
    alone = [ShadedSpan(control_pictures(token), logprob) for token, logprob in zip(tokens, logprobs, strict=True)]
    shown, count = list[ShadedSpan](), 0
    for span in alone if spans is None else spans:
        if count + span.tokens > at_most:
            break
        shown.append(span)
        count += span.tokens
    return Shaded(tuple(shown), len(tokens) - count, spans is None)


def least_likely(transcript: Transcript, before: Transcript | None, at_most: int) -> list[Unlikely]:
    """The least likely of the shaded tokens, the least likely first.

    Beside them stands the baseline's logprob, where that scored the same tokens.
    """
    tokens, logprobs = transcript.tokens, transcript.logprobs
    if tokens is None or logprobs is None or len(tokens) != len(logprobs):
        return []
    same = before is not None and before.response == transcript.response and len(before.logprobs or ()) == len(tokens)
    was = before.logprobs if before is not None and same else None
    places = (place for place in range(len(tokens)) if shade(logprobs[place]) > 0)
    order = sorted(places, key=lambda place: logprobs[place])[:at_most]
    return [
        Unlikely(place + 1, _spelled(tokens[place]), logprobs[place], None if was is None else was[place])
        for place in order
    ]


def _spelled(token: str) -> str:
    """A token by itself, its white space to be seen."""
    return control_pictures(token.translate(_WHITE))


def _along(text: str, tokens: Sequence[str], logprobs: Sequence[float]) -> list[ShadedSpan] | None:
    """The text, cut where its tokens are; None when they do not lead through it to its end."""
    spans: list[ShadedSpan] = []
    at = 0
    for first, last in _groups(tokens):
        group, logprob = tokens[first:last], min(logprobs[first:last])
        following = tokens[last] if last < len(tokens) else ""
        end = _end(text, at, group, following)
        if end is None and (at == len(text) or looks_special("".join(group))):
            spans.append(ShadedSpan(control_pictures("".join(group)), logprob, last - first, in_text=False))
        elif end is None:
            return None
        else:
            spans.append(ShadedSpan(control_pictures(text[at:end]), logprob, last - first))
            at = end
    return spans if not text[at:].strip() else None


def _groups(tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each token by itself, and parts of characters that follow each other as one."""
    for is_part, places in groupby(range(len(tokens)), key=lambda place: PART_OF_A_CHARACTER in tokens[place]):
        found = list(places)
        if is_part:
            yield found[0], found[-1] + 1
        else:
            yield from ((place, place + 1) for place in found)


def _end(text: str, at: int, group: Sequence[str], following: str) -> int | None:
    """Where in the text these tokens end; space may stand between tokens that do not have it."""
    spelled = "".join(group)
    if PART_OF_A_CHARACTER not in spelled:
        space = _SPACE.match(text, at)
        starts = (at, space.end() if space else at)
        return next((start + len(spelled) for start in starts if text.startswith(spelled, start)), None)
    lead = at + len(spelled) - len(spelled.lstrip())
    furthest = min(len(text), at + len(spelled) + len(following))
    found = text.find(following, lead + 1, furthest) if following else -1
    if found >= 0:
        return found
    return len(text) if at < len(text) <= at + len(spelled) else None
