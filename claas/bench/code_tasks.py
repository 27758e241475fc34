"""lm-eval's tasks that score a program by running it, which happens in our sandbox: never in this process.

Prompts, worked examples, stop strings, filters and what is put together to a program are lm-eval's own, and so is the
rule: it passes when it runs to its end with the tests of the task below it. Imported only where lm-eval is installed.
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

from lm_eval.api.task import ConfigurableTask  # pyright: ignore[reportMissingTypeStubs]  # typed in place
from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingTypeStubs]  # typed in place
from lm_eval.tasks._yaml_loader import load_yaml  # pyright: ignore[reportMissingTypeStubs]  # typed in place

from claas.bench.project import OUTCOME
from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.eval.metrics.sandbox import confinement, run_program


def run_in_sandbox(manager: TaskManager, leaves: Sequence[Mapping[str, Any]]) -> None:
    """Have these tasks run their programs in the sandbox; `InvalidInput` where it or this system does not allow it."""
    names = [str(leaf["task"]) for leaf in leaves]
    for name, leaf in zip(names, leaves, strict=True):
        if leaf.get("process_results"):
            raise InvalidInput(f"{name} is not run: its own code would run what the model writes, outside the sandbox")
        if leaf.get("repeats", 1) > 1:
            raise InvalidInput(f"{name} draws {leaf['repeats']} answers at random; only a greedy one is asked for")
    held = asyncio.run(confinement())
    if not (held["files"] and (held["network"] or held["syscalls"])):
        raise InvalidInput(
            f"{names[0]} runs what the model writes, and this system does not keep that from files and the network: "
            "it takes Linux 5.13 or later with Landlock, and user namespaces or seccomp"
        )
    with _nothing_runs_programs():
        for entry in (manager.task_index[name] for name in names):
            if entry.yaml_path is not None:
                entry.cfg, entry.yaml_path = _with_our_metric(load_yaml(entry.yaml_path)), None


class SandboxedTask(ConfigurableTask):
    """One of these tasks; its programs are run together, once all answers are there."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        known: dict[str, Any] = {key: value for key, value in config.items() if key != "class"}
        cast(Any, super()).__init__(config=known)
        self._metric: str = config["metric_list"][0]["metric"]
        self._ends = dict[str, str | None]()

    def apply_filters(self) -> None:
        """Take the programs out of the answers, and run them."""
        super().apply_filters()
        asked = cast(list[Any], self.instances)
        every = (self._program(each.doc, answer) for each in asked for answer in each.filtered_resps.values())
        programs = list(dict.fromkeys(every))
        self._ends = dict(zip(programs, asyncio.run(_ends(programs)), strict=True))

    def process_results(self, doc: Any, results: Sequence[Any]) -> dict[str, float | str]:
        """Whether the program of an item passes, and what became of it."""
        why_not = self._ends[self._program(doc, results[0])]
        return {self._metric: float(why_not is None), OUTCOME: why_not or "passed"}

    def _program(self, doc: Any, answer: str | Sequence[str]) -> str:
        code = answer if isinstance(answer, str) else answer[0]
        return f"{code}\n{cast(Any, self).doc_to_target(doc)}"


async def _ends(programs: Iterable[str]) -> list[str | None]:
    """How each of them ended; no more are run at once than there are cores."""
    cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def one(program: str) -> str | None:
        async with cores:
            return await run_program(program)

    return await together(map(one, programs))


def _with_our_metric(settings: Mapping[str, Any]) -> dict[str, Any]:
    (metric,) = settings["metric_list"]
    name = f"pass@{metric['k'][0]}" if "k" in metric else metric["metric"].__name__
    shared = {"higher_is_better": True}
    return {
        **settings,
        "class": SandboxedTask,
        "unsafe_code": False,
        "process_results": "in the sandbox",
        "metric_list": [
            {"metric": name, "aggregation": "mean", **shared},
            {"metric": OUTCOME, "aggregation": tally, **shared},
        ],
    }


def tally(outcomes: Iterable[str]) -> dict[str, int]:
    """How many programs ended in which way, what an exception said aside."""
    return dict(Counter(outcome.partition(":")[0] for outcome in outcomes).most_common())


class _RunsNothing(ModuleType):
    """What lm-eval's code for these tasks gets, in the place of that which would run programs in this process."""

    def load(self, name: str) -> "_RunsNothing":
        """The task's code asks for this when it is imported."""
        return self

    def compute(self, **asked: object) -> None:
        """And tries it out."""


@contextmanager
def _nothing_runs_programs() -> Generator[None]:
    """Import tasks without what they run programs with."""
    before = sys.modules.get("evaluate")
    sys.modules["evaluate"] = _RunsNothing("evaluate")
    try:
        yield
    finally:
        del sys.modules["evaluate"]
        if before is not None:
            sys.modules["evaluate"] = before
