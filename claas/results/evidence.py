"""What each item, pair or prompt of a measurement came to, taken from its transcripts."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from statistics import fmean

from rapidfuzz.distance import LCSseq

from claas.core.errors import InvalidInput
from claas.core.text import words
from claas.results.keys import Items
from claas.results.records import Transcript

ByItem = Mapping[str, float | None]
"""A value by item; None where it was asked for and not measured."""


def by_item(rollouts: Iterable[Transcript], items: Items) -> ByItem:
    """What every item among these transcripts comes to."""
    value = _value(items)
    transcripts: dict[str, list[Transcript]] = {}
    for rollout in rollouts:
        name = item_of(rollout, items)
        if name is not None:
            transcripts.setdefault(name, []).append(rollout)
    return {name: value.of(found) for name, found in transcripts.items()}


def item_of(rollout: Transcript, items: Items) -> str | None:
    """The item that the transcript belongs to, None for none of these: samples and sides of one share a name."""
    if not items.covers(rollout.metric, rollout.item):
        return None
    return rollout.item.rpartition("/")[0] if _value(items).several else rollout.item


def paired(after: ByItem, before: ByItem) -> tuple[list[float], list[float], int]:
    """The values after and before of what was measured both times, and how many of the two's items were not."""
    pairs = [(after.get(item), before.get(item)) for item in {**before, **after}]
    whole = [(new, old) for new, old in pairs if new is not None and old is not None]
    return [new for new, _ in whole], [old for _, old in whole], len(pairs) - len(whole)


def alike(one: Transcript, other: Transcript, items: Items) -> bool:
    """Whether two runs' transcripts of an item measure the same thing: one prompt, and one text where that is given.

    Where a lost one does not say which text it was of, the prompt decides. Two entropies are of the same kind: both
    that of the full distribution, or both its lower bound.
    """
    if one.prompt != other.prompt:
        return False
    if _value(items).given and None not in (one.response, other.response) and one.response != other.response:
        return False
    both = items.value == "entropy" and one.mean_entropy is not None and other.mean_entropy is not None
    return not (both and one.entropy_is_lower_bound != other.entropy_is_lower_bound)


def self_rouge_l(answers: Sequence[str]) -> float | None:
    """Mean ROUGE-L F1 over all pairs of answers, in [0, 1]; None with fewer than two.

    It is taken over the words of every script, characters where a script has no spaces, and over the signs of an answer
    without a single word.
    """
    pairs = list(combinations(answers, 2))
    return fmean(_rouge_l(one, other) for one, other in pairs) if pairs else None


def written_logprobs(frozen_answer: Transcript) -> Sequence[float]:
    """Nats for each token that version 0 wrote: not for the end of turn of an answer that hit the token bound."""
    logprobs = frozen_answer.logprobs or []
    return logprobs[:-1] if frozen_answer.finish_reason == "length" else logprobs


@dataclass(frozen=True)
class _Value:
    """How an item's transcripts become one number. `several`: it has more than one, whose names differ in what follows
    the last slash. `given`: the text is given, and not sampled."""

    of: Callable[[Sequence[Transcript]], float | None]
    several: bool = False
    given: bool = False


def _value(items: Items) -> _Value:
    kind, _, field = items.value.partition(".")
    return _VALUES[kind] if not field else _Value(lambda found: _number(found[-1], field))


def _score(rollout: Transcript) -> float | None:
    score = _number(rollout, "score")
    if score is not None and not 0 <= score <= 1:
        raise InvalidInput(f"{rollout.metric} {rollout.item}: a score is from 0 to 1, got {score}; restore the record")
    return score


def _number(rollout: Transcript, field: str) -> float | None:
    value = (rollout.verdict or {}).get(field)
    return float(value) if isinstance(value, int | float) else None


def _missed(rollout: Transcript) -> float | None:
    score = _score(rollout)
    return None if score is None else 1.0 - score


def _margin(sides: Sequence[Transcript]) -> float | None:
    """Nats by which the text whose name ends in `positive` is likelier than the one whose name ends in `negative`."""
    sums = {side.item.rpartition("/")[2]: math.fsum(side.logprobs) for side in sides if side.logprobs is not None}
    positive, negative = sums.get("positive"), sums.get("negative")
    return None if positive is None or negative is None else positive - negative


def _tail_mass(sample: Transcript) -> float | None:
    """The mean probability outside of the likeliest tokens."""
    return _mean(max(0.0, 1.0 - math.fsum(map(math.exp, likeliest))) for likeliest in sample.top_logprobs or ())


def _similarity(samples: Sequence[Transcript]) -> float | None:
    return self_rouge_l([sample.response for sample in samples if sample.response is not None])


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


@lru_cache(maxsize=4096)
def _rouge_l(one: str, other: str) -> float:
    """ROUGE-L F1: the words of the longest common subsequence, of those of either text."""
    if one == other:
        return 1.0
    ours, theirs = _words(one), _words(other)
    common = LCSseq.similarity(ours, theirs)
    if not common:
        return 0.0
    precision, recall = common / len(theirs), common / len(ours)
    return 2 * precision * recall / (precision + recall)


def _words(text: str) -> list[str]:
    """Words by Unicode's rules, the characters of scripts without spaces; a text's signs where it has no word."""
    return words(text) or list("".join(text.split()))


_VALUES: Mapping[str, _Value] = {
    "score": _Value(lambda found: _score(found[-1])),
    "joint_score": _Value(lambda found: _score(found[-1]), several=True),
    "missed": _Value(lambda found: _missed(found[-1])),
    "mean_score": _Value(lambda wordings: _mean(map(_score, wordings)), several=True),
    "mean_missed": _Value(lambda wordings: _mean(map(_missed, wordings)), several=True),
    "margin": _Value(_margin, several=True, given=True),
    "entropy": _Value(lambda samples: _mean(sample.mean_entropy for sample in samples), several=True),
    "tail_mass": _Value(lambda samples: _mean(_tail_mass(sample) for sample in samples), several=True),
    "self_rouge_l": _Value(_similarity, several=True),
    "mean_logprob": _Value(lambda found: _mean(written_logprobs(found[-1])), given=True),
}
"""Every kind of value, by the name that `Items.value` gives it."""
