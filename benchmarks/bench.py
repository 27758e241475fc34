"""What standard benchmarks cost: through the API, and as lm-eval's own way asks the same items.

    python -m benchmarks bench

CPU seconds, of processes on one thread; what is compared takes turns in the same run.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import Report
from claas.bench.catalogue import Chosen, Entry, chosen
from claas.bench.model import Model
from claas.bench.models import open_models
from claas.bench.run import run_models
from claas.bench.scoring import require_lm_eval
from claas.bench.settings import BenchConfig
from claas.bench.suite import Suite, prepare
from claas.bench.wire_lm import WireLM, WireModel
from claas.core.settings import EMBEDDED, TrainingConfig
from claas.eval.stacks.open_stack import open_stack
from claas.results.benchmarks import BenchmarkFiles
from claas.results.settings import EvalConfig
from claas.tiny import WEIGHTS_DIR
from claas.wire.feedback import FeedbackItem

HUB = Path("tests/benchmarks/hub").resolve()
ADAPTERS = ("one", "two", "three")
CHOICES = ("mmlu", "truthfulqa_mc2")
TIMES = 6
ROUNDS = 3
SUBJECTS = ("mmlu_astronomy", "mmlu_nutrition")


def main() -> int:
    """Print what it costs; exit code 1 when anything costs too much."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    require_lm_eval()
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(learn(Path(folder) / "store"))
        as_lm_eval_asks(report, Path(folder))
        asyncio.run(in_process(report, Path(folder)))
    listed = cpu_seconds(["claas.bench", "--list-tasks"])
    report.line("--list-tasks: CPU, which is all of it where nothing else runs", listed, "s", at_most=2.0)
    return report.exit_code


async def learn(store: Path) -> None:
    """Version 1 of three adapters."""
    async with open_stack(EvalConfig(base_model=EMBEDDED), store) as stack:
        for number, name in enumerate(ADAPTERS):
            new = await stack.init_adapter(name, seed=number)
            answer = await stack.answer(new, "What is rain?", temperature=0.0, seed=1, max_tokens=24)
            item = FeedbackItem(
                lora_id=name,
                prompt="What is rain?",
                response=answer.text,
                feedback="Be brief." if number else "Say more.",
                training=TrainingConfig(steps_per_batch=1, learning_rate=1e-2),
                rollout_id=answer.rollout_id,
            )
            await stack.give_feedback(new, [item], key=name)


def as_lm_eval_asks(report: Report, folder: Path) -> None:
    """The smoke suite on base and adapters by one command, and by a run of lm-eval's own model for each of them."""
    adapters = f"adapters=[{','.join(f'{name}@1' for name in ADAPTERS)}]"
    places = [f"store_dir={folder / 'store'}", f"output_dir={folder / 'smoke'}", f"datasets_dir={HUB}"]
    ours = cpu_seconds(["claas.bench", "suite=smoke", adapters, *places])
    theirs, furthest = 0.0, 0.0
    for name in ("", *ADAPTERS):
        found = folder / f"hf{name}.json"
        peft = [str(next((folder / "store").glob(f"**/{name}/000001/adapter_config.json")).parent)] if name else []
        theirs += cpu_seconds(["benchmarks.bench", str(found), *peft])
        told: dict[str, list[list[float]]] = json.loads(found.read_text())
        for task in CHOICES:
            items = BenchmarkFiles(folder / "smoke").read_samples(f"{name}@1" if name else EMBEDDED, task)
            for item in items:
                scored = [logprob for ((logprob, _),) in item.resps]
                expected = told[f"{item.task}/{item.doc_id}"]
                furthest = max(furthest, *(abs(a - b) for a, b in zip(scored, expected, strict=True)))
    report.line("base and 3 adapters on the smoke suite, one command: CPU", ours, "s")
    report.line("4 runs of lm-eval's hf with peft= on the same items: CPU", theirs, "s")
    report.line("the first, of the second", ours / theirs, "", at_most=0.5)
    report.line("furthest two log probabilities of a choice are apart", furthest, "nats", at_most=1e-4)


async def in_process(report: Report, folder: Path) -> None:
    """What asking a question's choices together gains, and what our layer adds to lm-eval."""
    hub = more_rows(folder / "hub")
    entries = (Entry(task="mmlu", num_fewshot=5, only=SUBJECTS), Entry(task="truthfulqa_mc2"), Entry(task="hellaswag"))
    suite = await asyncio.to_thread(prepare, entries, hub)
    config = BenchConfig(
        tasks=[entry.task for entry in entries],
        store_dir=str(folder / "store"),
        datasets_dir=str(hub),
        output_dir=str(folder / "layer"),
    )
    async with open_models(config) as models:
        await choices_together(report, suite, models[0])
        await the_layer(report, config, suite, Chosen("bench", entries), models)


async def choices_together(report: Report, suite: Suite, model: Model) -> None:
    """Five-shot MMLU: the choices of a question in one request, and each in a request of its own."""
    served: Any = model.lm()
    asked = await asyncio.to_thread(questions, suite, served)
    wire: WireModel = served._served
    together, echoed = WireLM(wire), WireLM(replace(wire, reads_once=False))
    best = await cpu({"together": lambda: together.loglikelihood(asked), "echoed": lambda: echoed.loglikelihood(asked)})
    report.line("five-shot MMLU, choices together: CPU of a question", 1e3 * best["together"] / len(asked) * 4, "ms")
    report.line("than each choice by itself", best["echoed"] / best["together"], "x", at_least=3.0)


def questions(suite: Suite, lm: Any) -> list[Any]:
    """What lm-eval asks of MMLU."""
    asked: list[Any] = []
    own = lm.loglikelihood

    def recorded(requests: Any, **settings: Any) -> Any:
        asked.extend(requests)
        return own(requests, **settings)

    lm.loglikelihood = recorded
    alone(suite, lm, "suite_mmlu")
    return asked


async def the_layer(report: Report, config: BenchConfig, suite: Suite, asked: Chosen, models: list[Model]) -> None:
    """A whole run with its records and caches, against lm-eval's own function on the same model."""
    turn = iter(range(100))

    def bare() -> None:
        for entry in suite.entries:
            alone(suite, models[0].lm(), entry.group)

    def ours() -> None:
        new = replace(config, output_dir=f"{config.output_dir}{next(turn)}")
        asyncio.run_coroutine_threadsafe(run_models(new, asked, suite, models, lambda line: None), loop).result()

    loop = asyncio.get_running_loop()
    best = await cpu({"bare": bare, "ours": ours})
    report.line("three tasks by lm-eval's own function: CPU", best["bare"], "s")
    report.line("what caches and records add", 100 * (best["ours"] / best["bare"] - 1), "%", at_most=3.0)


def alone(suite: Suite, lm: Any, group: str) -> dict[str, Any]:
    """lm-eval by itself."""
    from lm_eval import simple_evaluate

    return simple_evaluate(
        model=lm,
        tasks=[group],
        task_manager=suite.manager,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=1000,
    )


def hf(found: Path, peft: Sequence[str]) -> None:
    """The smoke suite by lm-eval's own model of transformers; the log probabilities of all choices to `found`."""
    import lm_eval.models  # its name is known from then on  # noqa: F401
    from lm_eval import simple_evaluate

    suite = prepare(chosen("smoke", [], limit=None, num_fewshot=None).entries, HUB)
    told: dict[str, list[float]] = {}
    arguments = {"pretrained": str(WEIGHTS_DIR), "dtype": "float32"} | ({"peft": peft[0]} if peft else {})
    report = simple_evaluate(
        model="hf",
        model_args=arguments,
        device="cpu",
        batch_size=16,
        tasks=[entry.group for entry in suite.entries],
        task_manager=suite.manager,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        limit=10,
    )
    for task, rows in report["samples"].items():
        for row in rows:
            if isinstance(row["resps"][0][0], tuple):
                told[f"{task}/{row['doc_id']}"] = [logprob for ((logprob, _),) in row["resps"]]
    found.write_text(json.dumps(told))


def more_rows(folder: Path) -> Path:
    """The fixture's data sets with each row to be asked several times, in other words."""
    for path in HUB.rglob("*"):
        if not path.is_file():
            continue
        copied = folder / path.relative_to(HUB)
        copied.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        if path.name in ("test.jsonl", "validation.jsonl"):
            rows = [json.loads(line) for line in text.splitlines()]
            text = "".join(json.dumps(asked_again(row, turn)) + "\n" for turn in range(TIMES) for row in rows)
        copied.write_text(text)
    return folder


def asked_again(row: dict[str, Any], turn: int) -> dict[str, Any]:
    """A row whose question begins otherwise each time."""
    return {name: f"{turn}. {value}" if name in ("question", "ctx_a") else value for name, value in row.items()}


def cpu_seconds(module: list[str]) -> float:
    """CPU seconds of a program and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", *module], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def cpu(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of each, the best of several rounds in which they take turns."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            started = time.process_time()
            await asyncio.to_thread(work)
            best[name] = min(best[name], time.process_time() - started)
    return best


if __name__ == "__main__":
    if sys.argv[1:]:
        hf(Path(sys.argv[1]), sys.argv[2:])
    else:
        sys.exit(main())
