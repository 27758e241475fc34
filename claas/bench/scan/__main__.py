"""`python -m claas.bench.scan`: many checkpoints, the same questions, a table, a plot, and the best of them."""

import sys
from collections.abc import Callable, Sequence

from rich.text import Text

from claas.bench.catalogue import chosen
from claas.bench.scan.settings import ScanConfig
from claas.bench.scoring import require_lm_eval
from claas.core.command_line import Command, Job
from claas.core.concurrency import run_until_terminated
from claas.core.errors import ExitCode, InvalidInput
from claas.core.output import Done, say
from claas.core.settings import config_root
from claas.core.terminal import plain_table, results_console
from claas.results.benchmarks import FIXTURE
from claas.results.numbers import NONE, fixed
from claas.results.scan import CheckpointScore, Scan
from claas.results.selection import Selection

_USAGE = """\
claas bench scan adapter=NAME | checkpoints=FOLDER [key=value ...]

  claas bench scan adapter=eval-concise-mine every=5 suite=quick store_dir=data/evals/mine/stack
  claas bench scan adapter=eval-concise-mine loss=true data=notes.jsonl store_dir=data/evals/mine/stack
  claas bench scan checkpoints=checkpoints config=Qwen/Qwen3-0.6B 'tasks=[hellaswag,mmlu]' best=mmlu/acc

The same command again asks nothing that was answered.
"""

COMMAND = Command("claas.bench.scan", ScanConfig, config_root() / "bench", "scan", _USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`, 3 also where a checkpoint lacks a score."""
    return COMMAND.ended(_run, arguments)


def _run(job: Job[ScanConfig]) -> Done:
    scan = run_scan(job.config, job.voice.progress(COMMAND.module))
    return Done(ExitCode.RESUMABLE if any(each.failed for each in scan.checkpoints) else ExitCode.COMPLETE, scan)


def run_scan(config: ScanConfig, progress: Callable[[str], None]) -> Scan:
    """Measure, and say what was found on standard output and in the files; `InvalidInput` where `best` chooses none."""
    if config.adapter is None and config.checkpoints is None and not config.adapters:
        raise InvalidInput("give adapter=NAME, whose versions are scanned, or checkpoints=FOLDER")
    asked = None
    if config.asks_tasks:
        asked = chosen(config.suite, config.tasks, limit=config.limit, num_fewshot=config.num_fewshot)
    require_lm_eval()
    from claas.bench.scan.run import measure
    from claas.bench.scan.table import require_rule, scan_of

    require_rule(config.best, asked, config.reads_text)
    measured = run_until_terminated(measure(config, asked, progress))
    scan, reason = scan_of(config, asked, measured)
    scan.write(config.output_folder)
    from claas.results.scan_figure import write_scan_plot  # only now: matplotlib

    plots = write_scan_plot(scan, config.output_folder, config.plot_formats, config.plot_style)
    _print(scan)
    print(f"{', '.join(['scan.json', 'scan.csv', *(plot.name for plot in plots)])} are in {config.output_dir}")
    if reason is not None and config.best is not None:
        raise InvalidInput(reason)
    if reason is not None:
        say(COMMAND.module, reason)
    return scan


def _print(scan: Scan) -> None:
    if scan.fixture:
        print(FIXTURE)
    if scan.smoke:
        print("a smoke test says that everything works, and nothing of which is the best")
    table = plain_table("checkpoint", "step", *(measure.name for measure in scan.measures))
    best = scan.selection and scan.selection.best
    for each in scan.checkpoints:
        cells = [
            "failed" if measure.name in each.failed else _cell(each.scores.get(measure.name))
            for measure in scan.measures
        ]
        table.add_row(Text(each.name), str(each.step), *cells, style="bold" if each.name == best else "")
    results_console(40 + 32 * len(scan.measures)).print(table)
    for each in scan.checkpoints:
        for measure, error in each.failed.items():
            print(f"{each.name} has no {measure}: {error}")
    if scan.selection is not None:
        print("\n".join(described(scan.selection)))


def _cell(score: CheckpointScore | None) -> str:
    if score is None:
        return NONE
    span = f" [{fixed(score.ci[0], 3)}, {fixed(score.ci[1], 3)}]" if score.ci else ""
    return f"{fixed(score.value, 3)}{span}"


def described(chosen: Selection) -> list[str]:
    """What is to be said of a choice among many."""
    others, interval = chosen.candidates - 1, ""
    if chosen.ci is not None:
        low, high = (fixed(end, 3) for end in chosen.ci)
        interval = f", {100 * chosen.confidence:g} % interval {low} to {high} for whichever is chosen"
    lines = [
        f"best by {chosen.rule} of {chosen.candidates}: {chosen.best}, {fixed(chosen.score, 3)} of {chosen.items} items"
        + interval
    ]
    if others and chosen.split_half is not None:
        lines.append(
            f"the best of {chosen.candidates} is also the luckiest: chosen by half of the items, the other half gives "
            f"{fixed(chosen.split_half, 3)}"
        )
    if others:
        lines.append(
            f"within noise of it: {len(chosen.within_noise)} of the {others} others; the earliest that these items "
            f"cannot tell from the best is {chosen.earliest}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
