"""summary.json: what a run found, rewritten as preferences finish, so that a run in progress can be read."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from claas.core.files import dump_json, write_atomically
from claas.results.code import Change, said_of
from claas.results.effects import ArmEffect, effects_of
from claas.results.efficiency import Efficiency, efficiency_of
from claas.results.estimates import change_interval, threshold_of
from claas.results.keys import Key
from claas.results.manifest import PlannedTrack, planned_tracks
from claas.results.records import (
    SCHEMA_VERSION,
    AdapterVersion,
    Baseline,
    Counts,
    History,
    Record,
    Status,
    StepRecord,
    total_counts,
)
from claas.results.settings import ISOLATED, EvalConfig, Prices, left_out
from claas.results.transfer import BWT, Transfer, transfer_of
from claas.results.user_agreement import UserAgreement, agreement_of
from claas.results.verdict import Judgement, Verdict, combine, judge_run

FILE_NAME = "summary.json"


class PreferenceSummary(Judgement):
    """One preference: its judgement, and the numbers by key that it and everything else are drawn from.

    `finals` holds the last measured value of every key (None where it never was) and `finals_at` after how many
    updates that was (0 is the baseline); `deltas` are finals less baseline, for values measured after it. `delta_ci`
    has the intervals of those deltas that are means over prompts, items or pairs, over what was measured both times;
    None where that is too little (`means.mean_interval` says how they are made). `counts` are over all
    measurements, `tokens` and `timing_s` totals by kind and by phase. `adapter` is the newest version. `notes` are what
    a reader has to know of how all this was measured. `efficiency` says what it cost the user, None in summaries of
    earlier versions. `user` is how one who is played by a model agrees with the verifier, None where none is.
    `control_of` is the track that a control arm is beside, None of a track that is judged.
    """

    status: Status
    failure: str | None
    steps_done: int
    steps_planned: int
    adapter: AdapterVersion | None
    baseline: dict[str, float | None]
    finals: dict[str, float | None]
    finals_at: dict[str, int]
    deltas: dict[str, float | None]
    delta_ci: dict[str, tuple[float, float] | None]
    counts: dict[str, Counts]
    tokens: dict[str, int]
    timing_s: dict[str, float]
    notes: tuple[str, ...] = ()
    efficiency: Efficiency | None = None
    user: UserAgreement | None = None
    control_of: str | None = None


class Summary(Record):
    """A run. `verdict` is over its preferences; `confidence` is that of every interval.

    `arms` has the effect against each control, by preference. `transfer` is of a run whose preferences were learned one
    after the other on one adapter, None of others. `cost` is an estimate in the currency of the configuration's prices,
    None where it has none.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Status
    verdict: Verdict
    confidence: float
    base_model: str | None
    seed: int
    tokens: dict[str, int]
    cost: float | None = None
    timing_s: dict[str, float]
    preferences: dict[str, PreferenceSummary]
    transfer: Transfer | None = None
    arms: dict[str, dict[str, ArmEffect]] = Field(default_factory=dict[str, dict[str, ArmEffect]])


def build_summary(
    run_id: str,
    config: EvalConfig,
    histories: Mapping[str, History],
    changes: Sequence[Change] = (),
    tracks: Sequence[PlannedTrack] | None = None,
) -> Summary:
    """Summarise what has been recorded so far; a track without a history has not been started.

    `changes` are those of the code that the run was made with, and `tracks` is what its manifest says was planned.
    """
    planned = planned_tracks(config, tracks)
    by_name = {track.name: track for track in planned}
    controls = {track.name: track.arm for track in planned if track.control_of is not None}
    run_on = {name: history for name, history in histories.items() if name not in controls}
    flips_at = {track.name: track.flips_at for track in planned}
    judged = judge_run(list(run_on.values()), config.criteria, len(planned) - len(controls), flips_at)
    judgements = dict(zip(run_on, judged, strict=True)) | {
        name: _of_control(arm, histories[name]) for name, arm in controls.items() if name in histories
    }
    preferences = {
        name: _preference(
            history,
            judgements[name],
            config.confidence,
            [*left_out(config), *said_of(changes, history)],
            by_name.get(name),
        )
        for name, history in histories.items()
    }
    transfer = _transfer(config, histories, planned, judged)
    verdicts = [judgement.verdict for judgement in judged] + ([] if transfer is None else [transfer.ruling.verdict])
    tokens = _total([preference.tokens for preference in preferences.values()])
    waiting = max(0, len(planned) - len(histories))
    statuses = [history.status for history in histories.values()] + [Status.RUNNING] * waiting
    return Summary(
        run_id=run_id,
        status=next((status for status in (Status.RUNNING, Status.FAILED) if status in statuses), Status.COMPLETE),
        verdict=combine(verdicts + [Verdict.INCONCLUSIVE] * max(0, len(planned) - len(controls) - len(run_on))),
        confidence=config.confidence,
        base_model=config.base_model,
        seed=config.seed,
        tokens=tokens,
        cost=None if config.prices is None else estimated_cost(tokens, config.prices),
        timing_s=_total([preference.timing_s for preference in preferences.values()]),
        preferences=preferences,
        transfer=transfer,
        arms=effects_of(histories, planned, config.confidence),
    )


def _of_control(arm: str, history: History) -> Judgement:
    """Nothing is expected of a control, so that nothing is judged."""
    reason = f"control arm {arm}: not judged" if history.failure is None else f"control arm {arm}: {history.failure}"
    return Judgement(verdict=Verdict.INCONCLUSIVE, reason=reason, criteria={}, not_measured=[], changed_items={})


def _transfer(
    config: EvalConfig, histories: Mapping[str, History], planned: Sequence[PlannedTrack], judged: Sequence[Judgement]
) -> Transfer | None:
    """What the tracks of one adapter show together, the first such adapter; None where each has its own."""
    times = Counter(track.adapter for track in planned)
    shared = next((adapter for adapter, tracks in times.items() if tracks > 1), None)
    if shared is None:
        return None
    in_order = [
        histories.get(track.name, History(track.name, track.num_steps)) for track in planned if track.adapter == shared
    ]
    alone = {
        track.control_of: histories[track.name]
        for track in planned
        if track.arm == ISOLATED and track.control_of is not None and track.name in histories
    }
    threshold = threshold_of(BWT.criterion, config.criteria) if BWT.criterion else 0.0
    family = sum(len(judgement.criteria) for judgement in judged)
    return transfer_of(in_order, threshold, config.confidence, family, alone)


def write(run_dir: Path, summary: Summary) -> Path:
    """Replace the run's summary.json in one step, and say where it is."""
    path = run_dir / FILE_NAME
    write_atomically(path, dump_json(summary.model_dump(mode="json"), indent=2) + "\n")
    return path


def read(run_dir: Path) -> Summary:
    """The summary that `write` left."""
    return Summary.model_validate_json((run_dir / FILE_NAME).read_text(encoding="utf-8"))


def _preference(
    history: History, judgement: Judgement, confidence: float, notes: Sequence[str], track: PlannedTrack | None
) -> PreferenceSummary:
    records = [record for record in (history.baseline, *history.steps) if record is not None]
    curves = {key: history.curve(key) for key in history.known_keys()}
    baseline = {key: curve[0] for key, curve in curves.items() if 0 in curve}
    finals_at = {
        key: max(updates for updates, value in curve.items() if value is not None)
        for key, curve in curves.items()
        if any(value is not None for value in curve.values())
    }
    finals = {key: curve[finals_at[key]] if key in finals_at else None for key, curve in curves.items()}
    return PreferenceSummary(
        **dict(judgement),
        status=history.status,
        failure=history.failure,
        steps_done=len(history.steps),
        steps_planned=history.planned_steps,
        adapter=records[-1].adapter if records else None,
        baseline=baseline,
        finals=finals,
        finals_at=finals_at,
        deltas={key: _delta(finals[key], start, finals_at.get(key, 0)) for key, start in baseline.items()},
        delta_ci=_delta_intervals(history, finals_at, confidence),
        counts=total_counts(record.counts for record in records),
        tokens=_total([record.tokens for record in records]),
        timing_s=_total([record.timing_s for record in records]),
        notes=(*notes, *_unchecked_chat(records), *_fell_silent(history, track)),
        efficiency=efficiency_of(history, track and track.flips_at),
        user=agreement_of(history, confidence),
        control_of=track and track.control_of,
    )


def _fell_silent(history: History, track: PlannedTrack | None) -> Iterable[str]:
    """Says so where there are fewer rounds than were planned."""
    if track is not None and history.fell_silent:
        yield f"its user fell silent: it ended after {len(history.steps)} of {track.num_steps} rounds"


def _unchecked_chat(records: Sequence[Baseline | StepRecord]) -> Iterable[str]:
    """Says so where answers should have been held against their scores, and could not be."""
    checks = [record.canary.chat for record in records if record.canary is not None and record.canary.chat is not None]
    unchecked = [check for check in checks if check.scored is None]
    if unchecked:
        yield (
            f"at {len(unchecked)} of {len(checks)} measurements no answer could be scored again to show which weights "
            f"answer: {unchecked[0].error}"
        )


def _delta(final: float | None, start: float | None, updates: int) -> float | None:
    return final - start if final is not None and start is not None and updates > 0 else None


def _delta_intervals(
    history: History, finals_at: Mapping[str, int], confidence: float
) -> dict[str, tuple[float, float] | None]:
    """The interval of the change of every key that is a mean over items, measured at baseline and after it."""
    intervals: dict[str, tuple[float, float] | None] = {}
    for key in sorted(history.keys, key=lambda key: key.key):
        updates = finals_at.get(key.key, 0)
        if key.items is not None and updates > 0 and 0 in history.curve(key.key):
            interval = change_interval(key, history.rollouts(updates), history.rollouts(0), confidence)
            intervals[key.key] = interval and (interval.low, interval.high)
    return intervals


Number = TypeVar("Number", int, float)


def _total(parts: Sequence[Mapping[str, Number]]) -> dict[str, Number]:
    totals: dict[str, Number] = {}
    for part in parts:
        for kind, amount in part.items():
            totals[kind] = totals[kind] + amount if kind in totals else amount
    return totals


_BY_UPDATE = {"prefill_tokens": "update_prefill", "trained_tokens": "trained"}


def update_tokens(metrics: Mapping[str, float]) -> dict[str, int]:
    """Tokens that an update read (`update_prefill`) and trained on (`trained`), where the engine tells them."""
    return {kind: int(metrics[name]) for name, kind in _BY_UPDATE.items() if name in metrics}


def estimated_cost(tokens: Mapping[str, int], prices: Prices) -> float:
    """What tokens cost in the currency of `prices`: answers are sampled, prompts and scored completions are prefill."""
    user = tokens.get("user_prompt", 0) * prices.user_prompt + tokens.get("user_completion", 0) * prices.user_completion
    prefill = sum(tokens.get(kind, 0) for kind in ("prompt", "scored", "update_prefill"))
    paid = tokens.get("completion", 0) * prices.sample + prefill * prices.prefill
    return (paid + user + tokens.get("trained", 0) * prices.train) / 1e6


@dataclass(frozen=True)
class RunResults:
    """A run as its folder records it.

    `config` is the resolved configuration. `preferences` holds each preference's baseline, steps and failure (None
    when it is complete). `new_steps` counts the steps that this call added: 0 when the run had been finished before.
    """

    run_dir: Path
    config: EvalConfig
    preferences: Mapping[str, History]
    summary: Summary
    new_steps: int

    @property
    def keys(self) -> dict[str, Sequence[Key]]:
        """What is declared of each preference's numbers."""
        return {name: history.keys for name, history in self.preferences.items()}

    @property
    def failures(self) -> dict[str, str]:
        """Why each preference that ended early did; a run with none is complete."""
        return {name: history.failure for name, history in self.preferences.items() if history.failure is not None}
