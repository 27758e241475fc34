"""How alike a model's answers to one prompt are."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from statistics import fmean
from typing import Any

from rouge_score.rouge_scorer import RougeScorer  # pyright: ignore[reportMissingTypeStubs]

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
