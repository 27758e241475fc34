"""Two models' answers compared by a judge: what it said, who won each item, and the win rate that follows."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import scipy  # pyright: ignore[reportMissingTypeStubs]

from claas.results.endpoint import EndpointReply
from claas.results.records import Record
from claas.results.statistics import wilson

_scipy: Any = scipy  # ships no types: what comes from it is made a float where it enters

Order: TypeAlias = Literal["ab", "ba"]
"""Whose answer stands first: that of `a`, or that of `b`."""

ORDERS: tuple[Order, Order] = ("ab", "ba")

Place: TypeAlias = Literal["A", "B", "tie"]
"""What a judge names: the answer that stands first, the one that stands second, or neither."""

Winner: TypeAlias = Literal["a", "b", "tie"]
"""What that means for the two sides."""


class JudgeCall(EndpointReply):
    """A reply of the judge: a line of `judgments.jsonl`. `verdict` is who it is for, None where it cannot be read."""

    item: str
    order: Order
    seed: int
    verdict: Winner | None


def winner(place: Place | None, order: Order) -> Winner | None:
    """Whose answer the judge named, given whose stood first."""
    if place is None or place == "tie":
        return place
    return "a" if (place == "A") == (order == "ab") else "b"


class JudgedItem(Record):
    """One item in both orders. A win counts if both orders agree on it; else it is a tie, and `flipped`.

    `winner` is None where a reply is missing or cannot be read: `lost` and `unreadable` count such replies.
    `identical` answers are a tie and are not judged. Lengths are in characters of what a user sees.
    """

    item: str
    winner: Winner | None
    flipped: bool = False
    identical: bool = False
    unreadable: int = 0
    lost: int = 0
    length_a: int
    length_b: int

    @classmethod
    def of(cls, item: str, verdicts: Sequence[Winner | None], length_a: int, length_b: int) -> Self:
        """The item of its two verdicts, fewer where a reply was lost; None is one that cannot be read."""
        lost, unreadable = len(ORDERS) - len(verdicts), sum(verdict is None for verdict in verdicts)
        whole, agreed = lost + unreadable == 0, len(set(verdicts)) == 1
        return cls(
            item=item,
            winner=None if not whole else verdicts[0] if agreed else "tie",
            flipped=whole and not agreed,
            unreadable=unreadable,
            lost=lost,
            length_a=length_a,
            length_b=length_b,
        )


class WinRates(Record):
    """How often `b` wins over `a`, a tie counting half: `win_rate` = (wins + ties / 2) / n. None where n is 0.

    `ci` is its 95 % interval by Wilson's formula, with a tie as half a success: by simulation it covers the truth in 91
    to 100 % of samples of 10 to 80 items (least without a tie), where Student's t falls to 81.
    `length_controlled` is what the rate would be were all answers of equal length, see the function of that name.
    `n` items were judged: `wins`, `losses` and `ties` of `b`, among which `flipped` ones, whose winner changed with the
    order, and `identical` ones. Items with a reply that cannot be read (`unreadable`), or that never came (`lost`), are
    no part of n.
    """

    win_rate: float | None
    ci: tuple[float, float] | None
    length_controlled: float | None
    n: int
    wins: int
    losses: int
    ties: int
    flipped: int
    identical: int
    unreadable: int
    lost: int

    @classmethod
    def over(cls, items: Iterable[JudgedItem]) -> Self:
        """That of these items."""
        items = list(items)
        judged = [item for item in items if item.winner is not None]
        scores = [_SCORES[item.winner] for item in judged if item.winner is not None]
        lost = sum(item.lost > 0 for item in items)
        interval = wilson(sum(scores), len(scores)) if scores else None
        return cls(
            win_rate=fmean(scores) if scores else None,
            ci=None if interval is None else (interval.low, interval.high),
            length_controlled=length_controlled(scores, [item.length_b - item.length_a for item in judged]),
            n=len(judged),
            wins=sum(item.winner == "b" for item in judged),
            losses=sum(item.winner == "a" for item in judged),
            ties=sum(item.winner == "tie" for item in judged),
            flipped=sum(item.flipped for item in judged),
            identical=sum(item.identical for item in judged),
            unreadable=len(items) - len(judged) - lost,
            lost=lost,
        )


_SCORES: dict[Winner, float] = {"a": 0.0, "tie": 0.5, "b": 1.0}


_RIDGE = 0.01
"""Of the length's coefficient (scikit-learn's C = 100), which would be infinite where the longer answer always wins."""


def length_controlled(scores: Sequence[float], longer_by: Sequence[int]) -> float | None:
    """The win rate at no difference in length, by logistic regression (Dubois et al. 2024, AlpacaEval 2, simplified).

    P(b wins) = logistic(t + f tanh(d / s)), where d is by how many characters the answer of `b` is longer and s the
    standard deviation of d; a tie is half a win. The result is logistic(t). Theirs has a term for how hard each
    instruction is, and data of models told to be brief or verbose, which exist for their 805 instructions alone. Both
    are left out. None where nothing was judged, and where one side won everything: no t fits that.
    """
    if not scores or fmean(scores) in (0.0, 1.0):
        return None
    spread = stdev(longer_by) if len(longer_by) > 1 else 0.0
    if spread == 0.0 or len(set(scores)) == 1:
        return fmean(scores)
    won = np.asarray(scores)
    features = np.column_stack([np.ones(len(scores)), np.tanh(np.asarray(longer_by) / spread)])
    ridge = np.diag([0.0, _RIDGE])

    def loss(weights: Any) -> float:
        logits = features @ weights
        return float(np.sum(np.logaddexp(0.0, logits) - won * logits) + weights @ ridge @ weights / 2)

    def gradient(weights: Any) -> Any:
        return features.T @ (_scipy.special.expit(features @ weights) - won) + ridge @ weights

    def curvature(weights: Any) -> Any:
        likely = _scipy.special.expit(features @ weights)
        return (features.T * (likely * (1.0 - likely))) @ features + ridge

    fitted = _scipy.optimize.minimize(
        loss, np.zeros(2), jac=gradient, hess=curvature, method="trust-exact", options={"gtol": 1e-10}
    )
    return 1.0 / (1.0 + math.exp(-float(fitted.x[0])))
