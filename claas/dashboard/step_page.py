"""One measurement for reading: what was said and trained, what changed since baseline, and its transcripts."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from claas.core.errors import NotFound
from claas.dashboard.pages import Addresses, render
from claas.dashboard.step_choice import (
    PER_PAGE,
    Link,
    Page,
    Pair,
    StepQuery,
    TranscriptFilter,
    chosen,
    page_of,
    paired,
)
from claas.dashboard.token_shades import least_likely, legend, shaded
from claas.dashboard.transcript import LISTED, WHOLE, Excerpts, changes, details, measured, outcome, sampling
from claas.results.items import Flips, flips, passed
from claas.results.keys import Items, Key, keys_of_schema_1, sets_of_items
from claas.results.points import read_measurement
from claas.results.records import Baseline, StepRecord, flat
from claas.results.run_index import RunIndex

MOST_NAMED = 60
"""Items that turned one way which are named; the others are counted."""

MOST_UNLIKELY = 6
"""Tokens of a transcript in the table of the least likely ones."""


def recorded_step_page(run: RunIndex, preference: str, query: StepQuery, addresses: Addresses) -> str:
    """HTML of what is asked for of a run; `NotFound` where nothing of the kind is on record."""
    if preference not in run.points:
        raise NotFound(f"the run {run.name} has no preference {preference!r}; it has {', '.join(run.points) or 'none'}")

    def link(place: StepQuery) -> str | None:
        return addresses.transcripts(run.name, preference, place.parameters())

    baseline, step = read_with_baseline(run, preference, query.updates)
    return step_page(step_view(run, preference, baseline, step, query, link), run.name, addresses.run(run.name))


@dataclass(frozen=True)
class StepView:
    """What was measured after `query.updates` updates of a preference: `step`, or, with None, the baseline itself.

    Of `planned_steps` updates as many as `recorded` have been measured. `listed` bounds each transcript of a page of
    `per_page`; one item is shown whole. `keys` are what is declared of the preference's numbers. `NotFound` when the
    record is of another measurement, and for a page beyond the last.
    """

    preference: str
    planned_steps: int
    recorded: int
    baseline: Baseline
    step: StepRecord | None
    query: StepQuery
    link: Link
    per_page: int = PER_PAGE
    listed: Excerpts = LISTED
    keys: Sequence[Key] = field(default_factory=keys_of_schema_1)

    def __post_init__(self) -> None:
        if self.query.updates != (0 if self.step is None else self.step.step + 1):
            raise NotFound(f"{self.preference} has no measurement after updates={self.query.updates} on record")
        _ = self.page

    @property
    def record(self) -> Baseline | StepRecord:
        """What the page is about."""
        return self.baseline if self.step is None else self.step

    @property
    def values(self) -> dict[str, float | None]:
        """The record's numbers in its order, None where one was due and not measured."""
        return flat(self.record.eval)

    @property
    def values_before(self) -> Mapping[str, float | None]:
        """The baseline's numbers."""
        return flat(self.baseline.eval)

    @property
    def trained(self) -> list[tuple[str, str, str]]:
        """Prompt, response and rollout id of each answer of the batch that was trained on."""
        step = self.step
        return [] if step is None else list(zip(step.prompts, step.responses, step.rollout_ids, strict=True))

    @property
    def flips(self) -> list[tuple[Items, Flips]]:
        """Every set of items that is judged and was measured at this step; a metric without sets of its own is one."""
        if self.step is None:
            return []
        declared = [items for _, items in sets_of_items(self.keys)]
        covered = {items.metric for items in declared}
        judged = dict.fromkeys(rollout.metric for rollout in self.step.rollouts if rollout.verdict is not None)
        every = [*declared, *(Items(metric=metric, flips=metric) for metric in judged if metric not in covered)]
        now = {
            items: [rollout for rollout in self.step.rollouts if items.covers(rollout.metric, rollout.item)]
            for items in every
        }
        return [(items, flips(self.baseline.rollouts, rollouts, items)) for items, rollouts in now.items() if rollouts]

    @property
    def said(self) -> list[str]:
        """What was said of the answers, each text once."""
        if self.step is None or not self.step.responses:
            return []
        return list(dict.fromkeys(self.step.feedback_by_answer or [self.step.feedback_given or ""]))

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every transcript beside the baseline's."""
        return paired(self.record.rollouts, [] if self.step is None else self.baseline.rollouts)

    @cached_property
    def page(self) -> Page:
        """The transcripts that are shown."""
        return page_of(chosen(self.pairs, self.query), self.query.page, self.per_page)

    @property
    def bounds(self) -> Excerpts:
        """How much of each transcript is shown."""
        return self.listed if self.query.item is None else WHOLE

    @property
    def kinds(self) -> dict[str | None, int]:
        """Every kind of transcript, and None for all, with as many as the filter leaves of it."""
        left = Counter(pair.kind for pair in self.pairs if pair.passes(self.query.only))
        return {None: left.total(), **{kind: left[kind] for kind in dict.fromkeys(pair.kind for pair in self.pairs)}}

    @property
    def filters(self) -> dict[TranscriptFilter | None, int]:
        """Every filter, and None for all, with as many as it leaves of the metric."""
        return {
            only: len(chosen(self.pairs, self.query.of(metric=self.query.metric, only=only)))
            for only in (None, *TranscriptFilter)
        }

    @property
    def previous(self) -> str | None:
        """Where the same of the measurement before is."""
        return self.link(self.query.at(self.query.updates - 1)) if self.query.updates > 0 else None

    @property
    def following(self) -> str | None:
        """Where the same of the next measurement is."""
        return self.link(self.query.at(self.query.updates + 1)) if self.query.updates < self.recorded else None


def step_view(
    run: RunIndex,
    preference: str,
    baseline: Baseline,
    step: StepRecord | None,
    query: StepQuery,
    link: Link,
    per_page: int = PER_PAGE,
) -> StepView:
    """The view of a run's measurement."""
    points = run.points[preference]
    steps, recorded = run.planned_steps(preference), len(points.points)
    return StepView(preference, steps, recorded, baseline, step, query, link, per_page, keys=points.keys)


def read_with_baseline(run: RunIndex, preference: str, updates: int) -> tuple[Baseline, StepRecord | None]:
    """The baseline, and what was measured after so many updates where that is another, with all transcripts."""
    points, files = run.points[preference], run.files.preference(preference)
    record = read_measurement(files, points, updates)
    if isinstance(record, Baseline):
        return record, None
    baseline = read_measurement(files, points, 0)
    assert isinstance(baseline, Baseline)
    return baseline, record


def step_page(step: StepView, name: str, run: str) -> str:
    """HTML of the page; `run` is the address of the run's page, and `name` the run's name."""
    return _rendered("step.html", step, heading="h1", run=run, name=name)


def step_fragment(step: StepView) -> str:
    """HTML of what the page shows, to be put into another one, which has its own main heading."""
    return _rendered("step_body.html", step, heading="h2")


def _rendered(template: str, step: StepView, **more: object) -> str:
    functions = {
        each.__name__: each
        for each in (changes, details, least_likely, legend, measured, outcome, passed, sampling, shaded)
    }
    bounds = {"whole": WHOLE, "listed": LISTED, "most_named": MOST_NAMED, "most_unlikely": MOST_UNLIKELY}
    return render(template, step=step, fsum=math.fsum, **bounds, **functions, **more)
