"""Measuring one adapter version with all metrics at once, and deciding whether too much of that was lost."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from claas.core.concurrency import together
from claas.core.errors import InvalidInput, StackError
from claas.eval.metrics.metric import Metric, Subject
from claas.results.records import USER, Counts, Transcript, Values


@dataclass(frozen=True)
class Measured:
    """What all metrics together measured at one version."""

    values: Values
    counts: dict[str, Counts]
    rollouts: list[Transcript]
    seconds: float


async def measure_all(metrics: Mapping[str, Metric], subject: Subject, checkpoints: frozenset[int]) -> Measured:
    """Measure everything that is due at the subject's step, concurrently."""
    started = time.monotonic()
    due = [metric for metric in metrics.values() if metric.due(subject.step, checkpoints)]
    measurements = await together(metric.measure(subject) for metric in due)
    values: Values = {}
    counts: dict[str, Counts] = {}
    for measurement in measurements:
        for key in (values.keys() & measurement.values.keys()) | (counts.keys() & measurement.counts.keys()):
            raise InvalidInput(f"two metrics report {key!r}; leave one of them out")
        values |= measurement.values
        counts |= measurement.counts
    rollouts = [rollout for measurement in measurements for rollout in measurement.rollouts]
    return Measured(values, counts, rollouts, time.monotonic() - started)


def allowed_share(fail_on_error: bool | float) -> float:
    """The share of measurements that may be lost: none for True, all for False, else the fraction itself."""
    return float(not fail_on_error) if isinstance(fail_on_error, bool) else fail_on_error


def require_enough(
    where: str, counts: Mapping[str, Counts], fail_on_error: bool | float, rollouts: Iterable[Transcript] = ()
) -> None:
    """Raise `StackError` if more was lost than `fail_on_error` allows, with the first error in `rollouts`."""
    planned = sum(count.planned for count in counts.values())
    lost = {name: count.errored for name, count in counts.items() if count.errored}
    if lost and sum(lost.values()) / planned > allowed_share(fail_on_error):
        parts = ", ".join(f"{number} of {name}" for name, number in lost.items())
        reason = next((f"; the first: {rollout.error}" for rollout in rollouts if rollout.error is not None), "")
        raise StackError(
            f"{where}: {sum(lost.values())} of {planned} measurements were lost ({parts}), more than "
            f"fail_on_error={fail_on_error} allows{reason}; nothing was recorded, so that a resumed run "
            "measures them again"
        )


def tokens(rollouts: Iterable[Transcript]) -> dict[str, int]:
    """Tokens read and written by sampling (`prompt`, `completion`), and tokens scored (`scored`).

    Also `user_prompt` and `user_completion` where a model plays the user.
    """
    total = {"prompt": 0, "completion": 0, "scored": 0}
    for rollout in rollouts:
        if rollout.metric == USER:
            for kind, name in (("user_prompt", "prompt_tokens"), ("user_completion", "completion_tokens")):
                total[kind] = total.get(kind, 0) + int((rollout.verdict or {}).get(name) or 0)
            continue
        total["prompt"] += rollout.prompt_tokens or 0
        # A score has no temperature: its completion was read, not written.
        total["scored" if rollout.temperature is None else "completion"] += rollout.completion_tokens or 0
    return total
