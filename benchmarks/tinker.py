"""`mode=tinker` against a scripted service that takes 0.4 s a request: how much of a step's waiting overlaps."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Report
from claas.core.settings import TrainingConfig
from claas.eval.runner import run_harness
from claas.results.settings import EvalConfig
from tests.engines.tinker.words import completion_ids
from tests.fakes.tinker_service import FakeTinker, tinker_service

DELAY_S = 0.4
STEPS = 3
CHAIN = 5
"""Requests that have to follow one another in a step: sample, score, train, save, measure."""
COLUMNS = 60


def main() -> int:
    """Print the timeline of a step both ways; exit 1 when a requirement is missed."""
    report = Report()
    together, spans = _step(max_concurrency=128)
    one_by_one, sequential = _step(max_concurrency=1)
    report.line("a step, requests of a phase together", together, "s", at_most=1.5 * CHAIN * DELAY_S)
    report.line("its longest chain of requests", CHAIN * DELAY_S, "s")
    report.line("a step, the harness's requests one after another", one_by_one, "s")
    report.line("speed-up", one_by_one / together, "x", at_least=2.0)
    for title, shown in (("together", spans), ("one after another", sequential)):
        report.note(f"{title}: the last step, {COLUMNS} columns are its {shown[-1][2] - shown[0][1]:.1f} s")
        for line in _timeline(shown):
            report.note(line)
    return report.exit_code


def _step(max_concurrency: int) -> tuple[float, list[tuple[str, float, float]]]:
    """Mean seconds of a step, and what was waited for in the last one, in the order of its end."""
    fake = FakeTinker(["claas-tiny"], answer=completion_ids("Rain is water that falls from clouds."), delay_s=DELAY_S)
    with tinker_service(fake) as service, tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TINKER_BASE_URL": service.url, "TINKER_TELEMETRY": "0", "CLAAS_TINKER_API_KEY": "tml-bench"}
        config = EvalConfig(
            mode="tinker",
            base_model="claas-tiny",
            preferences=["concise"],
            metrics=["logprob"],
            num_steps=STEPS,
            training=TrainingConfig(steps_per_batch=4),
            max_concurrency=max_concurrency,
            plots=False,
            output_dir=str(Path(folder) / "run"),
        )
        asyncio.run(run_harness(config))
    # The measurement of a step overlaps the update of the next: a step is from one batch of samples to the next.
    begun = [start for kind, start, _ in fake.spans if kind == "optim_step"][:: config.training.steps_per_batch]
    last = [span for span in fake.spans if begun[-2] <= span[1] < begun[-1]]
    return (begun[-1] - begun[0]) / (len(begun) - 1), last


def _timeline(spans: list[tuple[str, float, float]]) -> list[str]:
    """One line per kind of request: how many were waited for at each moment."""
    start, end = min(begun for _, begun, _ in spans), max(done for _, _, done in spans)
    lines: list[str] = []
    for kind in dict.fromkeys(kind for kind, _, _ in spans):
        counts = [0] * COLUMNS
        for _, begun, done in (span for span in spans if span[0] == kind):
            first = int((begun - start) / (end - start) * (COLUMNS - 1))
            last = int((done - start) / (end - start) * (COLUMNS - 1))
            for column in range(first, last + 1):
                counts[column] += 1
        shown = "".join("·" if count == 0 else str(count) if count < 10 else "#" for count in counts)
        lines.append(f"{kind:<24} {shown}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
