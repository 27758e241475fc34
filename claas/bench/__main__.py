"""`python -m claas.bench [key=value ...]`: benchmarks from the command line."""

import sys
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from claas.bench.catalogue import catalogue, chosen
from claas.bench.scoring import require_lm_eval
from claas.bench.settings import BenchConfig
from claas.core.command_line import Command, Job
from claas.core.concurrency import run_until_terminated
from claas.core.errors import ExitCode
from claas.core.output import Done, ended, say
from claas.core.settings import config_root
from claas.results.benchmarks import FIXTURE, EvalResult

_USAGE = """\
claas bench [key=value ...] [--list-tasks]

  claas bench suite=smoke                                       does everything work?
  claas bench suite=standard 'adapters=[eval-concise-mine@20]' store_dir=data/evals/mine/stack
  claas bench suite=standard 'adapters=[./my-lora]'               a folder in PEFT's format, or a hub id
  claas bench 'tasks=[core,ifeval]' limit=50 claas_url=http://127.0.0.1:8080

The same command again asks nothing that was answered.

--list-tasks          what suite and tasks can name
"""

COMMAND = Command("claas.bench", BenchConfig, config_root() / "bench", "base", _USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`; what is no `ClaasError` is a bug, and raised."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--list-tasks" in arguments:
        return ended(COMMAND.module, _list_tasks, arguments)
    return COMMAND.ended(_run, arguments, continues=True)


def _list_tasks(arguments: Sequence[str]) -> Done:
    lines = list(catalogue().lines())
    print("\n".join(lines))
    return Done(result={"lines": lines})


class Benchmarked(BaseModel):
    """The results of each model, and the folder that they are in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output_dir: str
    models: list[EvalResult]


def _run(job: Job[BenchConfig]) -> Done:
    config = job.config
    asked = chosen(config.suite, config.tasks, limit=config.limit, num_fewshot=config.num_fewshot)
    require_lm_eval()
    from claas.bench.run import run_bench

    results = run_until_terminated(run_bench(config, asked, job.voice.progress(COMMAND.module)))
    for result in results:
        print(table(result))
    print(f"results: {config.output_dir}")
    found = Benchmarked(output_dir=config.output_dir, models=results)
    if not any(result.n_tasks_failed for result in results):
        return Done(result=found)
    said = "no row was written of a model with a failed task; the same command again asks only these"
    say(COMMAND.module, said)
    return Done(ExitCode.RESUMABLE, found, said)


def table(result: EvalResult) -> str:
    """A model's results, a line each."""
    title = f"{result.model_name}{f' ({FIXTURE})' if result.fixture else ''}"
    rows = [
        f"  {each.task:<20}{each.primary_metric or '':<26}"
        + (f"failed: {each.error}" if each.value is None else f"{each.value:.3f}  of {each.n_samples} items")
        for each in result.task_results
    ]
    return "\n".join([title, *rows])


if __name__ == "__main__":
    sys.exit(main())
