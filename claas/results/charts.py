"""Which pictures a run gets, what each panel shows, and how curves look, whatever draws them."""

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from claas.results.estimates import estimate, mean_of, threshold_of
from claas.results.evidence import by_item
from claas.results.keys import Criterion, Key, Question, in_picture, judged
from claas.results.records import History, Transcript
from claas.results.statistics import Interval

Curve = Mapping[int, float | None]

Band = Callable[[History, int], Interval | None]
"""The interval of a preference's measurement after so many updates."""


@dataclass(frozen=True)
class Threshold:
    """A line that a curve should stay above, or below; `alarm` shades its bad side.

    `of_baseline`: the line stands at this multiple (`times`) of each preference's own baseline, or so far from it
    (`plus`); None where it is the same for all.
    """

    at: float
    label: str
    above: bool = True
    alarm: bool = False
    of_baseline: Literal["times", "plus"] | None = None

    def height(self, baseline: float) -> float:
        """Where the line stands for a preference with this baseline."""
        return {"times": self.at * baseline, "plus": self.at + baseline, None: self.at}[self.of_baseline]


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
        curve = self.curve(history, self.key)
        points = {updates: math.nan if value is None else value for updates, value in curve.items()}
        if self.at_baseline is not None and history.baseline and curve:
            points.setdefault(0, self.at_baseline)
        return dict(sorted(points.items()))

    def intervals(self, history: History) -> dict[int, Interval]:
        """Those there are, by number of updates: none at a gap, and no width where the value is known by definition."""
        if self.band is None:
            return {}
        curve = self.curve(history, self.key)
        intervals = {updates: self.band(history, updates) for updates, value in curve.items() if value is not None}
        if self.at_baseline is not None and history.baseline and curve:
            intervals[0] = Interval(self.at_baseline, self.at_baseline)
        return {updates: interval for updates, interval in intervals.items() if interval is not None}

    def lines(self, histories: Iterable[History]) -> list[tuple[float, int | None]]:
        """Where the threshold stands, and by its place whose it is; None where it is the same for all."""
        if self.threshold is None:
            return []
        if self.threshold.of_baseline is None:
            return [(self.threshold.at, None)]
        starts = [self.curve(history, self.key).get(0) for history in histories]
        own = [(self.threshold.height(start), index) for index, start in enumerate(starts) if start is not None]
        return [(own[0][0], None)] if len({at for at, _ in own}) == 1 else [*own]

    def measured(self, history: History) -> bool:
        """Whether there is anything to draw."""
        return any(value is not None for value in self.curve(history, self.key).values())


@dataclass(frozen=True)
class Picture:
    """A figure to be: its file name, what it shows, and its panels.

    `names_constants`: what never changes is said in a line where there is something that does, and gets no panel.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    columns: int = 3
    names_constants: bool = False


Intervals = Callable[[History, int, str], Interval | None]
"""The interval of a criterion by its name, or of a mean by `mean_name`, of a preference's measurement after so many
updates."""

_PICTURES = {
    Question.MARGINS: ("Is the wanted answer becoming likelier? (margin: logp of wanted − unwanted)", 3),
    Question.COMPLIANCE: ("Do the answers follow the preference? (held-out prompts are never trained on)", 3),
    Question.COLLAPSE: ("Is the model collapsing? (shaded: alert)", 3),
    Question.FORGETTING: ("What does it cost? General capability, and distance from the base model", 2),
}
"""The pictures that show how a run went, with their titles and columns, in the order a reader wants them."""


def pictures(criteria: Mapping[str, float], histories: Mapping[str, History], intervals: Intervals) -> list[Picture]:
    """The pictures in the order a reader wants them; whatever belongs to none of them is in the last one.

    `criteria` are thresholds by name, where they are not the declared ones. Curves come from the histories' values and
    bands from `intervals`, so that neither needs transcripts.
    """
    keys = declared_in(histories.values())
    drawer = _Drawer(criteria, intervals, keys, histories)
    named = [
        Picture(question, title, [drawer.panel(key) for key in in_picture(keys.values(), question)], columns)
        for question, (title, columns) in _PICTURES.items()
    ]
    shown = {panel.key for picture in named for panel in picture.panels}
    others = {key for history in histories.values() for key in history.known_keys()} - shown
    rest = [drawer.named_by_key(key) for key in sorted(others)]
    return [
        *named,
        _training(histories),
        Picture("other", "Everything else that was measured", rest, names_constants=True),
    ]


def declared_in(histories: Iterable[History]) -> dict[str, Key]:
    """The declarations of all these histories, by key; where they differ the first that is judged, else the first."""
    declared: dict[str, Key] = {}
    for key in (key for history in histories for key in history.keys):
        known = declared.setdefault(key.key, key)
        if known.criterion is None and key.criterion is not None:
            declared[key.key] = key
    return declared


@dataclass(frozen=True)
class _Drawer:
    """Makes a panel of what is declared about a key."""

    criteria: Mapping[str, float]
    intervals: Intervals
    keys: Mapping[str, Key]
    histories: Mapping[str, History]

    def panel(self, key: Key) -> Panel:
        criterion, own = self._shown(key)
        return Panel(
            key=key.key,
            title=self._title(key),
            label=key.unit or _own_name(key.key),
            band=self._band_of(key, criterion, own),
            threshold=criterion and self._threshold(criterion, own),
            at_baseline=key.at_baseline,
            limits=key.axis if key.scale is None else self._common_limits(key.scale),
        )

    def named_by_key(self, name: str) -> Panel:
        """A panel under the declared title, else under the key itself, as it stands in the records."""
        key = self.keys.get(name)
        return Panel(name, name, _own_name(name)) if key is None else self.panel(key)

    def _title(self, key: Key) -> str:
        """The key's; where preferences declare it under several titles, whose is which."""
        titles: dict[str, list[str]] = {}
        for name, history in self.histories.items():
            for each in history.keys:
                if each.key == key.key:
                    titles.setdefault(each.title, []).append(name)
        if len(titles) < 2:
            return key.title
        return "; ".join(f"{', '.join(names)}: {title}" for title, names in titles.items())

    def _shown(self, key: Key) -> tuple[Criterion | None, bool]:
        """The criterion that the panel of a key shows, and whether that is judged from this very key."""
        for judged_key, criterion in judged(self.keys.values()):
            if key.key == criterion.drawn_on or key.line == criterion.name:
                return criterion, False
            if judged_key.key == key.key and criterion.drawn_on is None and criterion.estimator != "shift":
                return criterion, True
        return None, False

    def _threshold(self, criterion: Criterion, own: bool) -> Threshold:
        at = threshold_of(criterion, self.criteria)
        of_baseline = _OF_BASELINE.get(criterion.estimator) if own else None
        if of_baseline is not None:
            label = f"{at:g} × baseline" if of_baseline == "times" else f"baseline + {at:g}"
        elif criterion.alarm:
            label = f"alert: {'<' if criterion.above else '>'} {at:g}"
        else:
            label = f"criterion: {criterion.relation.replace('>=', '≥')} {at:g}"
        return Threshold(at, label, criterion.above, criterion.alarm, of_baseline)

    def _band_of(self, key: Key, criterion: Criterion | None, own: bool) -> Band | None:
        if criterion is not None and criterion.name != key.line:
            return self._band(key.key, criterion, own)
        if not _has_mean(key):
            return None
        return lambda history, updates: self.intervals(history, updates, mean_name(key.key))

    def _band(self, key: str, criterion: Criterion, own: bool) -> Band:
        """The intervals of a criterion, on the scale of the key that they are drawn on."""
        of_baseline = _OF_BASELINE.get(criterion.estimator) if own else None
        greatest = 1.0 if criterion.estimator == "retention" else math.inf

        def interval(history: History, updates: int) -> Interval | None:
            bounds = self.intervals(history, updates, criterion.name)
            if bounds is None or of_baseline is None:
                return bounds
            start = history.curve(key).get(0)
            if start is None:
                return None
            if of_baseline == "times":
                return Interval(start * bounds.low, min(greatest, start * bounds.high))
            return Interval(start + bounds.low, start + bounds.high)

        return interval

    def _common_limits(self, scale: str) -> tuple[float, float]:
        """Limits of an axis that fits all keys of a scale, so that their panels can be compared by eye."""
        keys = [key.key for key in self.keys.values() if key.scale == scale]
        curves = [history.curve(key).values() for history in self.histories.values() for key in keys]
        values = [0.0, *(value for curve in curves for value in curve if value is not None)]
        low, high = min(values), max(values)
        room = 0.05 * (high - low) or 1.0
        return low - room, high + room


_OF_BASELINE: Mapping[str, Literal["times", "plus"]] = {
    "ratio": "times",
    "retention": "times",
    "gain": "plus",
    "change": "plus",
}
"""Estimators whose thresholds are relative to baseline where they are drawn beside the key itself."""

_UPDATE_NUMBERS = {
    "total_loss": ("Loss", "nats per token"),
    "distill_loss": ("Distillation loss", "nats per token"),
    "distill_loss_first": ("Distillation loss, first optimiser step", "nats per token"),
    "distill_loss_last": ("Distillation loss, last optimiser step", "nats per token"),
    "cross_entropy": ("Cross-entropy", "nats per token"),
    "cross_entropy_first": ("Cross-entropy, first optimiser step", "nats per token"),
    "cross_entropy_last": ("Cross-entropy, last optimiser step", "nats per token"),
    "kl_reg": ("KL regularisation", "nats per token"),
    "kl_mean": ("KL(student ‖ teacher)", "nats per token"),
    "kl_gain": ("Gain on the advantages", "factor"),
    "adv_mean": ("Mean advantage", "nats per token"),
    "adv_abs_mean": ("Mean size of advantages", "nats per token"),
    "adv_abs_mean_raw": ("Mean size before gain and clipping", "nats per token"),
    "mean_is_ratio": ("Importance ratio", "mean ratio"),
    "clip_fraction": ("Tokens that were clipped", "share of tokens"),
    "grad_norm": ("Gradient norm", "L2 norm before clipping"),
    "batch_size": ("Batch size", "answers"),
    "steps_per_batch_applied": ("Optimiser steps", "optimiser steps"),
    "tokens_processed": ("Tokens trained on", "tokens"),
    "completion_len": ("Mean length of answers", "tokens"),
    "prefill_tokens": ("Tokens read to score", "tokens"),
    "trained_tokens": ("Tokens trained on, as billed", "tokens"),
}
"""What the numbers that an update reports are called, and measured in."""


def _training(histories: Mapping[str, History]) -> Picture:
    keys = {key: None for history in histories.values() for step in history.steps for key in step.sdpo_metrics}
    panels = [Panel(key, *_UPDATE_NUMBERS.get(key, (key, _own_name(key))), curve=_reported) for key in keys]
    return Picture("training", "What the update reported", panels, names_constants=True)


def _reported(history: History, key: str) -> Curve:
    return {step.step + 1: step.sdpo_metrics[key] for step in history.steps if key in step.sdpo_metrics}


def _own_name(key: str) -> str:
    """`mean entropy` of `collapse.mean_entropy`."""
    return key.rpartition(".")[2].replace("_", " ")


def mean_name(key: str) -> str:
    """The name under which `Intervals` knows the mean of a key's items, which no criterion has."""
    return f"mean of {key}"


def _has_mean(key: Key) -> bool:
    """Whether the key's own interval is that of its mean, and not that of a criterion."""
    return key.items is not None and (key.criterion is None or key.criterion.drawn_on is not None)


def from_transcripts(confidence: float) -> Intervals:
    """Estimates each interval when it is asked for, from the history's own transcripts; None where nothing of that
    name is declared of the history's preference."""

    def interval(history: History, updates: int, name: str) -> Interval | None:
        for key in history.keys:
            if key.criterion is not None and key.criterion.name == name:
                return estimate(key, history.rollouts(updates), history.rollouts(0), 0.0, confidence).interval
            if key.items is not None and mean_name(key.key) == name:
                return mean_of(key, by_item(history.rollouts(updates), key.items), confidence).interval
        return None

    return interval


def intervals_of(
    after: Sequence[Transcript],
    before: Sequence[Transcript],
    keys: Iterable[Key],
    due: Container[str],
    confidence: float,
) -> dict[str, tuple[float, float] | None]:
    """The interval of every criterion of `keys` in one measurement by the criterion's name, and of every mean that has
    no criterion by `mean_name`, as (low, high).

    `before` are the transcripts at baseline. What has a key that is not in `due` is absent; None where the
    transcripts cannot give an interval.
    """
    declared = [key for key in keys if key.key in due]
    found = {
        criterion.name: estimate(key, after, before, 0.0, confidence).interval for key, criterion in judged(declared)
    }
    for key in declared:
        if key.items is not None and _has_mean(key):
            found[mean_name(key.key)] = mean_of(key, by_item(after, key.items), confidence).interval
    return {name: interval and (interval.low, interval.high) for name, interval in found.items()}


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's, which stay apart for colour-blind readers; the markers say the same in grey."""

MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class CurveStyle:
    """One of `COLOURS`, `MARKERS` and `DASHES`, by their places."""

    colour: int
    marker: int
    dash: int


def curve_style(index: int, colours: int = len(COLOURS)) -> CurveStyle:
    """The style of the curve at this place in the order: colours first, then dashes, then colours with other markers.

    Of seven colours, the first 196 differ from each other.
    """
    rounds, colour = divmod(index, colours)
    turns, dash = divmod(rounds, len(DASHES))
    return CurveStyle(colour, (colour + turns) % len(MARKERS), dash)
