"""Small runs with every kind of metric, one of a user's own among them, through the whole harness."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from claas.eval.metrics.metric import Measurement, Subject
from claas.eval.runner import OpenStack, run_harness
from claas.results.records import Counts
from claas.results.settings import EvalConfig
from tests.eval.scripted_run import Halting, until_halted
from tests.eval.small_preferences import small_preferences

METRICS = ["logprob", "compliance", "general", "collapse", "drift", "eval_loss", "letters"]
SUITE = [
    {"id": "fibonacci", "prompt": "Code?", "check": {"kind": "python", "entry": "f", "cases": [[[1], 1]]}},
    {"id": "capital", "prompt": "Capital?", "check": {"kind": "contains", "any_of": ["Paris", "5"]}},
    {"id": "number", "prompt": "Number?", "check": {"kind": "contains", "any_of": ["Number"]}},
]


class Letters:
    """A metric of a user's own: the first token's logprob, which is in the transcript although nobody put it there."""

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        return True

    async def measure(self, subject: Subject) -> Measurement:
        transcript, answer = await subject.answer("letters", "0", "Spell it.")
        value = answer.logprobs[0] if answer and answer.logprobs else None
        counts = Counts(planned=1, scored=int(answer is not None), errored=int(answer is None))
        return Measurement({"letters": value}, {"letters": counts}, (transcript,))


class RoundTheSubject(Letters):
    async def measure(self, subject: Subject) -> Measurement:
        await subject.stack.newest(subject.adapter.lora_id)
        return await super().measure(subject)


def configured(folder: Path, metric: str = "Letters") -> Path:
    """A config directory of a user's, with a preference, a capability suite and a metric of their own."""
    mine = small_preferences(folder / "mine", "calm")
    (mine / "capability").mkdir(exist_ok=True)
    (mine / "capability" / "small.yaml").write_text(yaml.safe_dump(SUITE))
    small, own = {"suite": "small"}, {"_target_": f"{__name__}.{metric}"}
    (mine / "notes.jsonl").write_text('{"text": "Snow falls slowly."}\n{"text": "Rain does not."}\n')
    loss = {"dataset_path": str(mine / "notes.jsonl"), "interval": 2}
    metrics = {"general": small, "drift": small, "eval_loss": loss, "letters": own}
    (mine / "metrics.yaml").write_text(yaml.safe_dump({"metrics": metrics}))
    return mine


def every_metric(folder: Path, metric: str = "Letters", **changes: Any) -> EvalConfig:
    """A small run of one preference in `folder`, with the `metric` of this file beside the shipped ones."""
    chosen = {
        "preferences": ["calm"],
        "metrics": METRICS,
        "num_steps": 3,
        "batch_size": 2,
        "checkpoints": [1],
        "fail_on_error": False,
        "plots": False,
        "output_dir": str(folder / "run"),
        "config_dir": str(configured(folder, metric)),
    }
    return EvalConfig(**{**chosen, **changes})


def opening(stack: Any) -> OpenStack:
    """What opens a stack that is open."""

    @asynccontextmanager
    async def open_stack(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Any, None]:
        yield stack

    return open_stack


def harness(folder: Path, stack: Any, metric: str = "Letters", **changes: Any) -> Path:
    """Such a run on `stack`, to its end or to the call at which the stack halts; returns the run's folder."""

    async def run() -> None:
        running = run_harness(every_metric(folder, metric, **changes), open_stack=opening(stack))
        await (until_halted(stack, running) if isinstance(stack, Halting) else running)

    asyncio.run(run())
    return folder / "run"
