"""The state of one track in a run: how far it has come, and how it starts or resumes."""

import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from claas.core.checks import adapter_id
from claas.core.concurrency import both
from claas.core.errors import InvalidInput, NotFound, StackError
from claas.eval.metrics.metric import Metric, Subject, declared, seed_for, unheard
from claas.eval.metrics.preference import Preference
from claas.eval.protocols.arms import measured_of
from claas.eval.protocols.tracks import Track
from claas.eval.run.canaries import Canaries
from claas.eval.run.canary import EARLIER_TEXT, PROMPT, canary_text, check_answers, require_canary, score_canary
from claas.eval.run.folder import OpenRun
from claas.eval.run.measuring import Measured, measure_all, require_enough, tokens
from claas.eval.run.reporter import Reporter
from claas.eval.run.user import SimulatedUser
from claas.eval.stacks.stack import LostAnswer, Stack
from claas.results.keys import Key, judged, keys_of_schema_1
from claas.results.ledger import Ledger
from claas.results.records import AdapterVersion, Baseline, Canary, Metadata, StepRecord, Transcript, utc_now
from claas.results.regression import newest_checkpoint, require_no_regression
from claas.results.run_files import PreferenceFiles, PreferenceRecords
from claas.results.settings import EvalConfig


@dataclass
class TrackRun:
    """The state that the steps of a track work with.

    `before` is the track that trains the same adapter before this one. `steps_recorded` counts the steps on record; the
    ledger counts the updates made, which may be ahead of it. `steps_before` are the steps that were on record when the
    track was opened. `last_answers` are the newest greedy answers, by metric and item.
    """

    stack: Stack
    track: Track
    before: "TrackRun | None"
    metrics: Mapping[str, Metric]
    config: EvalConfig
    run_id: str
    files: PreferenceFiles
    ledger: Ledger
    user: SimulatedUser
    reporter: Reporter
    steps_recorded: int
    baseline: Baseline | None
    canaries: Canaries
    resumed: bool
    steps_before: Sequence[StepRecord]
    last_answers: dict[tuple[str, str], str]
    _since: float = field(default_factory=time.monotonic)

    @property
    def lora_id(self) -> str:
        """The adapter's id, unique to this run as long as run folders have different names."""
        return adapter_id(f"{self.config.lora_id_prefix}/{self.track.adapter}-{self.run_id}")

    @property
    def _canary_text(self) -> str:
        """The canary text that the track began with, which may be that of an earlier version of the harness."""
        canary = None if self.baseline is None else self.baseline.canary
        return canary_text(self.run_id) if canary is None else canary.text or EARLIER_TEXT

    def key(self, step: int) -> str:
        """The idempotency key of a step's update."""
        return update_key(self.run_id, self.track.name, step)

    @property
    def num_steps(self) -> int:
        """The number of steps: as planned, or fewer where the user fell silent."""
        ended = (intent.step + 1 for intent in self.ledger.intents() if intent.fell_silent)
        return next(ended, self.track.num_steps)

    def newest(self) -> AdapterVersion:
        """The newest version on record: that of the last receipt, of the track before, or of the baseline."""
        if self.ledger.updates:
            return self.ledger.update(self.ledger.updates - 1)[1].adapter
        if self.before is not None:
            return self.before.newest()
        assert self.baseline is not None, "the baseline is measured before the first step"
        return self.baseline.adapter

    def subject(self, adapter: AdapterVersion, step: int | None) -> Subject:
        """An adapter version as the subject of metrics."""
        return Subject(
            stack=self.stack,
            adapter=adapter,
            preference=self.track.preference,
            step=step,
            baseline=self.baseline,
            run_seed=self.config.seed,
            max_tokens=self.config.max_tokens,
            last_answers=dict(self.last_answers),
            heard=partial(self.reporter.request_ended, self.track.name),
        )

    async def measure(self, adapter: AdapterVersion, step: int | None) -> tuple[Measured, Canary]:
        """Measure a version, including its canary; `WrongWeights` if that shows that other weights answered."""
        subject, track = self.subject(adapter, step), self.track.ending_after(self.num_steps)
        assert self.config.base_model is not None, "a run's configuration is resolved"
        base_model, before = self.config.base_model, None if step is None else self.ledger.update(step)[0].adapter
        with_chat = self.config.openclaw_url is None
        checked = replace(subject, heard=unheard)
        measured, canary = await both(
            measure_all(track.metrics_at(step, self.metrics, self.config), subject, track.checkpoints(self.config)),
            score_canary(checked, base_model, self._canary_text, before, with_chat=with_chat),
        )
        if with_chat:
            answers = await check_answers(checked, base_model, before, measured.rollouts)
            canary = canary.model_copy(update={"answers": answers})
        self.canaries.add(adapter, canary, measured.rollouts)
        self.last_answers |= greedy_answers(measured.rollouts)
        return measured, canary

    def start_steps(self, baseline: Baseline) -> None:
        """Report the baseline, and go on to the steps."""
        self.baseline, self._since = baseline, time.monotonic()
        self.reporter.baseline_measured(self.track.name, baseline)

    def record(self, step: StepRecord) -> None:
        """Record a step and report it; `Regressed` if the run is to end there."""
        self.files.append_step(step)
        self.steps_recorded += 1
        since, self._since = self._since, time.monotonic()
        self.reporter.step_finished(self.track.name, step, self._since - since)
        self.may_go_on_from(step)

    def may_go_on_from(self, step: StepRecord) -> None:
        """Raise `Regressed` if the run is to end after `step` and has further steps."""
        assert self.baseline is not None, "a track is started before its steps"
        if step.step + 1 < self.num_steps:
            require_no_regression(step, self.baseline, self.keys, self.config)

    @property
    def keys(self) -> tuple[Key, ...]:
        """What the metrics declare of the preference's numbers."""
        return tuple(key for metric in self.metrics.values() for key in declared(metric, self.track.preference))


def greedy_answers(rollouts: Iterable[Transcript]) -> dict[tuple[str, str], str]:
    """The answers sampled greedily, by metric and item."""
    return {(each.metric, each.item): each.response for each in rollouts if each.temperature == 0 and each.response}


def update_key(run_id: str, track: str, step: int) -> str:
    """The idempotency key of an update, unique among all runs."""
    return f"{run_id}/{track}/{step}"


def open_track(
    run: OpenRun,
    track: Track,
    before: TrackRun | None,
    records: PreferenceRecords,
    metrics: Mapping[str, Metric],
    stack: Stack,
    user: SimulatedUser,
    reporter: Reporter,
) -> TrackRun:
    """A track of `run`, restored from its records; `WrongWeights` if its recorded canaries contradict each other."""
    last_answers = dict[tuple[str, str], str]()
    for record in filter(None, (records.baseline, *records.steps)):
        run.canaries.add(record.adapter, record.canary, record.rollouts)
        last_answers |= greedy_answers(record.rollouts)
    return TrackRun(
        stack=stack,
        track=track,
        before=before,
        metrics=measured_of(track, metrics),
        config=run.config,
        run_id=run.run_id,
        files=run.files.preference(track.name),
        ledger=records.ledger,
        user=user,
        reporter=reporter,
        steps_recorded=len(records.steps),
        baseline=records.baseline,
        canaries=run.canaries,
        resumed=records.baseline is not None,
        steps_before=records.steps,
        last_answers=last_answers,
    )


async def start(run: TrackRun) -> None:
    """Make sure that `run` has a baseline. It measures version 0, before any training of the adapter."""
    _require_same_content(run)
    run.reporter.preference_started(run.track.name, run.steps_recorded)
    if run.steps_before:
        run.reporter.steps_found(run.track.name, run.steps_before)
    if run.baseline is None:
        run.baseline, run.resumed = await _measure_baseline(run), False


async def start_or_resume(run: TrackRun) -> None:
    """Make sure that the stack agrees with the ledger of `run`, which has its baseline."""
    assert run.baseline is not None, "a track is started before it goes on"
    if run.resumed:
        await _require_stack_agrees(run)
        await _require_same_prompt(run, run.baseline)
    run.start_steps(run.baseline)
    if (checkpoint := newest_checkpoint(run.steps_before, run.keys)) is not None:
        run.may_go_on_from(checkpoint)


async def _measure_baseline(run: TrackRun) -> Baseline:
    adapter = await _untrained(run)
    measured, canary = await run.measure(adapter, None)
    require_enough("baseline", measured.counts, run.config.fail_on_error, measured.rollouts)
    require_canary("baseline", canary, run.config.fail_on_error, baseline=True)
    baseline = Baseline(
        preference=run.track.preference.name,
        timestamp=utc_now(),
        adapter=adapter,
        canary=canary,
        eval=measured.values,
        counts=measured.counts,
        rollouts=measured.rollouts,
        timing_s={"measure": measured.seconds},
        tokens=tokens(measured.rollouts),
    )
    run.files.write_baseline(baseline)
    return baseline


async def _untrained(run: TrackRun) -> AdapterVersion:
    """Version 0 of the adapter, created unless the track before did."""
    if run.before is not None and run.before.baseline is not None:
        return run.before.baseline.adapter
    seed = seed_for(run.config.seed, run.track.preference.name, None, "adapter", "")
    return await run.stack.init_adapter(run.lora_id, seed)


async def _require_stack_agrees(run: TrackRun) -> None:
    """Check that the stack's newest version is the ledger's, or the next if an update was sent and its receipt lost."""
    expected = run.newest()
    try:
        newest = await run.stack.newest(run.lora_id)
    except NotFound as error:
        raise StackError(
            f"{error}, which this run trained to version {expected.version}; continue on the stack that the run was "
            "started on, or start anew in another output_dir"
        ) from error
    if run.ledger.open_intent is not None and newest.version == expected.version + 1:
        return
    if (newest.version, newest.digest) != (expected.version, expected.digest):
        raise StackError(
            f"{run.lora_id} is at version {newest.version} ({newest.digest}) on the stack, but at {expected.version} "
            f"({expected.digest}) in {run.files.ledger}: it was trained or replaced outside this run; start anew in "
            "another output_dir"
        )


async def _require_same_prompt(run: TrackRun, baseline: Baseline) -> None:
    """Check that the stack still tokenises the canary's prompt alike, as far as it tells; else every number moves."""
    then = None if baseline.canary is None else baseline.canary.prompt_digest
    if then is None:
        return
    try:
        now = (await run.stack.score(run.newest(), PROMPT, "Water.")).prompt_digest
    except LostAnswer:
        return
    if now not in (then, None):
        raise InvalidInput(
            f"{run.lora_id}: the stack tokenises a conversation differently than when the baseline was measured: its "
            "chat template, that template's variables (a date, chat_template_kwargs) or its tokenizer has changed, so "
            "steps before and after cannot be compared; restore it, or start anew in another output_dir"
        )


THROUGH_GATEWAY = (
    "Answers came through an OpenClaw gateway, under its system prompt, while scores come from the API itself. The "
    "gateway decides temperature, seed and token bound: sampled_with of each transcript says what was used. Where that "
    "is not what was asked for, greedy answers were not greedy, and another run with this seed answers otherwise. "
    "Which weights answered is what the API says that it recorded of each answer; none was scored again to check it."
)
"""A note for readers of the numbers of a run through a gateway."""


def _require_same_content(run: TrackRun) -> None:
    """Record the preference and the metrics, or compare them with what was recorded at the start."""
    recorded = run.files.read_metadata()
    if recorded is None:
        run.files.write_metadata(
            Metadata(
                preference=run.track.preference.name,
                lora_id=run.lora_id,
                run_id=run.run_id,
                config=asdict(run.config),
                preference_digest=content_digest(run.track.preference),
                metrics_digest=content_digest(run.metrics),
                notes=[] if run.config.openclaw_url is None else [THROUGH_GATEWAY],
                keys=run.keys,
            )
        )
    elif changed := what_changed(recorded, run.track.preference, run.metrics):
        raise InvalidInput(
            f"{changed} changed since {run.files.root} was started; restore it, or choose another output_dir"
        )


def what_changed(recorded: Metadata, preference: Preference, metrics: Mapping[str, Metric]) -> str | None:
    """What has changed since this was recorded, as far as its digests tell; None if nothing has."""
    if recorded.preference_digest not in (None, content_digest(preference)):
        return f"the preference {preference.name!r} has"
    if recorded.metrics_digest not in (None, content_digest(metrics)):
        then = recorded.keys or keys_of_schema_1()
        now = {key.key for metric in metrics.values() for key in declared(metric, preference)}
        gone = [criterion.name for key, criterion in judged(then) if key.key not in now]
        unknown = f"; {' and '.join(gone)} is judged no more" if gone else ""
        return f"what the metrics {', '.join(metrics)} ask (metrics.yaml, capability/*.yaml{unknown}) has"
    return None


def content_digest(content: object) -> str:
    """The sha256 of `repr(content)`, without memory addresses."""
    return hashlib.sha256(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(content)).encode()).hexdigest()
