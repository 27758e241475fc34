"""What the feedback did beyond what would have happened anyway: a run against its control arms, paired by item."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import Field, model_validator

from claas.results.evidence import ByItem, by_item, paired
from claas.results.keys import Items, Key, Role, retained, with_role
from claas.results.manifest import PlannedTrack
from claas.results.means import METHOD, mean_interval, mean_p_at_most
from claas.results.records import History, Record, Status
from claas.results.settings import UNTRAINED
from claas.results.statistics import Interval, holm, normal_tail, paired_difference_interval, paired_difference_z


class Contrast(Record):
    """The mean over `n` items of how much more the run has than its control, with its interval.

    `p` is one-sided, of that being 0 or less; `p_holm` is it, adjusted over all controls of all preferences of the run.
    """

    value: float | None
    ci: tuple[float, float] | None
    p: float | None
    p_holm: float | None = None
    n: int
    formula: str


class ArmEffect(Record):
    """A run against one control, where both were measured last.

    `control_gain` is the change from baseline that the control has by itself: what happens without the feedback, or, of
    those that train nothing, what the feedback does in a prompt. `retained` is about what should be kept, by criterion;
    nothing where the control loses none by definition.
    """

    control_gain: float | None
    compliance: Contrast
    retained: dict[str, Contrast] = Field(default_factory=dict[str, Contrast])

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: dict[str, Any]) -> dict[str, Any]:
        """They had one criterion for all that should be kept."""
        if "capability" not in values:
            return values
        known = {name: value for name, value in values.items() if name != "capability"}
        kept = values["capability"]
        return known if kept is None else known | {"retained": {"capability_retention": kept}}

    def contrasts(self, criteria: Sequence[str]) -> list[Contrast | None]:
        """That of compliance, and those of these criteria."""
        return [self.compliance, *(self.retained.get(criterion) for criterion in criteria)]


def criteria_in(arms: Mapping[str, Mapping[str, ArmEffect]]) -> list[str]:
    """The criteria of what should be kept, by which any preference is held against any control."""
    every = (effect for effects in arms.values() for effect in effects.values())
    return list(dict.fromkeys(criterion for effect in every for criterion in effect.retained))


def effects_of(
    histories: Mapping[str, History], planned: Sequence[PlannedTrack], confidence: float
) -> dict[str, dict[str, ArmEffect]]:
    """The effect of every preference against each of its controls, by track and arm; nothing before both have ended."""
    found: dict[str, dict[str, ArmEffect]] = {}
    for track in planned:
        history = histories.get(track.name)
        if history is None or history.status is not Status.COMPLETE or track.control_of is not None:
            continue
        effects = _untrained(history, confidence)
        for other in planned:
            control = histories.get(other.name)
            if other.control_of == track.name and control is not None and control.status is Status.COMPLETE:
                effects[other.arm] = _against(history, control, confidence)
        if effects:
            found[track.name] = effects
    return _adjusted(found)


def _untrained(history: History, confidence: float) -> dict[str, ArmEffect]:
    key, found = _compliance(history), dict[str, ArmEffect]()
    for arm in UNTRAINED:
        prompted = by_item(history.rollouts(0), Items(metric=arm, prefix="heldout/", cluster="prompts"))
        if key is not None and key.items is not None and prompted:
            last = by_item(history.rollouts(history.planned_steps), key.items)
            base = by_item(history.rollouts(0), key.items)
            contrast = _contrast(last, prompted, f"final - {arm}", confidence, _width(key))
            found[arm] = ArmEffect(control_gain=_mean_change(prompted, base), compliance=contrast)
    return found


def _against(history: History, control: History, confidence: float) -> ArmEffect:
    """Difference in differences: each against its own baseline."""
    compliance = _compliance(history)
    assert compliance is not None, "a control is compared by it"
    return ArmEffect(
        control_gain=_mean_change(_last(control, compliance), _first(control, compliance)),
        compliance=_difference(history, control, compliance, confidence),
        retained={
            criterion.name: _difference(history, control, key, confidence) for key, criterion in retained(history.keys)
        },
    )


def _difference(history: History, control: History, key: Key, confidence: float) -> Contrast:
    one, other = _first(history, key), _first(control, key)
    now, then = _last(history, key), _last(control, key)
    formula = "(final - baseline) - (control's final - control's baseline)"
    if all(other.get(item) == score for item, score in one.items()):
        return _contrast(now, then, formula, confidence, _width(key))  # the baselines cancel, item by item
    changes, changes_of_control = _changes(now, one), _changes(then, other)
    return _contrast(changes, changes_of_control, formula, confidence, 2 * _width(key))


def _width(key: Key) -> float:
    """How far apart two values can be."""
    low, high = key.limits
    return math.inf if low is None or high is None else high - low


def _contrast(one: ByItem, other: ByItem, formula: str, confidence: float, furthest: float) -> Contrast:
    """The difference between paired items, which is `furthest` at most in either direction."""
    now, then, _ = paired(one, other)
    differences = [new - old for new, old in zip(now, then, strict=True)]
    method = f"mean of {formula}, paired by item"
    if not differences:
        return Contrast(value=None, ci=None, p=None, n=0, formula=method)
    if all(score in (0, 1) for score in (*now, *then)):
        gained, lost = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
        interval: Interval | None = paired_difference_interval(gained, lost, len(now), confidence)
        p = normal_tail(-paired_difference_z(gained, lost, len(now), 0.0))
        method += "; score interval (Tango 1998)"
    else:
        interval, p = mean_interval(differences, confidence), mean_p_at_most(differences, 0.0)
        method += f"; {METHOD}"
    return Contrast(
        value=fmean(differences),
        ci=None if interval is None else (max(interval.low, -furthest), min(interval.high, furthest)),
        p=p,
        n=len(now),
        formula=method,
    )


def _adjusted(found: dict[str, dict[str, ArmEffect]]) -> dict[str, dict[str, ArmEffect]]:
    places = [(track, arm) for track, effects in found.items() for arm in effects]
    tested = [place for place in places if found[place[0]][place[1]].compliance.p is not None]
    p_values = [p for track, arm in tested if (p := found[track][arm].compliance.p) is not None]
    for (track, arm), p in zip(tested, holm(p_values, len(places)), strict=True):
        effect = found[track][arm]
        adjusted = effect.compliance.model_copy(update={"p_holm": p})
        found[track][arm] = effect.model_copy(update={"compliance": adjusted})
    return found


def _compliance(history: History) -> Key | None:
    return with_role(history.keys, Role.LEARNED) or with_role(history.keys, Role.TRAINED_ON)


def _first(history: History, key: Key) -> ByItem:
    return {} if key.items is None else by_item(history.rollouts(0), key.items)


def _last(history: History, key: Key) -> ByItem:
    return {} if key.items is None else by_item(history.rollouts(history.planned_steps), key.items)


def _changes(after: ByItem, before: ByItem) -> ByItem:
    pairs = {item: (score, before.get(item)) for item, score in after.items()}
    return {item: None if now is None or was is None else now - was for item, (now, was) in pairs.items()}


def _mean_change(after: ByItem, before: ByItem) -> float | None:
    now, was, _ = paired(after, before)
    return fmean(new - old for new, old in zip(now, was, strict=True)) if now else None
