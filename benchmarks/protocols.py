"""What arms and protocols cost: a run with two controls beside it, and a sequential run of what it has to do."""

import asyncio
import sys
from typing import Any

from benchmarks.harness import PREFERENCES, run_once
from benchmarks.report import Report
from claas.eval.run.plan import RunPlan, plan_of
from claas.eval.runner import prepare
from claas.results.settings import EvalConfig, ProtocolConfig
from claas.results.summary import RunResults

STEPS = 4
STAGE = 2


def main() -> int:
    """A run alone and with two controls, timed; and one of all preferences one after the other, counted."""
    report = Report()
    alone = run_once(_asked(["concise"], STEPS))
    beside = run_once(_asked(["concise"], STEPS, controls=["neutral", "irrelevant"]))
    report.line(f"{STEPS} steps, all metrics", alone.seconds, "s")
    report.line("with two controls beside it, of that time", beside.seconds / alone.seconds, "x", at_most=1.7)
    same = _curves(alone.results) == _curves(beside.results)
    report.line("its numbers are the same, to the bit", float(same), "", at_least=1.0)

    quick: dict[str, Any] = {"metrics": ["quick"], "limit": {"heldout": 16}}
    apart = _planned(_asked(PREFERENCES, STAGE, **quick))
    one_adapter = run_once(_asked(PREFERENCES, STAGE, protocol=ProtocolConfig(kind="sequential"), **quick)).results
    versions = [step.adapter.version for history in one_adapter.preferences.values() for step in history.steps]
    report.line(
        "one after the other, updates, of those of each alone", max(versions) / apart.updates, "x", at_most=1.15
    )
    matrix = quick["limit"]["heldout"] * len(PREFERENCES) * (len(PREFERENCES) - 1)
    needed = sum(apart.requests.values()) + matrix
    report.line(
        "measurements, of those of each alone and the matrix", _asked_in(one_adapter) / needed, "x", at_most=1.15
    )
    return report.exit_code


def _asked(preferences: tuple[str, ...] | list[str], steps: int, **changes: Any) -> EvalConfig:
    chosen: dict[str, Any] = {"preferences": list(preferences), "num_steps": steps, "controls": [], "plots": False}
    return EvalConfig(**{**chosen, **changes})


def _planned(config: EvalConfig) -> RunPlan:
    return asyncio.run(plan_of(*prepare(config)))


def _curves(results: RunResults) -> list[Any]:
    return [step.eval for step in results.preferences["concise"].steps]


def _asked_in(results: RunResults) -> int:
    """Requests on record."""
    records = [each for history in results.preferences.values() for each in (history.baseline, *history.steps) if each]
    return sum(len(record.rollouts) for record in records)


if __name__ == "__main__":
    sys.exit(main())
