"""Benchmarks from Python, in one call."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from claas.bench import project
from claas.bench.adapters import place_of
from claas.bench.backends import adapter_named, model_arguments
from claas.bench.catalogue import Chosen, catalogue, chosen
from claas.bench.model import nobody
from claas.bench.scoring import Runner, require_lm_eval
from claas.bench.settings import WIRE, BenchConfig
from claas.core.errors import BREAKDOWNS
from claas.results.benchmarks import EvalResult, TaskResult


def run_lm_eval(
    model_name: str,
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    num_fewshot: int | None = None,
    runner: Runner | None = None,
    **settings: Any,
) -> EvalResult:
    """One model on groups and tasks: the base model, or an adapter such as `eval-concise@20`.

    `settings` are those of `python -m claas.bench`. With `runner`, which is called as `lm_eval.simple_evaluate` is and
    returns such a dictionary, nothing is asked and lm-eval need not be installed. `MissingExtra` says what to install.
    """
    base = BenchConfig(base_model=settings.pop("base_model", None), mode=settings.get("mode", "local")).model
    model = {} if model_name == base else {"adapters": [model_name], "include_base": False}
    config = BenchConfig(base_model=base, tasks=list(tasks), limit=limit, num_fewshot=num_fewshot, **model, **settings)
    asked = chosen(None, tasks, limit=limit, num_fewshot=num_fewshot)
    if runner is not None:
        return _ran(runner, model_name, config, asked)
    require_lm_eval()
    from claas.bench.run import run_bench

    (result,) = asyncio.run(run_bench(config, asked, nobody))
    return result


def _ran(runner: Runner, model_name: str, config: BenchConfig, asked: Chosen) -> EvalResult:
    started, results = time.monotonic(), list[TaskResult]()
    settings = {"limit": config.limit, "num_fewshot": config.num_fewshot, **config.lm_eval_settings()}
    if config.backend == WIRE:
        settings["model"] = model_name
    else:
        adapter = adapter_named(config, config.adapters[0]) if config.adapters else None
        settings["model"], settings["model_args"] = model_arguments(config, place_of(config.model), adapter)
    for entry in asked.entries:
        primary = catalogue().metric(entry.task)
        try:
            raw = runner(tasks=[entry.task], **settings)
            results.append(project.task_result(raw, entry.task, entry.task, primary))
        except BREAKDOWNS as error:
            results.append(project.failed(entry.task, str(error), primary))
    return project.eval_result(model_name, results, seconds=time.monotonic() - started, backend=config.backend)
