"""One measurement for reading: what was said and trained, what changed since baseline, and its transcripts."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from claas.core.errors import NotFound
from claas.dashboard.pages import Addresses, Excerpt, excerpt, readable, render, told
from claas.dashboard.points import read_measurement
from claas.dashboard.run_index import RunIndex
from claas.dashboard.step_choice import PER_PAGE, Asked, Links, Only, Page, Pair, chosen, page_of, paired
from claas.dashboard.token_shades import Shade, legend
from claas.dashboard.transcript import LISTED, WHOLE, Bounds, TranscriptView, transcript_view
from claas.results.items import ITEM_SETS, ItemSet, flips
from claas.results.numbers import figure
from claas.results.records import AdapterVersion, Baseline, Canary, Counts, StepRecord, Transcript, flat

_NAMED = 60


@dataclass(frozen=True)
class Value:
    """One number, None where it was due and not measured, and the baseline's."""

    key: str
    now: float | None
    before: float | None

    @property
    def change(self) -> float | None:
        """Since baseline, where both are known."""
        return None if self.now is None or self.before is None else self.now - self.before


@dataclass(frozen=True)
class Item:
    """An item by name, and where its transcript is."""

    name: str
    address: str | None


@dataclass(frozen=True)
class Turned:
    """`count` items that turned one way; the first of them by name."""

    count: int
    named: list[Item]

    @property
    def more(self) -> int:
        """How many are not named."""
        return self.count - len(self.named)


@dataclass(frozen=True)
class SetFlips:
    """How a set of `n` items compares with baseline; `unmeasured` ones have no verdict at one of the two."""

    name: str
    n: int
    gained: Turned
    lost: Turned
    unmeasured: int


def values(record: Baseline | StepRecord, baseline: Baseline | None) -> list[Value]:
    """The record's numbers in its order."""
    before = {} if baseline is None else flat(baseline.eval)
    return [Value(readable(key), value, before.get(key)) for key, value in flat(record.eval).items()]


def set_flips(baseline: Baseline, step: StepRecord, asked: Asked, links: Links) -> list[SetFlips]:
    """Every set of items that is judged and was measured at this step; a metric without sets of its own is one."""
    found: list[SetFlips] = []
    for items in (*ITEM_SETS, *_other_sets(step.rollouts)):
        change = flips(baseline.rollouts, _of(items, step.rollouts), items)
        if _of(items, step.rollouts):
            gained, lost = (_turned(items, names, asked, links) for names in (change.gained, change.lost))
            found.append(SetFlips(readable(items.name), change.n, gained, lost, len(change.unmeasured)))
    return found


def _other_sets(rollouts: Sequence[Transcript]) -> list[ItemSet]:
    """Metrics with verdicts that no set covers, such as a user's own."""
    covered = {items.metric for items in ITEM_SETS}
    judged = dict.fromkeys(each.metric for each in rollouts if each.verdict is not None)
    return [ItemSet(metric, metric, metric) for metric in judged if metric not in covered]


def _of(items: ItemSet, rollouts: Sequence[Transcript]) -> list[Transcript]:
    return [each for each in rollouts if each.metric == items.metric and each.item.startswith(items.prefix)]


def _turned(items: ItemSet, names: Sequence[str], asked: Asked, links: Links) -> Turned:
    named = [Item(readable(name), links(asked.of(metric=items.metric, item=name))) for name in names[:_NAMED]]
    return Turned(len(names), named)


N = TypeVar("N")

_NAMES = {None: "all", Only.FLIPS: "flipped since baseline", Only.FAILED: "failed", Only.ERRORS: "lost answers"}


@dataclass(frozen=True)
class Course:
    """What is known of a preference's run beside one measurement: `recorded` is how many updates have been measured."""

    preference: str
    planned_steps: int
    recorded: int


@dataclass(frozen=True)
class Choice:
    """A filter: its name, how many transcripts it leaves, where it leads, and whether it is on."""

    name: str
    count: int
    address: str | None
    on: bool


@dataclass(frozen=True)
class Trained:
    """One answer of the batch that was trained on."""

    prompt: Excerpt
    response: Excerpt
    rollout_id: str


@dataclass(frozen=True)
class Listing:
    """The transcripts of one page, and the ways to others; `item` is the one that they are of, where that was asked."""

    transcripts: list[TranscriptView]
    page: Page
    metric: str | None
    item: str | None
    kinds: list[Choice]
    filters: list[Choice]
    every: str | None
    earlier: str | None
    later: str | None


@dataclass(frozen=True)
class StepView:
    """Everything that `step_body.html` shows. What belongs to an update is empty, and `feedback` None, at baseline."""

    preference: str
    updates: int
    planned_steps: int
    timestamp: str
    adapter: AdapterVersion
    canary: str | None
    feedback: str | None
    trained: list[Trained]
    values: list[Value]
    update_metrics: Mapping[str, float]
    timing_s: Mapping[str, float]
    tokens: Mapping[str, int]
    counts: Mapping[str, Counts]
    flips: list[SetFlips]
    listing: Listing
    shades: list[Shade]
    previous: str | None
    following: str | None


def step_view(
    course: Course,
    baseline: Baseline,
    step: StepRecord | None,
    asked: Asked,
    links: Links,
    per_page: int = PER_PAGE,
    listed: Bounds = LISTED,
) -> StepView:
    """What was measured after `asked.updates` updates: `step`, or, with None, the baseline itself.

    `listed` bounds each transcript of a page; one item is shown whole.
    `NotFound` when the record is of another measurement, and for a page beyond the last.
    """
    record = baseline if step is None else step
    if asked.updates != (0 if step is None else step.step + 1):
        raise NotFound(f"{course.preference} has no measurement after updates={asked.updates} on record")
    pairs = paired(record.rollouts, [] if step is None else baseline.rollouts)
    return StepView(
        preference=readable(course.preference),
        updates=asked.updates,
        planned_steps=course.planned_steps,
        timestamp=readable(record.timestamp),
        adapter=_readable(record.adapter),
        canary=_canary(record.canary),
        feedback=None if step is None else told(step.feedback_given, WHOLE.characters),
        trained=[] if step is None else _trained(step),
        values=values(record, None if step is None else baseline),
        update_metrics={} if step is None else _named(step.sdpo_metrics),
        timing_s=_named(record.timing_s),
        tokens=_named(record.tokens),
        counts=_named(record.counts),
        flips=[] if step is None else set_flips(baseline, step, asked, links),
        listing=_listing(pairs, asked, links, per_page, listed),
        shades=legend(),
        previous=links(asked.at(asked.updates - 1)) if asked.updates > 0 else None,
        following=links(asked.at(asked.updates + 1)) if asked.updates < course.recorded else None,
    )


def _listing(pairs: Sequence[Pair], asked: Asked, links: Links, per_page: int, listed: Bounds) -> Listing:
    page = page_of(chosen(pairs, asked), asked.page, per_page)
    bounds = listed if asked.item is None else WHOLE
    return Listing(
        transcripts=[transcript_view(pair, bounds, links(_whole(pair, asked))) for pair in page.pairs],
        page=page,
        metric=None if asked.metric is None else told(asked.metric, LISTED.prompt),
        item=None if asked.item is None else told(asked.item, LISTED.prompt),
        kinds=_kinds(pairs, asked, links),
        filters=_filters(pairs, asked, links),
        every=links(asked.of(metric=asked.metric)),
        earlier=links(asked.on(page.page - 1)) if page.page > 1 else None,
        later=links(asked.on(page.page + 1)) if page.page < page.pages else None,
    )


def _whole(pair: Pair, asked: Asked) -> Asked:
    return asked.of(metric=pair.now.metric, item=pair.now.item)


def _kinds(pairs: Iterable[Pair], asked: Asked, links: Links) -> list[Choice]:
    """Every kind of transcript, with as many as the filter leaves of it."""
    left = Counter(pair.kind for pair in pairs if pair.among(asked.only))
    every = dict.fromkeys(pair.kind for pair in pairs)
    shown = [
        Choice(readable(kind), left[kind], links(asked.of(metric=kind, only=asked.only)), kind == asked.metric)
        for kind in every
    ]
    return [Choice("all", left.total(), links(asked.of(only=asked.only)), asked.metric is None), *shown]


def _filters(pairs: Sequence[Pair], asked: Asked, links: Links) -> list[Choice]:
    """Every filter, with as many as it leaves of the metric."""
    return [
        Choice(
            name,
            len(chosen(pairs, asked.of(metric=asked.metric, only=only))),
            links(asked.of(metric=asked.metric, only=only)),
            asked.only is only,
        )
        for only, name in _NAMES.items()
    ]


def _trained(step: StepRecord) -> list[Trained]:
    batch = zip(step.prompts, step.responses, step.rollout_ids, strict=True)
    return [
        Trained(excerpt(prompt, LISTED.characters), excerpt(response, LISTED.characters), readable(rollout_id))
        for prompt, response, rollout_id in batch
    ]


def _readable(adapter: AdapterVersion) -> AdapterVersion:
    return adapter.model_copy(update={"lora_id": readable(adapter.lora_id), "digest": readable(adapter.digest)})


def _canary(canary: Canary | None) -> str | None:
    """What the version gave the run's fixed text."""
    if canary is None:
        return None
    if canary.logprobs is None:
        return f"lost: {told(canary.error or 'no reason is on record', WHOLE.characters)}"
    return f"{figure(math.fsum(canary.logprobs))} nats"


def _named(found: Mapping[str, N]) -> dict[str, N]:
    return {readable(name): value for name, value in found.items()}


def recorded_step_page(run: RunIndex, preference: str, asked: Asked, addresses: Addresses) -> str:
    """HTML of what is asked for of a run; `NotFound` where nothing of the kind is on record."""
    if preference not in run.points:
        raise NotFound(f"the run {run.name} has no preference {preference!r}; it has {', '.join(run.points) or 'none'}")

    def link(place: Asked) -> str:
        return addresses.transcripts(run.name, preference, place.query())

    record, baseline = read_with_baseline(run, preference, asked.updates)
    step = record if isinstance(record, StepRecord) else None
    view = step_view(course_of(run, preference), baseline, step, asked, link)
    return step_page(view, run.name, addresses.run(run.name))


def read_with_baseline(run: RunIndex, preference: str, updates: int) -> tuple[Baseline | StepRecord, Baseline]:
    """What was measured after so many updates, and before any, with all transcripts."""
    points, files = run.points[preference], run.files.preference(preference)
    record = read_measurement(files, points, updates)
    baseline = record if isinstance(record, Baseline) else read_measurement(files, points, 0)
    assert isinstance(baseline, Baseline)
    return record, baseline


def course_of(run: RunIndex, preference: str) -> Course:
    """How far a preference has come."""
    return Course(preference, run.config.num_steps, len(run.points[preference].points))


def step_page(step: StepView, name: str, run: str) -> str:
    """HTML of the page; `run` is the address of the run's page, and `name` the run's name."""
    return render("step.html", step=step, heading="h1", run=run, name=name)


def step_fragment(step: StepView) -> str:
    """HTML of what the page shows, to be put into another one, which has its own main heading."""
    return render("step_body.html", step=step, heading="h2")
