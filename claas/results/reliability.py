"""How far a judge can be trusted: whether it agrees with itself, whatever stands first, and with people."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from statistics import fmean
from typing import Any, TypeAlias

from claas.core.errors import MissingExtra
from claas.results.judging import JudgeCall, JudgedItem, Winner
from claas.results.numbers import fixed, percent, span
from claas.results.records import Record
from claas.results.statistics import Interval, wilson

Labels: TypeAlias = Mapping[str, Mapping[str, Winner]]
"""Who people say won, by person and item."""

LEAST_READABLE = 0.95
LEAST_CONSISTENT = 0.6
"""GPT-4's was 0.65 on MT-Bench (Zheng et al. 2023, table 2)."""
MOST_DISAGREEMENT = 0.2
LEAST_KAPPA = 0.4
"""Below it, agreement is fair at most (Landis & Koch 1977)."""
FEWEST_LABELS = 30


class HumanAgreement(Record):
    """The judge against people: `n` labels of items that it decided, by so many `people`.

    `agreement` is the share of labels that are the judge's winner. Cohen's kappa takes off what chance would give, None
    where everything has one label. Krippendorff's alpha (nominal) is over the judge and all people together.
    """

    n: int
    people: int
    agreement: float | None
    cohen_kappa: float | None
    krippendorff_alpha: float | None


class Reliability(Record):
    """What a judge's replies say of the judge. None is what was not measured; `warnings` say what fails, and so what.

    `readable` is the share of replies that have a verdict. `position_consistency` is the share of items whose winner
    did not change with the order. `first_position_share` is how often the answer that stood first was preferred, of all
    preferences, with its interval over items (Wilson's): of a judge that does not look at places it is one half. These
    are of `n` items that were judged in both orders. `self_disagreement` is the share of `repeated` items that had
    another outcome when they were judged again with another seed.
    """

    n: int
    readable: float | None
    position_consistency: float | None
    first_position_share: float | None
    first_position_ci: tuple[float, float] | None
    self_disagreement: float | None = None
    repeated: int = 0
    human: HumanAgreement | None = None
    warnings: list[str]

    @property
    def is_blind(self) -> bool:
        """Whether the judge only ever names one place, and often enough for that to be no chance."""
        one_place = self.first_position_share in (0.0, 1.0) and self.position_consistency == 0.0
        return one_place and self.leans

    @property
    def leans(self) -> bool:
        """Whether its preference for a place is more than chance."""
        ci = self.first_position_ci
        return ci is not None and not ci[0] <= 0.5 <= ci[1]


def reliability(
    items: Sequence[JudgedItem],
    calls: Iterable[JudgeCall],
    again: Sequence[JudgedItem] | None = None,
    labels: Labels | None = None,
) -> Reliability:
    """The reliability of a judge that said this, `again` with another seed, while people say `labels`."""
    replies = list(calls)
    judged = [item for item in items if item.winner is not None and not item.identical]
    shares = list(_first_shares(replies, {item.item for item in judged}))
    first = wilson(sum(shares), len(shares)) if shares else None
    repeated = _repeated(judged, again or ())
    found = Reliability(
        n=len(judged),
        readable=fmean(call.verdict is not None for call in replies) if replies else None,
        position_consistency=fmean(not item.flipped for item in judged) if judged else None,
        first_position_share=fmean(shares) if shares else None,
        first_position_ci=None if first is None else (first.low, first.high),
        self_disagreement=fmean(repeated) if repeated else None,
        repeated=len(repeated),
        human=None if labels is None else human_agreement(items, labels),
        warnings=[],
    )
    return found.model_copy(update={"warnings": list(_warnings(found))})


def human_agreement(items: Iterable[JudgedItem], labels: Labels) -> HumanAgreement:
    """The judge against people, on the items that both decided."""
    winners = {item.item: item.winner for item in items if item.winner is not None}
    people = [(f"person {name}", item, label) for name, said in labels.items() for item, label in said.items()]
    both = [(winners[item], label) for _, item, label in people if item in winners]
    ratings = [*(("the judge", item, won) for item, won in winners.items()), *people]
    return HumanAgreement(
        n=len(both),
        people=len(labels),
        agreement=fmean(one == other for one, other in both) if both else None,
        cohen_kappa=_kappa(both),
        krippendorff_alpha=_alpha(ratings) if both else None,
    )


def _first_shares(calls: Iterable[JudgeCall], items: set[str]) -> Iterator[float]:
    """Of each item, how often the first answer was preferred, of the replies that prefer one."""
    preferred: dict[str, list[bool]] = {}
    for call in calls:
        if call.verdict in ("a", "b") and call.item in items:
            preferred.setdefault(call.item, []).append(call.order.startswith(call.verdict))
    yield from (fmean(firsts) for firsts in preferred.values())


def _repeated(judged: Iterable[JudgedItem], again: Iterable[JudgedItem]) -> list[bool]:
    """Of every item that was decided both times, whether it was decided otherwise."""
    then = {item.item: item.winner for item in again if item.winner is not None}
    return [item.winner != then[item.item] for item in judged if item.item in then]


def _kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    if not pairs:
        return None
    ours, theirs = zip(*pairs, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one label only, for which there is no kappa
        kappa = float(_package("sklearn.metrics").cohen_kappa_score(ours, theirs))
    return kappa if math.isfinite(kappa) else None


def _alpha(ratings: Sequence[tuple[str, str, str]]) -> float | None:
    """Of labels that are all the same there is none: nothing shows that they could have been others."""
    if len({label for _, _, label in ratings}) < 2:
        return None
    return float(_package("nltk.metrics.agreement").AnnotationTask(data=list(ratings)).alpha())


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra("scikit-learn" if name.startswith("sklearn") else "nltk", "bench") from error


def _warnings(found: Reliability) -> Iterator[str]:
    if found.readable is not None and found.readable < LEAST_READABLE:
        yield (
            f"{percent(1 - found.readable)} of its replies have no verdict that could be read: their items are left "
            "out, and those need not be like the others; give it a longer judge.max_tokens or a clearer judge.prompt"
        )
    if found.is_blind:
        place = "first" if found.first_position_share == 1.0 else "second"
        yield (
            f"it prefers whatever stands {place}, always: it does not look at the answers, so every item is a tie and "
            "the win rate is one half by construction; that it agrees with itself is then no merit"
        )
    else:
        yield from _warnings_of_places(found)
    if found.self_disagreement is not None and found.self_disagreement > MOST_DISAGREEMENT:
        yield (
            f"asked again, it decides {percent(found.self_disagreement)} of {found.repeated} items otherwise: that "
            "much of the win rate is chance, on top of what its interval says"
        )
    if found.human is not None:
        yield from _warnings_of_people(found.human)


def _warnings_of_places(found: Reliability) -> Iterator[str]:
    if found.position_consistency is not None and found.position_consistency < LEAST_CONSISTENT:
        yield (
            f"the winner of {percent(1 - found.position_consistency)} of the items changes with their order: these "
            "count as ties, which draws the win rate towards one half and hides a difference that may be there"
        )
    ci = found.first_position_ci
    if ci is not None and found.leans:
        yield (
            f"it prefers the answer that stands first in {percent(found.first_position_share)} of its preferences "
            f"({span(Interval(*ci), 2)}): both orders make up for that, at the price of ties"
        )


def _warnings_of_people(human: HumanAgreement) -> Iterator[str]:
    if human.n < FEWEST_LABELS:
        yield f"{human.n} labels of people are too few to say whether it agrees with them: {FEWEST_LABELS} at least"
    if human.cohen_kappa is not None and human.cohen_kappa < LEAST_KAPPA:
        yield (
            f"with people it agrees hardly beyond chance (kappa {fixed(human.cohen_kappa, 2)} over {human.n} labels): "
            "its win rate says what it prefers, and not what they do"
        )
