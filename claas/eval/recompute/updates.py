"""The chain of updates: each was trained on what was sampled from the version before it, and on nothing else."""

from collections import Counter
from collections.abc import Iterable

from claas.core.errors import StackError
from claas.core.text import visible
from claas.eval.preference import Preference
from claas.eval.recompute.agreement import Agreement
from claas.eval.recompute.measurements import compare_transcripts
from claas.eval.recompute.replay import replay
from claas.eval.records import AdapterRecord, Baseline, StepRecord
from claas.eval.run.ledger import Intent, Ledger
from claas.eval.run.sampling import feedback_text, sample
from claas.eval.types import EvalConfig

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
