"""What protocols and control arms cost: a run with controls beside it, and a sequential run of what it has to do."""

import sys
from collections import Counter

from benchmarks.harness import run_once
from benchmarks.report import Report
from claas.results.settings import EvalConfig, ProtocolConfig
from claas.results.summary import RunResults

STEPS = 6
STAGE = 2
PREFERENCES = ["concise", "no_emoji", "identity"]


def main() -> int:
    """A run alone, with two controls, and with all three preferences one after the other and each alone."""
    report = Report()
    alone = run_once(_asked(["concise"], STEPS))
    beside = run_once(_asked(["concise"], STEPS, controls=["neutral", "irrelevant"]))
    report.line(f"{STEPS} steps, all metrics", alone.seconds, "s")
    report.line("two controls beside it, of its time", beside.seconds / alone.seconds, "x", at_most=1.7)
    for name, history in alone.results.preferences.items():
        same = [step.eval for step in history.steps] == [step.eval for step in beside.results.preferences[name].steps]
        report.line("the run itself is the same, to the bit", float(same), "", at_least=1.0)
    sequential = run_once(_asked(PREFERENCES, STAGE, protocol=ProtocolConfig(kind="sequential")))
    isolated = run_once(_asked(PREFERENCES, STAGE))
    made, needed = _updates(sequential.results), len(PREFERENCES) * STAGE
    report.line("sequential over three preferences, updates of those needed", made / needed, "x", at_most=1.15)
    asked, measured = _answers(sequential.results), _answers(isolated.results)
    across = asked["across"]
    needs = sum(measured.values()) + (len(PREFERENCES) - 1) * _heldout(isolated.results)
    report.line("measurements, of those of each alone and the matrix", sum(asked.values()) / needs, "x", at_most=1.15)
    share = sequential.seconds / (isolated.seconds * sum(asked.values()) / sum(measured.values()))
    report.line(f"time, of that of each alone at as many ({across} for the matrix)", share, "x", at_most=1.15)
    return report.exit_code


def _asked(preferences: list[str], steps: int, **changes: object) -> EvalConfig:
    return EvalConfig(**{"preferences": preferences, "num_steps": steps, "controls": [], "plots": False, **changes})  # type: ignore[arg-type]


def _updates(results: RunResults) -> int:
    return max(step.adapter.version for history in results.preferences.values() for step in history.steps)


def _answers(results: RunResults) -> Counter[str]:
    """Requests on record, by metric."""
    records = [each for history in results.preferences.values() for each in (history.baseline, *history.steps) if each]
    return Counter(rollout.metric for record in records for rollout in record.rollouts)


def _heldout(results: RunResults) -> int:
    """Held-out prompts of all preferences, each of which is asked once for a column of the matrix."""
    baselines = [history.baseline for history in results.preferences.values() if history.baseline is not None]
    items = [each for baseline in baselines for each in baseline.rollouts if each.metric == "compliance"]
    return sum(each.item.startswith("heldout/") for each in items)


if __name__ == "__main__":
    sys.exit(main())
