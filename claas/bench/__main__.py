"""`python -m claas.bench [key=value ...]`: benchmarks from the command line."""

import asyncio
import sys
from collections.abc import Sequence

from claas.bench.catalogue import catalogue, chosen
from claas.bench.scoring import require_lm_eval
from claas.bench.settings import BenchConfig
from claas.core.command_line import Command, say
from claas.core.concurrency import run_until_terminated
from claas.core.errors import ClaasError, ExitCode, StackError
from claas.core.settings import config_root
from claas.results.benchmarks import FIXTURE, EvalResult

_USAGE = """\
python -m claas.bench [key=value ...] [--list-tasks]

  python -m claas.bench suite=smoke                                       does everything work?
  python -m claas.bench suite=standard 'adapters=[eval-concise-mine@20]' store_dir=data/evals/mine/stack
  python -m claas.bench suite=standard 'adapters=[./my-lora]'               a folder in PEFT's format, or a hub id
  python -m claas.bench 'tasks=[core,ifeval]' limit=50 claas_url=http://127.0.0.1:8080

The same command again asks nothing that was answered.

--list-tasks          what suite and tasks can name
--cfg job             print the settings that would be used, and run nothing
"""

COMMAND = Command("claas.bench", BenchConfig, config_root() / "bench", "base", _USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`; what is no `ClaasError` is a bug, and raised."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--list-tasks" in arguments:
        print("\n".join(catalogue().lines()))
        return 0
    try:
        results = [result for job in COMMAND.jobs(arguments) for result in _run(job.config)]
    except (StackError, asyncio.CancelledError) as error:
        say("claas.bench", f"{str(error) or 'terminated'}; the same command again continues")
        return ExitCode.RESUMABLE
    except ClaasError as error:
        say("claas.bench", str(error))
        return ExitCode.MISTAKE
    except KeyboardInterrupt:
        say("claas.bench", "interrupted; the same command again continues")
        return ExitCode.INTERRUPTED
    if any(result.n_tasks_failed for result in results):
        say("claas.bench", "no row was written of a model with a failed task; the same command again asks only these")
        return ExitCode.RESUMABLE
    return ExitCode.COMPLETE


def _run(config: BenchConfig) -> list[EvalResult]:
    asked = chosen(config.suite, config.tasks, limit=config.limit, num_fewshot=config.num_fewshot)
    require_lm_eval()
    from claas.bench.run import run_bench

    results = run_until_terminated(run_bench(config, asked, lambda line: say("claas.bench", line)))
    for result in results:
        print(table(result))
    print(f"results: {config.output_dir}")
    return results


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
