"""`python -m claas.bench.compare a=... b=...`: keep the candidate b, discard it, or neither, against the baseline a."""

import asyncio
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.text import Text

from claas.core.checks import alias_name
from claas.core.command_line import Command, Job
from claas.core.configuration import check_limits, setting
from claas.core.errors import ExitCode, InvalidInput
from claas.core.files import write_atomically
from claas.core.output import Done, say
from claas.core.settings import API_KEY_VARIABLE, config_root
from claas.core.terminal import plain_table, results_console
from claas.eval.stacks.http_client import HttpClient
from claas.eval.stacks.stack import WrongWeights
from claas.results.benchmarks import FIXTURE, BenchmarkRun
from claas.results.decision import BenchmarkDecision, Decision, TaskChange, decide
from claas.results.numbers import NONE, fixed, signed, signed_span
from claas.results.pairing import ScoredRun, paired, read_scored_run
from claas.results.statistics import Interval
from claas.wire.adapters import Alias, AliasRequest
from claas.wire.completions import CompletionRequest, CompletionResponse

_USAGE = """\
claas bench compare a=FOLDER b=FOLDER [key=value ...]

  claas bench compare a=results/base b=results/sft margin=0.02
  claas bench compare a=results/base b=results/sft promote=assistant claas_url=http://localhost:8080

KEEP (exit code 0): no task lost more than the margin. DISCARD (4): some did. MIXED (5): some did and others gained, or
the items are too few to tell, and it is said how many would do. Mistakes end with 2.
"""


@dataclass
class CompareConfig:
    """What `python -m claas.bench.compare` is asked."""

    a: str = setting("", "folder of the baseline's run, such as results/base")
    b: str = setting("", "folder of the candidate's run")
    margin: float = setting(0.02, "a loss of up to this is none", low=0.0, high=0.5, above=True)
    confidence: float = setting(0.95, "of the intervals, and of all conclusions together", low=0.5, high=0.9999)
    tasks: list[str] = setting([], "only these of the runs' tasks; empty: all of which more is better")
    output: str | None = setting(None, "file for the decision as JSON")
    promote: str | None = setting(None, "alias of the API at claas_url that means the candidate from KEEP on")
    claas_url: str | None = setting(None, "address of the API for promote")

    def __post_init__(self) -> None:
        check_limits(self)
        if self.promote is not None:
            alias_name(self.promote)
        if (self.promote is None) != (self.claas_url is None):
            raise InvalidInput("promote and claas_url go together: an alias, and the address of the API that has it")


class DecidedRuns(BenchmarkDecision):
    """The decision on the runs in two folders: a candidate `b` beside the baseline `a`.

    `fixture`: of rows that only have the data sets' form, so that nothing here is a benchmark's number.
    """

    a: str
    b: str
    fixture: bool


COMMAND = Command("claas.bench.compare", CompareConfig, config_root() / "bench", "compare", _USAGE)

_EXIT_CODES = {Decision.KEEP: ExitCode.COMPLETE, Decision.DISCARD: ExitCode.NOT_PASSED, Decision.MIXED: ExitCode.MIXED}


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`, which says what was decided."""
    return COMMAND.ended(_run, arguments)


def _run(job: Job[CompareConfig]) -> Done:
    decided = compare_runs(job.config)
    return Done(_EXIT_CODES[decided.decision], decided)


def compare_runs(config: CompareConfig) -> DecidedRuns:
    """Decide, say so on standard output and in the file asked for, and promote what is kept."""
    if not config.a or not config.b:
        raise InvalidInput("give two runs: a=results/<baseline> b=results/<candidate>")
    baseline, candidate = read_scored_run(Path(config.a)), read_scored_run(Path(config.b))
    left_out = [] if config.tasks else _of_which_less_is_better(baseline)
    pairs = paired(_without(left_out, baseline), _without(left_out, candidate), config.tasks)
    decision = decide(pairs, config.margin, config.confidence)
    fixture = baseline.run.fixture or candidate.run.fixture
    if config.promote is not None and (fixture or baseline.run.smoke or candidate.run.smoke):
        raise InvalidInput("nothing is promoted for a smoke test or rows of our own; decide on the benchmarks' rows")
    decided = DecidedRuns(a=config.a, b=config.b, fixture=fixture, **dict(decision))
    if config.output is not None:
        write_atomically(Path(config.output).expanduser(), decided.model_dump_json(indent=1) + "\n")
    if fixture:
        print(FIXTURE)
    _print(decision)
    for warning in _warnings(baseline.run, candidate.run, decision):
        say("claas.bench.compare", warning)
    if left_out:
        say("claas.bench.compare", f"not judged: {', '.join(left_out)}, of which less is better")
    if decision.decision is Decision.KEEP and config.promote is not None and config.claas_url is not None:
        alias = asyncio.run(_promoted(config.claas_url, config.promote, candidate.run))
        print(f"{alias.alias} now means {alias.model}")
    return decided


def _of_which_less_is_better(baseline: ScoredRun) -> list[str]:
    """Tasks that are no part of a decision on all of them; none where there are no others."""
    less = [task for task, metric in baseline.metrics.items() if metric in baseline.less_is_better]
    return less if len(less) < len(baseline.metrics) else []


def _without(tasks: Collection[str], run: ScoredRun) -> ScoredRun:
    return replace(run, items={task: items for task, items in run.items.items() if task not in tasks})


async def promote(client: HttpClient, alias: str, run: BenchmarkRun) -> Alias:
    """Let the alias mean the weights that the run measured; `WrongWeights` where the API has others by that name."""
    target = run.adapter or run.base_model
    probe = CompletionRequest(model=target, prompt="a", max_tokens=1)
    _require_measured(run, (await client.post("/v1/completions", probe, CompletionResponse)).system_fingerprint)
    now = await client.put(f"/v1/aliases/{alias}", AliasRequest(target=target), Alias)
    _require_measured(run, now.digest)
    return now


def _require_measured(run: BenchmarkRun, digest: str) -> None:
    if digest != run.digest:
        raise WrongWeights(
            f"the API has other weights by the name {run.adapter or run.base_model} ({digest}) than run {run.name} "
            f"measured ({run.digest}): nothing was promoted; measure those, or start the API that has the others"
        )


async def _promoted(base_url: str, alias: str, run: BenchmarkRun) -> Alias:
    client = HttpClient(base_url, max_concurrency=1, seed=0, timeout_s=600.0, api_key=os.environ.get(API_KEY_VARIABLE))
    try:
        return await promote(client, alias, run)
    finally:
        await client.close()


def _warnings(baseline: BenchmarkRun, candidate: BenchmarkRun, decision: BenchmarkDecision) -> Iterator[str]:
    if baseline.digest == candidate.digest:
        yield f"both runs are of the same weights ({baseline.digest})"
    if baseline.base_model != candidate.base_model:
        yield f"the runs are of different base models, {baseline.base_model} and {candidate.base_model}"
    if baseline.smoke or candidate.smoke:
        yield "a smoke test says that everything works, and nothing else"
    elif limited := [task for task in decision.tasks if baseline.limits[task] is not None]:
        yield f"only the first items of {', '.join(limited)} were asked: decide on all before anything is published"


def _print(decision: BenchmarkDecision) -> None:
    ci = f"{100 * decision.confidence:g} % CI"
    table = plain_table("task", "n", "a", "b", "b − a", ci, "lost", "gained", "outcome", left=("outcome",))
    for task, change in decision.tasks.items():
        table.add_row(Text(task), *_cells(change))
    console = results_console()
    console.print(table)
    console.print(Text.assemble((decision.decision.value, "bold"), f" ({decision.reason}; margin {decision.margin:g})"))


def _cells(change: TaskChange) -> list[str]:
    return [
        str(change.n),
        fixed(change.before, 3),
        fixed(change.after, 3),
        signed(change.difference, 3),
        signed_span(Interval(*change.ci) if change.ci else None, 3),
        NONE if change.lost is None else str(change.lost),
        NONE if change.gained is None else str(change.gained),
        change.outcome.value,
    ]


if __name__ == "__main__":
    sys.exit(main())
