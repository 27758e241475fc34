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
from claas.eval.recompute.measurements import Agreement, Measurements, compare_transcripts, replay
from claas.eval.run.canary import Canaries
from claas.eval.run.preference_run import what_changed
from claas.eval.run.step import feedback_text, sample
from claas.eval.runner import load
from claas.eval.stacks.stack import WrongWeights
from claas.results.ledger import Intent, Ledger
from claas.results.manifest import read_manifest
from claas.results.records import AdapterRecord, Baseline, History, Metadata, StepRecord
from claas.results.run_files import OnRecord, RunFiles, parsed
from claas.results.settings import EvalConfig, eval_config
from claas.results.summary import FILE_NAME, PreferenceSummary, Summary, build_summary

_BATCH = ("key", "feedback", "prompts", "responses", "rollout_ids")


class Updates:
    """Checks a preference's ledger, whose structure (each receipt after its intent) reading it has proved."""

    def __init__(self, preference: Preference, config: EvalConfig, run_id: str, found: Agreement):
        self._preference, self._config, self._run_id, self._found = preference, config, run_id, found

    async def check_ledger(self, where: str, ledger: Ledger, baseline: Baseline) -> None:
        """Versions count up by one from the baseline's, and every intent is what its sampled answers lead to."""
        self._found.compare("baseline.json", "adapter.version", baseline.adapter.version, 0)
        newest = baseline.adapter
        for step in range(ledger.updates):
            intent, paid = ledger.update(step)
            await self._check_intent(f"{where} step {step}", intent, newest)
            made = {"lora_id": newest.lora_id, "version": newest.version + 1}
            self._found.compare(f"{where} step {step}", "receipt.adapter", _name(paid.adapter), made)
            newest = paid.adapter
        if ledger.open_intent is not None:
            await self._check_intent(f"{where} step {ledger.updates}", ledger.open_intent, newest)

    def check_step(self, where: str, step: StepRecord, ledger: Ledger) -> None:
        """A step on record is the update that the ledger has under its number."""
        intent, paid = ledger.update(step.step)
        compare = self._found.compare
        compare(where, "preference", step.preference, self._preference.name)
        compare(where, "adapter", step.adapter.model_dump(), paid.adapter.model_dump())
        compare(where, "sdpo_metrics", step.sdpo_metrics, paid.sdpo_metrics)
        compare(where, "feedback_given", step.feedback_given, intent.feedback)
        for name in ("prompts", "responses", "rollout_ids"):
            compare(where, name, getattr(step, name), getattr(intent, name))
        compare_transcripts(self._found, where, step.rollouts[: len(intent.sampling)], intent.sampling)

    async def _check_intent(self, where: str, intent: Intent, newest: AdapterRecord) -> None:
        self._found.compare(where, "adapter", intent.adapter.model_dump(), newest.model_dump())
        for trained in untold(intent):
            self._found.compare(where, "trained on", trained, "no sampled answer that came")
        config, step = self._config, intent.step
        subject = replay(self._preference, config, newest, step, None, intent.sampling)
        key = f"{self._run_id}/{self._preference.name}/{step}"
        feedback = feedback_text(step, self._preference, config.feedback_variation, config.seed)
        try:
            again = await sample(subject, step, key, feedback, config.batch_size, config.temperature)
        except StackError as error:
            self._found.compare(where, "sampling", f"{len(intent.responses)} answers to train on", str(error))
            return
        for name in _BATCH:
            self._found.compare(where, name, getattr(intent, name), getattr(again, name))
        compare_transcripts(self._found, where, intent.sampling, again.sampling)


def untold(intent: Intent) -> Iterable[tuple[str, str, str]]:
    """What is trained on (prompt, response, rollout id) without being a sampled answer that came, or twice."""
    trained = Counter(zip(intent.prompts, intent.responses, intent.rollout_ids, strict=True))
    came = Counter(
        (each.prompt, visible(each.response), each.rollout_id or "")
        for each in intent.sampling
        if each.error is None and each.response is not None
    )
    return (trained - came).elements()


def _name(adapter: AdapterRecord) -> dict[str, object]:
    return {"lora_id": adapter.lora_id, "version": adapter.version}


def check_summary(files: RunFiles, run_id: str, config: EvalConfig, histories: Mapping[str, History]) -> Agreement:
    """Rebuild what summary.json says.

    It is written when a preference ends, so a run that was killed later, or is under way, has records beyond it: it is
    held against the records that it was drawn from, and a note says that it is behind.
    """
    found, path = Agreement(FILE_NAME), files.root / FILE_NAME
    if not path.exists():
        found.notes.append("not written yet")
        return found
    try:
        recorded = parsed(path, read_text(path), Summary)
    except InvalidInput as error:
        found.note_unreadable(FILE_NAME, error)
        return found
    known = {name: histories.get(name, History(name, config.num_steps)) for name in recorded.preferences}
    as_of = {name: _as_of(recorded.preferences[name], history) for name, history in known.items()}
    behind = [name for name in known if len(as_of[name].steps) < len(known[name].steps)]
    if behind:
        found.notes.append(f"written before the last steps of {', '.join(behind)}; continuing the run renews it")
    try:
        again = build_summary(run_id, config, as_of)
    except InvalidInput as error:
        found.note_unreadable(FILE_NAME, error)
        return found
    found.compare(FILE_NAME, "summary", recorded.model_dump(mode="json"), again.model_dump(mode="json"))
    return found


def _as_of(recorded: PreferenceSummary, history: History) -> History:
    """The history as it was when it was summarised. Why a preference failed stands nowhere else."""
    return replace(
        history,
        planned_steps=recorded.steps_planned,
        failure=recorded.failure,
        baseline=history.baseline if recorded.adapter is not None else None,
        steps=history.steps[: recorded.steps_done],
    )


async def recompute_run(run_dir: Path, config_dir: Path | None = None) -> list[Agreement]:
    """Recompute everything in `run_dir` with its preferences and metrics as they are configured now.

    `config_dir` stands in for the folder of the user's that the run was configured with. `InvalidInput` when the folder
    holds no run, or a preference or metric of it is missing or has changed.
    """
    manifest = read_manifest(RunFiles(run_dir))
    config = eval_config(manifest.config)
    if config_dir is not None:
        config = replace(config, config_dir=str(config_dir))
    preferences, metrics = load(config)
    return await recompute_records(RunFiles(run_dir), manifest.run_id, config, preferences, metrics)


async def recompute_records(
    files: RunFiles,
    run_id: str,
    config: EvalConfig,
    preferences: Mapping[str, Preference],
    metrics: Mapping[str, Metric],
) -> list[Agreement]:
    """One agreement per preference, and one for the summary."""
    records = _Records(files, run_id, config, metrics)
    agreements = [await records.check(preference) for preference in preferences.values()]
    if len(records.histories) == len(preferences):
        agreements.append(check_summary(files, run_id, config, records.histories))
    return agreements


@dataclass(frozen=True)
class _Records:
    """A run's records; `histories` are those of the preferences whose files could be read."""

    files: RunFiles
    run_id: str
    config: EvalConfig
    metrics: Mapping[str, Metric]
    histories: dict[str, History] = field(default_factory=dict[str, History])
    canaries: Canaries = field(default_factory=Canaries)

    async def check(self, preference: Preference) -> Agreement:
        """Everything on record about one preference."""
        found, files = Agreement(preference.name), self.files.preference(preference.name)
        try:
            recorded, metadata = OnRecord.read(files), files.read_metadata()
        except InvalidInput as error:
            found.note_unreadable(preference.name, error)
            return found
        history, ledger = recorded.history(preference.name, self.config.num_steps), recorded.ledger
        self.histories[preference.name] = history
        if metadata is not None:
            self._require_same(metadata, preference, files.root)
        if history.baseline is None:
            begun = len(history.steps) + ledger.updates + (ledger.open_intent is not None)
            found.compare("baseline.json", "the record", "nothing", "a baseline" if begun else "nothing")
            found.notes.append("nothing measured yet")
            return found
        await self._check_updates(found, preference, history.baseline, history.steps, ledger)
        await self._check_measurements(found, preference, history.baseline, history.steps, ledger)
        return found

    def _require_same(self, recorded: Metadata, preference: Preference, folder: Path) -> None:
        if changed := what_changed(recorded, preference, self.metrics):
            raise InvalidInput(
                f"{changed} changed since {folder} was recorded; restore it, or name the folder that holds it as it "
                "was with --config-dir"
            )

    async def _check_updates(
        self, found: Agreement, preference: Preference, baseline: Baseline, steps: Sequence[StepRecord], ledger: Ledger
    ) -> None:
        updates = Updates(preference, self.config, self.run_id, found)
        await updates.check_ledger("ledger.jsonl", ledger, baseline)
        for step in steps:
            where = f"steps.jsonl step {step.step}"
            if step.step < ledger.updates:
                updates.check_step(where, step, ledger)
            else:
                found.compare(where, "update", "on record", "not in ledger.jsonl")

    async def _check_measurements(
        self, found: Agreement, preference: Preference, baseline: Baseline, steps: Sequence[StepRecord], ledger: Ledger
    ) -> None:
        measurements = Measurements(preference, self.metrics, self.config, found)
        await measurements.check_baseline("baseline.json", baseline)
        self._check_canary(found, "baseline.json", baseline)
        for step in steps[: ledger.updates]:
            where = f"steps.jsonl step {step.step}"
            await measurements.check_step(where, step, baseline, sampled=len(ledger.update(step.step)[0].sampling))
            self._check_canary(found, where, step)

    def _check_canary(self, found: Agreement, where: str, record: Baseline | StepRecord) -> None:
        """What all versions of the run scored the canary still says that each is the one it should be."""
        try:
            self.canaries.add(record.adapter, record.canary)
        except WrongWeights as error:
            found.compare(where, "canary", "the right weights", str(error))
