"""What a reader asked to see of one measurement, and which of its transcripts those are."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from claas.core.errors import NotFound
from claas.results.items import passed
from claas.results.records import Transcript

PER_PAGE = 24
_MOST_KINDS = 6
"""Kinds of items that a metric may have before they are shown as one list."""


class TranscriptFilter(StrEnum):
    """Which transcripts of a metric are shown."""

    FLIPS = "flips"
    FAILED = "failed"
    ERRORS = "errors"


@dataclass(frozen=True)
class StepQuery:
    """A place in the pages of a preference's measurements: `updates` 0 is the baseline.

    `metric` is a metric, or one of its kinds of items (`compliance/heldout`); `item` is one item (`heldout/12`), whose
    transcripts are then shown whole. None shows all.
    """

    updates: int
    metric: str | None = None
    only: TranscriptFilter | None = None
    item: str | None = None
    page: int = 1

    def of(
        self, *, metric: str | None = None, only: TranscriptFilter | None = None, item: str | None = None
    ) -> "StepQuery":
        """The first page of other transcripts of the same measurement."""
        return StepQuery(self.updates, metric, only, item)

    def on(self, page: int) -> "StepQuery":
        """Another page of the same transcripts."""
        return replace(self, page=page)

    def at(self, updates: int) -> "StepQuery":
        """The same of another measurement."""
        return replace(self, updates=updates, page=1)

    def parameters(self) -> dict[str, str | int | None]:
        """The parameters of the address that asks for this; None for those that have their default."""
        return {
            "updates": self.updates,
            "metric": self.metric,
            "only": self.only,
            "item": self.item,
            "page": None if self.page == 1 else self.page,
        }


Link: TypeAlias = Callable[[StepQuery], str | None]
"""The address of a place; None where there is none, as in a file that holds only some of them."""


@dataclass(frozen=True)
class Pair:
    """A transcript, its kind, and the one of the same item at baseline, None where that has no such item."""

    now: Transcript
    before: Transcript | None
    kind: str

    @property
    def flipped(self) -> bool:
        """Whether its verdict is another one than at baseline."""
        one, other = passed(self.before), passed(self.now)
        return None not in (one, other) and one != other

    @property
    def same(self) -> bool:
        """Whether the answer is the baseline's to the letter."""
        return self.before is not None and self.now.response is not None and self.before.response == self.now.response

    @property
    def scored(self) -> bool:
        """Whether the text was given, and only its likelihood measured: such a transcript has no temperature."""
        return self.now.temperature is None

    def passes(self, only: TranscriptFilter | None) -> bool:
        """Whether the filter leaves it."""
        if only is TranscriptFilter.FLIPS:
            return self.flipped
        if only is TranscriptFilter.FAILED:
            return passed(self.now) is False
        return only is None or self.now.error is not None


@dataclass(frozen=True)
class Page:
    """Page `page` of `pages`, counted from 1, of `total` pairs; `pairs` are its own."""

    pairs: Sequence[Pair]
    page: int
    pages: int
    total: int


def paired(now: Sequence[Transcript], baseline: Sequence[Transcript]) -> list[Pair]:
    """Every transcript, in the record's order; those of the baseline itself come without a counterpart.

    One item asked for more than once finds its counterparts in order.
    """
    before: dict[tuple[str, str], list[Transcript]] = {}
    for transcript in baseline:
        before.setdefault((transcript.metric, transcript.item), []).append(transcript)
    pairs: list[Pair] = []
    for transcript, kind in zip(now, _kinds(now), strict=True):
        counterparts = before.get((transcript.metric, transcript.item))
        pairs.append(Pair(transcript, counterparts.pop(0) if counterparts else None, kind))
    return pairs


def chosen(pairs: Iterable[Pair], query: StepQuery) -> list[Pair]:
    """Those that were asked for, on all pages; none of a metric or an item that this measurement does not have."""
    return [
        pair
        for pair in pairs
        if query.metric in (None, pair.kind, pair.now.metric)
        and query.item in (None, pair.now.item)
        and pair.passes(query.only)
    ]


def page_of(pairs: Sequence[Pair], page: int, per_page: int = PER_PAGE) -> Page:
    """One page of them, of which an empty list has one; `NotFound` beyond the last."""
    pages = max(1, -(-len(pairs) // per_page))
    if not 1 <= page <= pages:
        raise NotFound(f"page={page} is beyond the last page of these transcripts, which is page={pages}")
    return Page(pairs[(page - 1) * per_page :][:per_page], page, pages, len(pairs))


def _kinds(transcripts: Sequence[Transcript]) -> list[str]:
    """`metric/first part of the item`, or the metric alone where its items have no parts, or too many."""
    names = [
        (transcript.metric, transcript.item.partition("/")[0] if "/" in transcript.item else "")
        for transcript in transcripts
    ]
    counted = Counter(metric for metric, _ in dict.fromkeys(names))
    return [f"{metric}/{part}" if part and counted[metric] <= _MOST_KINDS else metric for metric, part in names]
