"""A user who is played by a model, held against the verifier, which that model never sees."""

from collections.abc import Sequence

from claas.results.numbers import fixed, span
from claas.results.records import USER, History, Record
from claas.results.statistics import Interval, wilson


class Share(Record):
    """A share of `n`, with its interval (Wilson); None of nothing."""

    value: float | None
    ci: tuple[float, float] | None
    n: int


class UserAgreement(Record):
    """How well a user who is played by a model agrees with the preference's verifier.

    `asked` counts the answers that the model was shown, `lost` those of which it said nothing that can be read. Of the
    others, `precision` is the share that the verifier does not pass, of those the user was dissatisfied with; and
    `recall` is the share that the user was dissatisfied with, of those that the verifier does not pass.
    """

    asked: int
    lost: int
    precision: Share
    recall: Share


def agreement_of(history: History, confidence: float) -> UserAgreement | None:
    """That of one track; None where no model plays the user."""
    asked = [each for step in history.steps for each in step.rollouts if each.metric == USER]
    if not asked:
        return None
    read = [verdict for each in asked if (verdict := each.verdict) is not None and verdict["satisfied"] is not None]
    dissatisfied = [bool(verdict["violated"]) for verdict in read if not verdict["satisfied"]]
    violated = [not verdict["satisfied"] for verdict in read if verdict["violated"]]
    return UserAgreement(
        asked=len(asked),
        lost=len(asked) - len(read),
        precision=_share(dissatisfied, confidence),
        recall=_share(violated, confidence),
    )


def in_words(agreement: UserAgreement, confidence: float) -> str:
    """It in a sentence."""
    lost = f", {agreement.lost} of which left no reply that can be read" if agreement.lost else ""
    return (
        f"the user saw {agreement.asked} answers{lost}; against the verifier, dissatisfied with precision "
        f"{_said(agreement.precision)} and recall {_said(agreement.recall)} ({100 * confidence:g} % CI)"
    )


def _share(hits: Sequence[bool], confidence: float) -> Share:
    if not hits:
        return Share(value=None, ci=None, n=0)
    interval = wilson(sum(hits), len(hits), confidence)
    return Share(value=sum(hits) / len(hits), ci=(interval.low, interval.high), n=len(hits))


def _said(share: Share) -> str:
    ci = "" if share.ci is None else f" ({span(Interval(*share.ci), 2)}, n = {share.n})"
    return f"{fixed(share.value, 2)}{ci}"
