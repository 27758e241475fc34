"""A whole run folder, recomputed: each preference from its own records, then the summary over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from claas.core.errors import InvalidInput
from claas.eval.config.typed import eval_config
from claas.eval.history import History
from claas.eval.metric import Metric
from claas.eval.preference import Preference
from claas.eval.recompute.agreement import Agreement
from claas.eval.recompute.measurements import Measurements
from claas.eval.recompute.summary import check_summary
from claas.eval.recompute.updates import Updates
from claas.eval.records import Baseline, Metadata, StepRecord
from claas.eval.run.begin import what_changed
from claas.eval.run.canary import Canaries
from claas.eval.run.files import RunFiles
from claas.eval.run.ledger import Ledger
from claas.eval.run.manifest import read_manifest
from claas.eval.run.on_record import OnRecord
from claas.eval.runner import load
from claas.eval.stack import WrongWeights
from claas.eval.types import EvalConfig


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
