"""What was measured at one version, once more: the metrics are run again on the recorded transcripts."""

from collections import Counter
from collections.abc import Mapping, Sequence

from claas.eval.cost import update_tokens
from claas.eval.metric import Metric, Subject
from claas.eval.metrics.tally import counted
from claas.eval.preference import Preference
from claas.eval.recompute.agreement import Agreement
from claas.eval.recompute.replay import replay
from claas.eval.records import Baseline, Counts, StepRecord, Transcript
from claas.eval.run.measuring import take, tokens
from claas.eval.run.sampling import PURPOSE
from claas.eval.types import EvalConfig


class Measurements:
    """Recomputes `eval`, `counts`, `tokens` and verdicts of a preference's records. Times cannot be recomputed."""

    def __init__(self, preference: Preference, metrics: Mapping[str, Metric], config: EvalConfig, found: Agreement):
        self._preference, self._metrics, self._config, self._found = preference, metrics, config, found

    async def check_baseline(self, where: str, record: Baseline) -> None:
        """Version 0."""
        subject = replay(self._preference, self._config, record.adapter, None, None, record.rollouts)
        await self._check(where, record, subject, record.rollouts, {})

    async def check_step(self, where: str, record: StepRecord, baseline: Baseline, sampled: int) -> None:
        """The version a step made; the first `sampled` transcripts are of the answers it was trained on."""
        sampling, measured = record.rollouts[:sampled], record.rollouts[sampled:]
        subject = replay(self._preference, self._config, record.adapter, record.step, baseline, measured)
        await self._check(where, record, subject, measured, {PURPOSE: counted(sampling)})

    async def _check(
        self,
        where: str,
        record: Baseline | StepRecord,
        subject: Subject,
        measured: Sequence[Transcript],
        sampling: Mapping[str, Counts],
    ) -> None:
        again = await take(self._metrics, subject, frozenset(self._config.collapse_steps or ()))
        found, counts = self._found, {**sampling, **again.counts}
        found.compare(where, "eval", record.eval, again.values)
        found.compare(where, "counts", _plain(record.counts), _plain(counts))
        trained = update_tokens(record.sdpo_metrics) if isinstance(record, StepRecord) else {}
        found.compare(where, "tokens", record.tokens, tokens(record.rollouts) | trained)
        found.transcripts += len(record.rollouts)
        compare_transcripts(found, where, measured, again.rollouts)


def compare_transcripts(
    found: Agreement, where: str, recorded: Sequence[Transcript], recomputed: Sequence[Transcript]
) -> None:
    """Compare what was asked, and what was made of the answers; the answers themselves come from the record."""
    ours, theirs = _by_request(recorded), _by_request(recomputed)
    for request in {**ours, **theirs}:
        one, other = ours.get(request), theirs.get(request)
        if one is None or other is None:
            shown = ["no transcript" if each is None else "a transcript" for each in (one, other)]
            found.compare(where, f"rollouts.{request}", *shown)
            continue
        found.compare(where, f"rollouts.{request}.verdict", one.verdict, other.verdict)
        for name in Transcript.model_fields:
            if name != "verdict" and getattr(one, name) != getattr(other, name):
                found.compare(where, f"rollouts.{request}.{name}", getattr(one, name), getattr(other, name))


def _by_request(transcripts: Sequence[Transcript]) -> dict[str, Transcript]:
    """By metric and item; a request that was made more than once is numbered."""
    times: Counter[str] = Counter()
    named: dict[str, Transcript] = {}
    for transcript in transcripts:
        name = f"{transcript.metric}/{transcript.item}"
        times[name] += 1
        named[name if times[name] == 1 else f"{name}#{times[name]}"] = transcript
    return named


def _plain(counts: Mapping[str, Counts]) -> dict[str, dict[str, int]]:
    return {name: each.model_dump() for name, each in counts.items()}
