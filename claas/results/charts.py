"""Which pictures a run gets, what each panel shows, and how curves look, whoever draws them."""

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from claas.results.criteria import CAPABILITY_KEY, CRITERIA
from claas.results.records import History, Transcript
from claas.results.settings import Criteria
from claas.results.statistics import Interval

Curve = Mapping[int, float | None]

Band = Callable[[History, int], Interval | None]
"""The interval of a preference's measurement after so many updates."""


@dataclass(frozen=True)
class Threshold:
    """A line that a curve should stay above, or below; `alarm` shades its bad side.

    `of_baseline`: the line stands at this fraction of each preference's own baseline.
    """

    at: float
    label: str
    above: bool = True
    alarm: bool = False
    of_baseline: bool = False


@dataclass(frozen=True)
class Panel:
    """What to draw. `at_baseline` is the value before training of a key defined relative to it.

    `limits` bound the vertical axis, None leaving an end to the data.
    """

    key: str
    title: str
    label: str
    band: Band | None = None
    threshold: Threshold | None = None
    at_baseline: float | None = None
    limits: tuple[float | None, float | None] = (None, None)
    curve: Callable[[History, str], Curve] = History.curve

    def points(self, history: History) -> dict[int, float]:
        """The curve by number of updates, in order; NaN, which is drawn as a gap, where it was due and lost."""
        known = self.curve(history, self.key)
        points = {updates: math.nan if value is None else value for updates, value in known.items()}
        if self.at_baseline is not None and history.baseline and known:
            points.setdefault(0, self.at_baseline)
        return dict(sorted(points.items()))

    def intervals(self, history: History) -> dict[int, Interval]:
        """Those there are, by number of updates: none at a gap, and no width where the value is known by definition."""
        if self.band is None:
            return {}
        known = self.curve(history, self.key)
        found = {updates: self.band(history, updates) for updates, value in known.items() if value is not None}
        if self.at_baseline is not None and history.baseline and known:
            found[0] = Interval(self.at_baseline, self.at_baseline)
        return {updates: interval for updates, interval in found.items() if interval is not None}

    def lines(self, histories: Iterable[History]) -> list[tuple[float, int | None]]:
        """Where the threshold stands, and by its place whose it is; None where it is the same for all."""
        if self.threshold is None:
            return []
        if not self.threshold.of_baseline:
            return [(self.threshold.at, None)]
        starts = [self.curve(history, self.key).get(0) for history in histories]
        own = [(self.threshold.at * start, index) for index, start in enumerate(starts) if start is not None]
        return [(own[0][0], None)] if len({at for at, _ in own}) == 1 else [*own]

    def measured(self, history: History) -> bool:
        """Whether there is anything to draw."""
        return any(value is not None for value in self.curve(history, self.key).values())


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's, which stay apart for colour-blind readers; the markers say the same in grey."""

MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")

DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Look:
    """One of `COLOURS`, `MARKERS` and `DASHES`, by their places."""

    colour: int
    marker: int
    dash: int


def look(index: int) -> Look:
    """Of the curve at this place in the order: colours first, then dashes, then colours with other markers.

    The first 196 differ from each other.
    """
    rounds, colour = divmod(index, len(COLOURS))
    turns, dash = divmod(rounds, len(DASHES))
    return Look(colour, (colour + turns) % len(MARKERS), dash)


Intervals = Callable[[History, int, str], Interval | None]
"""The interval of a criterion, by its name, of a preference's measurement after so many updates."""


def from_transcripts(confidence: float) -> Intervals:
    """Estimates each interval when it is asked for, from the history's own transcripts."""
    criteria = {criterion.name: criterion for criterion in CRITERIA}

    def interval(history: History, updates: int, name: str) -> Interval | None:
        after, before = history.rollouts(updates), history.rollouts(0)
        return criteria[name].estimate(after, before, 0.0, confidence).interval

    return interval


def intervals_of(
    after: Sequence[Transcript], before: Sequence[Transcript], keys: Container[str], confidence: float
) -> dict[str, tuple[float, float] | None]:
    """Every criterion's interval of one measurement, by the criterion's name, as (low, high).

    `before` are the transcripts at baseline. A criterion whose key is not in `keys`, which are those that were due, is
    absent; None where the transcripts cannot give an interval.
    """
    due = [criterion for criterion in CRITERIA if criterion.key in keys]
    found = {each.name: each.estimate(after, before, 0.0, confidence).interval for each in due}
    return {name: interval and (interval.low, interval.high) for name, interval in found.items()}


@dataclass(frozen=True)
class Picture:
    """A figure to be: its file name, what it shows, and its panels."""

    name: str
    title: str
    panels: Sequence[Panel]
    columns: int = 3


_UNITS = {
    **dict.fromkeys(["total_loss", "distill_loss", "kl_reg", "kl_mean", "kl_gain"], "nats per token"),
    **dict.fromkeys(["adv_mean", "adv_abs_mean", "adv_abs_mean_raw"], "nats per token"),
    **dict.fromkeys(["kl_k1", "kl_k3", "off_task_kl_k1", "off_task_kl_k3"], "nats per token"),
    **dict.fromkeys(["mean_entropy", "mean_logprob"], "nats per token"),
    **dict.fromkeys(["margin", "positive_logprob", "negative_logprob"], "nats"),
    **dict.fromkeys(["tokens_processed", "completion_len"], "tokens"),
    "mean_is_ratio": "ratio",
    "clip_fraction": "share of tokens",
    "grad_norm": "L2 norm before clipping",
    "batch_size": "answers",
    "steps_per_batch_applied": "optimiser steps",
}
"""What the last part of a key is measured in; a key that is not here labels its axis with its own name."""


def pictures(criteria: Criteria, histories: Mapping[str, History], intervals: Intervals) -> list[Picture]:
    """The pictures in the order a reader wants them; whatever key none of them names is in the last one.

    Curves come from the histories' values and bands from `intervals`, so that neither needs transcripts.
    """
    named = [
        _margins(criteria, intervals),
        _compliance(criteria, intervals),
        _collapse(criteria, intervals),
        _forgetting(criteria, intervals, histories),
    ]
    shown = {panel.key for picture in named for panel in picture.panels}
    keys = {key for history in histories.values() for key in history.known_keys()} - shown
    rest = [Panel(key=key, title=key, label=_unit(key)) for key in sorted(keys)]
    return [*named, _training(histories), Picture("other", "Everything else that was measured", rest)]


def _margins(criteria: Criteria, intervals: Intervals) -> Picture:
    gain = Panel(
        key="logprob_margin.margin_delta_from_baseline",
        title="Margin gain",
        label="gain from baseline, nats",
        band=_band("margin_gain", intervals),
        threshold=Threshold(criteria.margin_gain, f"criterion: > {criteria.margin_gain:g}"),
        at_baseline=0.0,
    )
    per_token = Panel(
        key="logprob_margin.margin_per_token",
        title="Margin per token",
        label="margin, nats per token",
    )
    return Picture(
        "margins", "Is the wanted answer becoming likelier? (margin: logp of wanted − unwanted)", [gain, per_token]
    )


def _compliance(criteria: Criteria, intervals: Intervals) -> Picture:
    threshold = Threshold(criteria.heldout_compliance, f"criterion: ≥ {criteria.heldout_compliance:g}")
    held_out = Panel(
        key="heldout_compliance",
        title="Held-out prompts",
        label="mean verifier score",
        band=_band("heldout_compliance", intervals),
        threshold=threshold,
        limits=(-0.03, 1.03),
    )
    probe = Panel(
        key="preference_compliance",
        title="Probe prompts",
        label="mean verifier score",
        threshold=threshold,
        limits=(-0.03, 1.03),
    )
    out_of_scope = Panel(
        key="over_application_rate",
        title="Where the user asks for the opposite",
        label="over-application rate",
        limits=(-0.03, 1.03),
    )
    return Picture(
        "compliance",
        "Do the answers follow the preference? (held-out prompts are never trained on)",
        [held_out, probe, out_of_scope],
    )


def _collapse(criteria: Criteria, intervals: Intervals) -> Picture:
    floor, ceiling, most = criteria.entropy_ratio, criteria.self_rouge_l, criteria.mean_logprob_drift
    return Picture(
        "collapse",
        "Is the model collapsing? (shaded: alert)",
        [
            Panel(
                key="collapse.entropy_ratio_to_baseline",
                title="Entropy",
                label="ratio to baseline",
                band=_band("entropy_ratio", intervals),
                threshold=Threshold(floor, f"alert: < {floor:g}", alarm=True),
                at_baseline=1.0,
                limits=(0.0, None),
            ),
            Panel(
                key="collapse.self_rouge_l",
                title="Likeness of resampled answers",
                label="self-ROUGE-L F1",
                band=_band("self_rouge_l", intervals),
                threshold=Threshold(ceiling, f"alert: > {ceiling:g}", above=False, alarm=True),
                limits=(0.0, 1.03),
            ),
            Panel(
                key="collapse.mean_logprob_drift",
                title="Drift of the mean logprob",
                label="|change|, nats per token",
                band=_band("mean_logprob_drift", intervals),
                threshold=Threshold(most, f"alert: > {most:g}", above=False, alarm=True),
                at_baseline=0.0,
                limits=(0.0, None),
            ),
        ],
    )


def _forgetting(criteria: Criteria, intervals: Intervals, histories: Mapping[str, History]) -> Picture:
    kept = criteria.capability_retention
    line = Threshold(kept, f"{kept:g} × baseline", of_baseline=True)
    drifts = {"drift.kl_k3": "Drift on task", "drift.off_task_kl_k3": "Drift off task (capability prompts)"}
    scale = _common_limits(histories, drifts)
    return Picture(
        "forgetting",
        "What does it cost? General capability, and distance from the base model",
        [
            Panel("general.general_score", "General score", "score in [0, 1]", limits=(-0.03, 1.03)),
            Panel(
                key=CAPABILITY_KEY,
                title="Capability items",
                label="pass rate",
                band=_retained(intervals),
                threshold=line,
                limits=(-0.03, 1.03),
            ),
            *(
                Panel(key, title, "KL(base ‖ adapter), nats per token", at_baseline=0.0, limits=scale)
                for key, title in drifts.items()
            ),
        ],
        columns=2,
    )


def _common_limits(histories: Mapping[str, History], keys: Iterable[str]) -> tuple[float, float]:
    """Limits of an axis that fits all these keys, so that their panels can be compared by eye."""
    found = [history.curve(key).values() for history in histories.values() for key in keys]
    values = [0.0, *(value for curve in found for value in curve if value is not None)]
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def _training(histories: Mapping[str, History]) -> Picture:
    keys = {key: None for history in histories.values() for step in history.steps for key in step.sdpo_metrics}
    panels = [Panel(key=key, title=key, label=_unit(key), curve=_reported) for key in keys]
    return Picture("training", "What the update reported", panels)


def _reported(history: History, key: str) -> Curve:
    return {step.step + 1: step.sdpo_metrics[key] for step in history.steps if key in step.sdpo_metrics}


def _unit(key: str) -> str:
    name = key.rpartition(".")[2]
    return _UNITS.get(name, name.replace("_", " "))


def _band(name: str, intervals: Intervals) -> Band:
    return lambda history, updates: intervals(history, updates, name)


def _retained(intervals: Intervals) -> Band:
    """The interval of the capability retained, on the scale of the pass rate."""

    def interval(history: History, updates: int) -> Interval | None:
        start, found = history.curve(CAPABILITY_KEY).get(0), intervals(history, updates, "capability_retention")
        return Interval(start * found.low, min(1.0, start * found.high)) if start is not None and found else None

    return interval
