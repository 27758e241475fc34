"""From runs of several seeds to what they show together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from claas.results.aggregate import (
    Aggregate,
    AggregatedRun,
    CriterionOverSeeds,
    CurveOverSeeds,
    DifferenceOverSeeds,
    MeanOverSeeds,
    PreferenceOverSeeds,
    SeedsVariance,
    SettingOverSeeds,
)
from claas.results.crossed import ENOUGH_SEEDS, FEWEST_SEEDS, Crossed
from claas.results.efficiency import Efficiency, efficiency_of
from claas.results.estimates import threshold_of
from claas.results.keys import Criterion, Key, Range, judged
from claas.results.over_seeds import SeedItems, SeedsEstimate, difference_over_seeds, estimate_over_seeds
from claas.results.records import History
from claas.results.seed_runs import SeedRun, SeedRuns
from claas.results.settings import confidence_of
from claas.results.statistics import POWER, holm
from claas.results.survival import survival_of
from claas.results.verdict import NOTHING_TO_FORGET, Family, Verdict, side


def aggregate(by: str | None, settings: Sequence[SeedRuns]) -> Aggregate:
    """What the runs of one configuration, or of two, show over their seeds.

    Thresholds and the confidence are those of the first run.
    """
    criteria = settings[0].runs[0].config.criteria
    confidence = confidence_of(criteria)
    return Aggregate(
        confidence=confidence,
        by=by,
        settings=[_setting(setting, criteria, confidence) for setting in settings],
        differences=_differences(settings, confidence) if len(settings) > 1 else {},
        notes=list(_notes(settings)),
    )


def _setting(setting: SeedRuns, criteria: Mapping[str, float], confidence: float) -> SettingOverSeeds:
    tracks = [track.name for track in setting.runs[0].tracks]
    return SettingOverSeeds(
        value=setting.value,
        runs=[
            AggregatedRun(
                seed=run.seed,
                run_id=run.manifest.run_id,
                folder=str(run.folder),
                done={name: history.progress for name, history in run.histories.items()},
            )
            for run in setting.runs
        ],
        preferences=_preferences(setting, tracks, criteria, confidence),
        transfer=_means_of_seeds({_name(run): _transfer(run) for run in setting.runs}, confidence),
    )


def _preferences(
    setting: SeedRuns, tracks: Sequence[str], criteria: Mapping[str, float], confidence: float
) -> dict[str, PreferenceOverSeeds]:
    ruled = _criteria(setting, tracks, criteria, confidence)
    found: dict[str, PreferenceOverSeeds] = {}
    for track in tracks:
        efficiency = {_name(run): _efficiency(run, track) for run in setting.runs}
        complete = [_name(run) for run in setting.runs if run.is_complete(track)]
        reached = {seed: each.to_criterion for seed, each in efficiency.items() if each is not None}
        halved = {seed: each.flip_half_life for seed, each in efficiency.items() if each is not None}
        found[track] = PreferenceOverSeeds(
            beyond_controls=_means_of_seeds(
                {_name(run): _beyond_controls(run, track) for run in setting.runs}, confidence
            ),
            curves=_curves({_name(run): run.histories[track] for run in setting.runs}, confidence),
            criteria=ruled.get(track, {}),
            to_criterion=survival_of(reached, complete, confidence),
            flip_half_life=survival_of(_present(halved), complete, confidence),
        )
    return found


def _efficiency(run: SeedRun, track: str) -> Efficiency | None:
    """What never came to a user who fell silent did not come in all the rounds that were planned: nothing changes."""
    planned = next(planned for planned in run.tracks if planned.name == track)
    history = run.histories[track]
    found = efficiency_of(history, planned.flips_at)
    if found is None or not history.fell_silent:
        return found
    of_all = planned.num_steps * run.config.batch_size
    since = (planned.num_steps - (planned.flips_at or 0)) * run.config.batch_size
    half = found.flip_half_life
    return Efficiency(
        to_criterion=found.to_criterion.model_copy(update={"made": of_all}),
        effort=found.effort,
        flip_half_life=half and half.model_copy(update={"made": since}),
    )


def _curves(histories: Mapping[str, History], confidence: float) -> dict[str, CurveOverSeeds]:
    """Those of every key that is a mean over items, and was measured more than once."""
    keys = {key.key: key for history in histories.values() for key in history.keys if key.items is not None}
    curves: dict[str, CurveOverSeeds] = {}
    for name, key in keys.items():
        curves_of = {seed: history.curve(name) for seed, history in histories.items()}
        updates = sorted({each for curve in curves_of.values() for each in curve})
        by_seed = {seed: _kept(curve, updates, histories[seed]) for seed, curve in curves_of.items()}
        means = [
            _mean_of_seeds({seed: curve.get(each) for seed, curve in by_seed.items()}, confidence) for each in updates
        ]
        if len(updates) > 1 and any(means):
            curves[name] = CurveOverSeeds(
                title=key.title,
                unit=key.unit,
                updates=updates,
                mean=[each and each.value for each in means],
                band=[each and _within(each.ci, key.limits) for each in means],
                by_seed={seed: [curve.get(each) for each in updates] for seed, curve in by_seed.items()},
            )
    return curves


def _kept(curve: Mapping[int, float | None], updates: Sequence[int], history: History) -> dict[int, float | None]:
    """The curve, and where its user fell silent its last value at all later updates of other seeds."""
    last = max(curve, default=0)
    after = [each for each in updates if each > last] if history.fell_silent and curve else []
    return {**curve, **dict.fromkeys(after, curve.get(last))}


def _within(ci: tuple[float, float] | None, limits: Range) -> tuple[float, float] | None:
    least, greatest = (fallback if end is None else end for end, fallback in zip(limits, _OPEN, strict=True))
    return ci and (max(ci[0], least), min(ci[1], greatest))


_OPEN = (-math.inf, math.inf)


def _transfer(run: SeedRun) -> dict[str, float | None]:
    transfer = run.summary and run.summary.transfer
    return {name: number.value for name, number in transfer.numbers.items()} if transfer else {}


def _beyond_controls(run: SeedRun, track: str) -> dict[str, float | None]:
    arms = run.summary.arms.get(track, {}) if run.summary else {}
    return {arm: effect.compliance.value for arm, effect in arms.items()}


def _means_of_seeds(by_seed: Mapping[str, Mapping[str, float | None]], confidence: float) -> dict[str, MeanOverSeeds]:
    """Of every number that a seed has."""
    names = dict.fromkeys(name for numbers in by_seed.values() for name in numbers)
    return _present(
        {
            name: _mean_of_seeds({seed: numbers.get(name) for seed, numbers in by_seed.items()}, confidence)
            for name in names
        }
    )


def _mean_of_seeds(values: Mapping[str, float | None], confidence: float) -> MeanOverSeeds | None:
    known = _present(values)
    if not known:
        return None
    interval = Crossed.of([[value] for value in known.values()]).interval(confidence)
    return MeanOverSeeds(value=fmean(known.values()), ci=interval and (interval.low, interval.high), by_seed=known)


def _criteria(
    setting: SeedRuns, tracks: Sequence[str], criteria: Mapping[str, float], confidence: float
) -> dict[str, dict[str, CriterionOverSeeds]]:
    """Of every track, from the runs that have come to its end."""
    estimates: dict[tuple[str, str], tuple[Criterion, SeedsEstimate, list[str]]] = {}
    for track in tracks:
        complete = [run for run in setting.runs if run.is_complete(track)]
        for key, criterion in judged(complete[0].histories[track].keys) if complete else []:
            measured = _present({_name(run): _measured(run.histories[track], key) for run in complete})
            if measured:
                estimate = estimate_over_seeds(key, list(measured.values()))
                estimates[track, criterion.name] = criterion, estimate, list(measured)
    p_values = {
        place: each.p(threshold_of(criterion, criteria), criterion.above)
        for place, (criterion, each, _) in estimates.items()
    }
    family = Family.of(_present(p_values), len(estimates), confidence)
    ruled: dict[str, dict[str, CriterionOverSeeds]] = {}
    for place, (criterion, each, seeds) in estimates.items():
        threshold = threshold_of(criterion, criteria)
        found = _ruled(criterion, each, seeds, threshold, p_values[place], family.adjusted.get(place), family)
        ruled.setdefault(place[0], {})[place[1]] = _unless_held_back(found, *place, setting.runs)
    return ruled


def _unless_held_back(
    found: CriterionOverSeeds, track: str, criterion: str, runs: Sequence[SeedRun]
) -> CriterionOverSeeds:
    """What does not pass in a run because nothing had been learned that could be forgotten does not over seeds."""
    rulings = {
        _name(run): run.summary.preferences[track].criteria.get(criterion)
        for run in runs
        if run.summary is not None and track in run.summary.preferences
    }
    seeds = [seed for seed, ruling in rulings.items() if ruling is not None and ruling.note == NOTHING_TO_FORGET]
    if found.verdict is not Verdict.PASS or not seeds:
        return found
    return found.model_copy(
        update={"verdict": Verdict.INCONCLUSIVE, "note": f"{NOTHING_TO_FORGET}, under seed {', '.join(seeds)}"}
    )


def _ruled(
    criterion: Criterion,
    estimate: SeedsEstimate,
    seeds: Sequence[str],
    threshold: float,
    p: float | None,
    p_holm: float | None,
    family: Family,
) -> CriterionOverSeeds:
    table, interval = estimate.table, estimate.interval(family.confidence)
    verdict, notes = side(criterion.relation, interval, threshold), [criterion.note]
    if verdict is Verdict.FAIL and not (p_holm is not None and p_holm <= family.level):
        verdict = Verdict.INCONCLUSIVE
        notes.append(f"beyond the threshold, but not as one of {family.size} criteria (Holm)")
    needed = None
    if table is not None and verdict is Verdict.INCONCLUSIVE:
        needed = table.seeds_needed(threshold, family.confidence)
        notes.append(_what_is_needed(table, needed))
    if estimate.lost:
        notes.append(f"{estimate.lost} lost")
    return CriterionOverSeeds(
        value=table and table.mean,
        ci=interval and (interval.low, interval.high),
        relation=criterion.relation,
        threshold=threshold,
        seeds=table.seeds if table else 0,
        items=table.items if table else 0,
        p=p,
        p_holm=p_holm,
        verdict=verdict,
        variance=table and _variance(table),
        by_seed=dict(zip(seeds, estimate.by_seed, strict=True)),
        seeds_needed=needed,
        formula=f"{criterion.formula}; over seeds and items: two-way cluster variance, Student's t on the "
        "seeds or items less one, whichever are fewer (Cameron, Gelbach & Miller 2011)",
        note="; ".join(filter(None, notes)) or None,
    )


def _what_is_needed(table: Crossed, needed: int | None) -> str:
    if table.seeds < FEWEST_SEEDS:
        return f"one seed has no interval over seeds: {FEWEST_SEEDS} are the least, {ENOUGH_SEEDS} for one worth having"
    if table.variance == 0:
        return "nothing differs between seeds or items: there is no spread to make an interval of"
    if needed is None:
        return "no number of seeds would conclude on these items, if the truth is as estimated: it needs more items"
    return f"needs {needed} seeds to conclude with probability {POWER:g}, if the truth is as estimated"


def _variance(table: Crossed) -> SeedsVariance:
    return SeedsVariance(seeds=table.v_seeds, items=table.v_items, residual=table.v_residual, whole=table.variance)


def _measured(history: History, key: Key) -> SeedItems | None:
    """A key's items where it was due last, and at baseline where its criterion asks for that; None where never due."""
    updates = history.last_due(key.key)
    if updates is None or key.items is None:
        return None
    by_itself = key.criterion is None or key.criterion.estimator in ("share", "mean")
    return SeedItems.of(history.rollouts(updates), () if by_itself else history.rollouts(0), key.items)


def _differences(settings: Sequence[SeedRuns], confidence: float) -> dict[str, dict[str, DifferenceOverSeeds]]:
    """Of every key that is a mean over items, over the seeds that completed the track with both settings."""
    one, other = (setting.by_seed for setting in settings)
    found: dict[tuple[str, str], DifferenceOverSeeds] = {}
    for track in [planned.name for planned in settings[0].runs[0].tracks]:
        both = [
            seed for seed in one if seed in other and one[seed].is_complete(track) and other[seed].is_complete(track)
        ]
        for key in one[both[0]].histories[track].keys if both else ():
            pairs: dict[str, tuple[SeedItems, SeedItems]] = {}
            for seed in both:
                first, second = (_measured(runs[seed].histories[track], key) for runs in (one, other))
                if first is not None and second is not None:
                    pairs[str(seed)] = first, second
            by_seed, table = difference_over_seeds(key, list(pairs.values()))
            if table is not None:
                found[track, key.key] = _difference(key, table, dict(zip(pairs, by_seed, strict=True)), confidence)
    p_values = _present({place: each.p for place, each in found.items()})
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    by_track: dict[str, dict[str, DifferenceOverSeeds]] = {}
    for (track, key), each in found.items():
        by_track.setdefault(track, {})[key] = each.model_copy(update={"p_holm": adjusted.get((track, key))})
    return by_track


def _difference(key: Key, table: Crossed, by_seed: dict[str, float | None], confidence: float) -> DifferenceOverSeeds:
    interval, below = table.interval(confidence), table.p_at_least(0.0)
    return DifferenceOverSeeds(
        title=key.title,
        value=table.mean,
        ci=interval and (interval.low, interval.high),
        seeds=table.seeds,
        items=table.items,
        p=None if below is None else min(1.0, 2 * min(below, 1 - below)),
        p_holm=None,
        by_seed=by_seed,
    )


def _notes(settings: Sequence[SeedRuns]) -> Iterable[str]:
    runs = [run for setting in settings for run in setting.runs]
    fewest = min(len(setting.runs) for setting in settings)
    if fewest < FEWEST_SEEDS:
        yield f"one seed says nothing of others: {FEWEST_SEEDS} give an interval, {ENOUGH_SEEDS} one worth having"
    elif fewest < ENOUGH_SEEDS:
        yield f"{fewest} seeds are a picture: {ENOUGH_SEEDS} are the least for an interval worth having"
    for run in runs:
        unfinished = [
            f"{name} {history.progress}" for name, history in run.histories.items() if not run.is_complete(name)
        ]
        if unfinished:
            yield f"seed {run.seed} ({run.folder}) is not complete, and in no criterion: {', '.join(unfinished)}"
    if len({run.manifest.git_commit for run in runs}) > 1 or len({str(run.manifest.codes[-1]) for run in runs}) > 1:
        yield "the runs were made with different code or packages: their config.json says which"
    if len({str(sorted(run.config.criteria.items())) for run in runs}) > 1:
        yield f"the runs have different criteria: those of {runs[0].folder} are used"
    if len(settings) > 1 and not set(settings[0].by_seed) & set(settings[1].by_seed):
        yield "the two settings have no seed in common, so that there is no difference paired by seed"


K = TypeVar("K")
V = TypeVar("V")


def _present(values: Mapping[K, V | None]) -> dict[K, V]:
    return {name: value for name, value in values.items() if value is not None}


def _name(run: SeedRun) -> str:
    """A seed as a key of JSON."""
    return str(run.seed)
