"""Log probabilities in the shape of OpenAI's completions: four lists, side by side."""

import codecs
from collections.abc import Sequence

from claas.engines.base import Reading, Sample, TokenLogprob
from claas.wire.completions import CompletionLogprobs

_PART_OF_A_CHARACTER = "\ufffd"


def legacy_logprobs(text: str, shown: int, reading: Reading | None, sample: Sample | None) -> CompletionLogprobs:
    """Of the echoed prompt, where it was read, and of what was sampled; `text` is the choice's, prompt and all.

    `shown` is how many characters of `text` are the prompt's.
    """
    tokens: list[str] = []
    logprobs: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    offsets: list[int] = []
    if reading is not None:
        tokens += map(_written, reading.tokens, reading.token_bytes)
        logprobs += [None, *reading.logprobs]
        tops += [None, *_tops(tokens[1:], reading.logprobs, reading.top_logprobs)]
        offsets += _offsets(reading.tokens, reading.token_bytes, 0, shown)
    if sample is not None:
        known = sample.token_bytes or (None,) * len(sample.tokens)
        sampled = list(map(_written, sample.tokens, known))
        tokens += sampled
        logprobs += sample.logprobs
        tops += _tops(sampled, sample.logprobs, sample.top_logprobs)
        offsets += _offsets(sample.tokens, known, shown, len(text))
    return CompletionLogprobs(tokens=tokens, token_logprobs=logprobs, top_logprobs=tops, text_offset=offsets)


def _written(token: str, raw: bytes | None) -> str:
    """A token's text, or its bytes where it is a part of a character."""
    if raw is None or _PART_OF_A_CHARACTER not in token:
        return token
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _tops(
    tokens: Sequence[str], logprobs: Sequence[float], alternatives: Sequence[Sequence[TokenLogprob]]
) -> list[dict[str, float]]:
    """The alternatives to each token, and the token itself; of two that read the same, the likelier."""
    tops: list[dict[str, float]] = []
    for token, logprob, others in zip(tokens, logprobs, alternatives or [()] * len(tokens), strict=True):
        top: dict[str, float] = {}
        for other in others:
            top.setdefault(_written(other.token, other.raw), other.logprob)
        top.setdefault(token, logprob)
        tops.append(top)
    return tops


def _offsets(tokens: Sequence[str], raws: Sequence[bytes | None], start: int, end: int) -> list[int]:
    """Where each token begins, in characters, between `start` and `end` of the text."""
    offsets: list[int] = []
    characters = codecs.getincrementaldecoder("utf-8")(errors="ignore")
    at = start
    for token, raw in zip(tokens, raws, strict=True):
        offsets.append(min(at, end))
        at += len(characters.decode(token.encode() if raw is None else raw))
    return offsets
