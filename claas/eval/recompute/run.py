"""A whole run folder, recomputed: each preference from its own records, then the summary over them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from claas.core.errors import InvalidInput, StackError
from claas.core.files import read_text
from claas.core.text import visible
from claas.eval.metrics.metric import Metric
from claas.eval.metrics.preference import Preference
from claas.eval.protocols.arms import measured_of
from claas.eval.protocols.tracks import Track
from claas.eval.recompute.measurements import Agreement, Measurements, compare_transcripts, replay
from claas.eval.run.canaries import Canaries
from claas.eval.run.canary import canary_text, sample_chat
from claas.eval.run.sources import code_of
from claas.eval.run.step import intent_to_train, require_answers, sample
from claas.eval.run.track_run import update_key, what_changed
from claas.eval.run.user import SimulatedUser
from claas.eval.runner import load, planned_in
from claas.eval.stacks.stack import WrongWeights
from claas.results.code import Change, differences, said_of
from claas.results.ledger import Intent, Ledger
from claas.results.manifest import Manifest, read_manifest
from claas.results.records import USER, AdapterVersion, Baseline, History, Metadata, SampledBatch, StepRecord
from claas.results.run_files import PreferenceFiles, PreferenceRecords, RunFiles, parsed
from claas.results.settings import EvalConfig, recorded_config
from claas.results.summary import FILE_NAME, PreferenceSummary, Summary, build_summary


async def recompute_run(run_dir: Path, config_dir: Path | None = None) -> list[Agreement]:
    """Recompute everything in `run_dir` with its preferences and metrics as they are configured now.

    `config_dir` stands in for the folder of the user's that the run was configured with. `InvalidInput` when the folder
    holds no run, or a preference or metric of it is missing or has changed.
    """
    manifest = read_manifest(RunFiles(run_dir))
    config = recorded_config(manifest.config)
    if config_dir is not None:
        config = replace(config, config_dir=str(config_dir))
    preferences, metrics = load(config)
    tracks = planned_in(config, preferences, metrics)
    agreements = await recompute_records(RunFiles(run_dir), manifest, config, tracks, metrics)
    if other := differences(manifest.codes[-1], code_of(config, tracks, metrics)):
        agreements[0].notes.append(f"recomputed with other code than it was made with: {'; '.join(other)}")
    return agreements


async def recompute_records(
    files: RunFiles, manifest: Manifest, config: EvalConfig, tracks: Sequence[Track], metrics: Mapping[str, Metric]
) -> list[Agreement]:
    """One agreement per track, and one for the summary."""
    records = _Records(files, manifest.run_id, config, metrics, manifest.changes)
    agreements = [await records.check(track) for track in tracks]
    if len(records.histories) == len(tracks):
        agreements.append(check_summary(files, manifest, config, records.histories))
    return agreements


@dataclass(frozen=True)
class _Records:
    """A run's records; `histories` are those of the tracks whose files could be read, and `newest` has the version that
    each adapter was trained to by those."""

    files: RunFiles
    run_id: str
    config: EvalConfig
    metrics: Mapping[str, Metric]
    changes: Sequence[Change]
    histories: dict[str, History] = field(default_factory=dict[str, History])
    newest: dict[str, AdapterVersion] = field(default_factory=dict[str, AdapterVersion])
    canaries: Canaries = field(default_factory=Canaries)

    async def check(self, track: Track) -> Agreement:
        """Everything on record about one track."""
        agreement, files = Agreement(track.name), self.files.preference(track.name)
        try:
            records, metadata = PreferenceRecords.read(files), files.read_metadata()
        except InvalidInput as error:
            agreement.note_unreadable(track.name, error)
            return agreement
        history = records.history(track.name, track.num_steps)
        self.histories[track.name] = history
        agreement.notes += said_of(self.changes, history)
        if metadata is not None:
            self._require_same(metadata, track, files.root)
        elif records.baseline is not None:
            agreement.compare("metadata.json", "the record", "nothing", "what the preference and the metrics said")
        if records.baseline is None:
            started = records.steps or records.ledger.intents()
            agreement.compare("baseline.json", "the record", "nothing", "a baseline" if started else "nothing")
            agreement.notes.append("nothing measured yet")
            return agreement
        await self._check_updates(agreement, track, files, records.baseline, records)
        await self._check_measurements(agreement, track, records.baseline, records)
        return agreement

    def _require_same(self, recorded: Metadata, track: Track, folder: Path) -> None:
        if changed := what_changed(recorded, track.preference, measured_of(track, self.metrics)):
            raise InvalidInput(
                f"{changed} changed since {folder} was recorded; restore it, or name the folder that holds it as it "
                "was with --config-dir"
            )

    async def _check_updates(
        self,
        agreement: Agreement,
        track: Track,
        files: PreferenceFiles,
        baseline: Baseline,
        records: PreferenceRecords,
    ) -> None:
        updates = Updates(track, self.config, self.run_id, agreement, files, records.steps)
        agreement.compare("baseline.json", "adapter.version", baseline.adapter.version, 0)
        start = self.newest.get(track.adapter, baseline.adapter)
        self.newest[track.adapter] = await updates.check_ledger(records.ledger, start)
        for step in records.steps:
            where = _where(step)
            if step.step < records.ledger.updates:
                updates.check_step(where, step, records.ledger)
            else:
                agreement.compare(where, "update", "on record", "not in ledger.jsonl")

    async def _check_measurements(
        self, agreement: Agreement, track: Track, baseline: Baseline, records: PreferenceRecords
    ) -> None:
        preference = track.preference
        measurements = Measurements(track, measured_of(track, self.metrics), self.config, agreement)
        await measurements.check_baseline("baseline.json", baseline)
        await self._check_canary(agreement, "baseline.json", preference, baseline, baseline)
        for step in records.steps[: records.ledger.updates]:
            await measurements.check_step(_where(step), step, baseline)
            await self._check_canary(agreement, _where(step), preference, step, baseline)

    async def _check_canary(
        self,
        agreement: Agreement,
        where: str,
        preference: Preference,
        record: Baseline | StepRecord,
        baseline: Baseline,
    ) -> None:
        """What all versions of the run scored and said still says that each is the one it should be."""
        if record.canary is not None and baseline.canary is not None:
            text = None if baseline.canary.text is None else canary_text(self.run_id)
            agreement.compare(where, "canary.text", record.canary.text, text)
        if record.canary is not None and record.canary.chat is not None:
            answers, step = record.canary.chat.answers, record.step if isinstance(record, StepRecord) else None
            again = await sample_chat(replay(preference, self.config, record.adapter, step, None, answers))
            compare_transcripts(agreement, where, answers, [transcript for transcript, _ in again])
        try:
            self.canaries.add(record.adapter, record.canary, record.rollouts)
        except WrongWeights as error:
            agreement.compare(where, "canary", "the right weights", str(error))


_DRAWN = ("feedback_by_answer", "fell_silent", "prompts", "responses", "rollout_ids")
"""What a step's record has from its intent under the same name."""


def _where(step: StepRecord) -> str:
    return f"steps.jsonl step {step.step}"


@dataclass(frozen=True)
class Updates:
    """Checks a track's ledger, whose structure (each receipt after its intent) reading it has proved."""

    track: Track
    config: EvalConfig
    run_id: str
    agreement: Agreement
    files: PreferenceFiles
    steps: Sequence[StepRecord]

    async def check_ledger(self, ledger: Ledger, newest: AdapterVersion) -> AdapterVersion:
        """Versions count up by one from `newest`, and every intent is what its sampled answers lead to.

        The version that the last one made.
        """
        compare = self.agreement.compare
        for intent in ledger.intents():
            where = f"ledger.jsonl step {intent.step}"
            await self._check_intent(where, intent, newest, ledger.intents()[: intent.step])
            if intent.step < ledger.updates:
                _, receipt = ledger.update(intent.step)
                due = {"lora_id": newest.lora_id, "version": newest.version + bool(intent.responses)}
                compare(where, "receipt.adapter", receipt.adapter.model_dump(exclude={"digest"}), due)
                newest = receipt.adapter
        return newest

    def check_step(self, where: str, step: StepRecord, ledger: Ledger) -> None:
        """A step on record is the update that the ledger has under its number."""
        intent, receipt = ledger.update(step.step)
        compare = self.agreement.compare
        compare(where, "preference", step.preference, self.track.preference.name)
        compare(where, "adapter", step.adapter.model_dump(), receipt.adapter.model_dump())
        compare(where, "sdpo_metrics", step.sdpo_metrics, receipt.sdpo_metrics)
        compare(where, "lost_metrics", step.lost_metrics, receipt.lost_metrics)
        compare(where, "feedback_given", step.feedback_given, intent.feedback)
        for name in _DRAWN:
            compare(where, name, getattr(step, name), getattr(intent, name))
        heard = [rollout for rollout in step.rollouts if rollout.metric == USER]
        compare_transcripts(self.agreement, where, heard, intent.user or ())

    async def _check_intent(
        self, where: str, intent: Intent, newest: AdapterVersion, earlier: Sequence[Intent]
    ) -> None:
        """Sample once more from the transcripts, and draw the intent from what comes."""
        if any(before.fell_silent for before in earlier):
            self.agreement.compare(where, "round", "held", "not held: the user had fallen silent")
        self.agreement.compare(where, "adapter", intent.adapter.model_dump(), newest.model_dump())
        batch = self._sampled(where, intent)
        if batch is None:
            return
        for trained in not_sampled(intent, batch):
            self.agreement.compare(where, "trained on", trained, "no sampled answer that came")
        config, step, items = self.config, intent.step, self.track.rounds[intent.step]
        subject = replay(self.track.preference, config, newest, step, None, batch.transcripts)
        again = await sample(subject, step, items, config.temperature)
        try:
            require_answers(again, every=False)
        except StackError as error:
            self.agreement.compare(where, "sampling", f"{len(intent.responses)} answers to train on", str(error))
            return
        key, user = update_key(self.run_id, self.track.name, step), SimulatedUser(self.config.user)
        heard = replay(self.track.preference, config, newest, step, None, intent.user or ())
        due = await intent_to_train(user, heard, self.track, again, earlier, key, intent.sample_s)
        for name in (*_DRAWN, "key", "feedback", "answers"):
            self.agreement.compare(where, name, getattr(intent, name), getattr(due, name))
        compare_transcripts(self.agreement, where, batch.transcripts, again.transcripts)
        compare_transcripts(self.agreement, where, intent.user or (), due.user or ())

    def _sampled(self, where: str, intent: Intent) -> SampledBatch | None:
        """What was sampled for an update: on record with its step, waiting to be, or both, and then the same."""
        recorded = None
        if intent.step < len(self.steps):
            rollouts = self.steps[intent.step].rollouts[: len(self.track.rounds[intent.step])]
            recorded = SampledBatch(step=intent.step, transcripts=rollouts)
        try:
            waiting = self.files.read_sampled(intent)
        except InvalidInput as error:
            self.agreement.note_unreadable(where, error)
            return recorded
        if recorded is None and waiting is None:
            self.agreement.compare(where, "sampled answers", "neither in steps.jsonl nor in sampled/", "a batch")
        elif recorded is not None and waiting is not None:
            compare_transcripts(
                self.agreement, _where(self.steps[intent.step]), recorded.transcripts, waiting.transcripts
            )
        return recorded or waiting


def not_sampled(intent: Intent, batch: SampledBatch) -> Iterable[tuple[str, str, str]]:
    """What is trained on (prompt, response, rollout id) without being a sampled answer that came, or twice."""
    trained = zip(intent.prompts, intent.responses, intent.rollout_ids, strict=True)
    sampled = [(each.prompt, visible(each.response or ""), each.rollout_id or "") for each in batch.answered]
    return (Counter(trained) - Counter(sampled)).elements()


def check_summary(
    files: RunFiles, manifest: Manifest, config: EvalConfig, histories: Mapping[str, History]
) -> Agreement:
    """Rebuild what summary.json says.

    It is written when a preference ends, so a run that was killed later, or is under way, has records beyond it: it is
    held against the records that it was drawn from, and a note says that it is behind.
    """
    agreement, path = Agreement(FILE_NAME), files.root / FILE_NAME
    if not path.exists():
        agreement.notes.append("not written yet")
        return agreement
    try:
        recorded = parsed(path, read_text(path), Summary)
    except InvalidInput as error:
        agreement.note_unreadable(FILE_NAME, error)
        return agreement
    now = {name: histories.get(name, History(name, config.num_steps)) for name in recorded.preferences}
    then = {name: _as_of(recorded.preferences[name], history) for name, history in now.items()}
    behind = [name for name in now if len(then[name].steps) < len(now[name].steps)]
    if behind:
        agreement.notes.append(f"written before the last steps of {', '.join(behind)}; continuing the run renews it")
    try:
        again = build_summary(manifest.run_id, config, then, manifest.changes, manifest.tracks)
    except InvalidInput as error:
        agreement.note_unreadable(FILE_NAME, error)
        return agreement
    unsaid = {name for name, each in recorded.preferences.items() if each.efficiency is None}  # by an earlier version
    found = {
        name: each.model_copy(update={"efficiency": None}) if name in unsaid else each
        for name, each in again.preferences.items()
    }
    again = again.model_copy(update={"preferences": found})
    agreement.compare(FILE_NAME, "summary", recorded.model_dump(mode="json"), again.model_dump(mode="json"))
    return agreement


def _as_of(recorded: PreferenceSummary, history: History) -> History:
    """The history as it was when it was summarised. Why a preference failed stands nowhere else."""
    return replace(
        history,
        planned_steps=recorded.steps_planned,
        failure=recorded.failure,
        baseline=history.baseline if recorded.adapter is not None else None,
        steps=history.steps[: recorded.steps_done],
    )
