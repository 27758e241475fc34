"""What each item, pair or prompt of a measurement came to, taken from its transcripts."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from statistics import fmean
from typing import Any

from rouge_score.rouge_scorer import RougeScorer  # pyright: ignore[reportMissingTypeStubs]

from claas.core.errors import InvalidInput
from claas.results.records import Transcript

_scorer: Any = RougeScorer(["rougeL"])  # rouge-score ships no types


def self_rouge_l(answers: Sequence[str]) -> float | None:
    """Mean ROUGE-L F1 over all pairs of answers, in [0, 1]; None with fewer than two.

    Answers without a single word are alike when they are equal, and otherwise not.
    """
    pairs = list(combinations(answers, 2))
    return fmean(_alike(one, other) for one, other in pairs) if pairs else None


@lru_cache(maxsize=4096)  # 15 ms for two answers of 300 words, which a page compares each time it is shown
def _alike(one: str, other: str) -> float:
    if one == other:
        return 1.0
    return float(_scorer.score(one, other)["rougeL"].fmeasure)


ByItem = Mapping[str, float | None]

FROZEN = "frozen/"
"""How the items of collapse's frozen answers start; those of its samples start with `sample/`."""


def scores(rollouts: Iterable[Transcript], metric: str, prefix: str = "") -> ByItem:
    """The verifier's or checker's score of each item whose name starts with `prefix`."""
    return {
        rollout.item: _score(rollout)
        for rollout in rollouts
        if rollout.metric == metric and rollout.item.startswith(prefix)
    }


def margins(rollouts: Iterable[Transcript]) -> ByItem:
    """Nats by which each pair's positive answer is likelier than its negative one."""
    sums: dict[str, dict[str, float | None]] = {}
    for rollout in rollouts:
        pair, _, side = rollout.item.rpartition("/")
        if rollout.metric == "logprob_margin":
            sums.setdefault(pair, {})[side] = None if rollout.logprobs is None else math.fsum(rollout.logprobs)
    return {pair: _difference(sides.get("positive"), sides.get("negative")) for pair, sides in sums.items()}


def entropies(rollouts: Iterable[Transcript]) -> ByItem:
    """Mean entropy of each collapse prompt's samples, nats per token."""
    return _by_prompt(rollouts, lambda samples: _mean(sample.mean_entropy for sample in samples))


def tail_masses(rollouts: Iterable[Transcript]) -> ByItem:
    """Mean probability outside the likeliest tokens of each collapse prompt's samples, in [0, 1]."""
    return _by_prompt(rollouts, lambda samples: _mean(_tail_mass(sample) for sample in samples))


def mean_logprobs(rollouts: Iterable[Transcript]) -> ByItem:
    """Mean logprob of each frozen answer of collapse, nats per token."""
    return {
        rollout.item: _mean(written_logprobs(rollout))
        for rollout in rollouts
        if rollout.metric == "collapse" and rollout.item.startswith(FROZEN)
    }


def self_similarities(rollouts: Iterable[Transcript]) -> ByItem:
    """Self-ROUGE-L of each collapse prompt's samples; None with fewer than two."""
    return _by_prompt(
        rollouts, lambda samples: self_rouge_l([sample.response for sample in samples if sample.response is not None])
    )


def paired(after: ByItem, before: ByItem) -> tuple[list[float], list[float], int]:
    """After and before of what was measured both times, and how many of the two's items were not."""
    pairs = [(after.get(item), before.get(item)) for item in {**before, **after}]
    whole = [(new, old) for new, old in pairs if new is not None and old is not None]
    return [new for new, _ in whole], [old for _, old in whole], len(pairs) - len(whole)


def alike(one: Transcript, other: Transcript) -> bool:
    """Whether two runs' transcripts of an item are of the same question: one prompt, and one text where it is scored.

    Where a lost one does not say which text it was of, the prompt decides.
    """
    if one.prompt != other.prompt:
        return False
    given = one.metric == "logprob_margin" or one.item.startswith(FROZEN)
    return not given or None in (one.response, other.response) or one.response == other.response


def alike_in_entropy(one: Transcript, other: Transcript) -> bool:
    """`alike`, and both entropies are that of the full distribution or both its lower bound."""
    both = one.mean_entropy is not None and other.mean_entropy is not None
    return alike(one, other) and not (both and one.entropy_is_lower_bound != other.entropy_is_lower_bound)


def _by_prompt(rollouts: Iterable[Transcript], of: Callable[[list[Transcript]], float | None]) -> ByItem:
    clusters: dict[str, list[Transcript]] = {}
    for rollout in rollouts:
        if rollout.metric == "collapse" and rollout.item.startswith("sample/"):
            clusters.setdefault(rollout.item.rpartition("/")[0], []).append(rollout)
    return {prompt: of(samples) for prompt, samples in clusters.items()}


def _tail_mass(sample: Transcript) -> float | None:
    return _mean(max(0.0, 1.0 - math.fsum(map(math.exp, likeliest))) for likeliest in sample.top_logprobs or ())


def _score(rollout: Transcript) -> float | None:
    score = (rollout.verdict or {}).get("score")
    if not isinstance(score, int | float):
        return None
    if not 0 <= score <= 1:
        raise InvalidInput(f"{rollout.metric} {rollout.item}: a score is from 0 to 1, got {score}; restore the record")
    return float(score)


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def written_logprobs(frozen_answer: Transcript) -> Sequence[float]:
    """Nats for each token that version 0 wrote: not for the end of turn of an answer that hit the token bound."""
    logprobs = frozen_answer.logprobs or []
    return logprobs[:-1] if frozen_answer.finish_reason == "length" else logprobs
