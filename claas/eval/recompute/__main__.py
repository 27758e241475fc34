"""`python -m claas.eval.recompute RUN_FOLDER ...`: does every number of a run follow from its own transcripts?"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from claas.core.errors import ExitCode
from claas.core.output import Done, Parser, ended
from claas.eval.recompute.measurements import Agreement
from claas.eval.recompute.run import recompute_run
from claas.results.progress import printable
from claas.results.records import Record

DISAGREEMENT = 1


class Recomputed(Record):
    """What was recomputed of runs, by folder: a part for each preference, and one for the summary."""

    runs: dict[str, list[Agreement]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 all agree, 1 something does not, 2 the user's mistake."""
    return ended("claas.eval.recompute", _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    asked = _parser().parsed(arguments)
    found: dict[str, list[Agreement]] = {}
    for folder in asked.runs:
        found[str(folder)] = asyncio.run(recompute_run(folder, asked.config_dir))
        print(folder)
        for agreement in found[str(folder)]:
            _report(agreement)
    agrees = not any(each.disagreements for agreements in found.values() for each in agreements)
    return Done(ExitCode.COMPLETE if agrees else DISAGREEMENT, Recomputed(runs=found))


def _report(agreement: Agreement) -> None:
    parts = [f"{agreement.numbers} numbers recomputed"]
    if agreement.transcripts:
        parts.append(f"from {agreement.transcripts} transcripts")
    disagreements = len(agreement.disagreements)
    outcome = f"{disagreements} DISAGREE" if disagreements else "all agree"
    print(f"  {agreement.part}: {' '.join(parts)}: {outcome}{''.join(f'; {note}' for note in agreement.notes)}")
    for disagreement in agreement.disagreements:
        print(f"    {printable(str(disagreement))}")


def _parser() -> Parser:
    parser = Parser(
        "claas recompute",
        "Recompute every number of a run from the transcripts in its records: run its metrics, verifiers "
        "and verdicts again on the recorded answers, and follow each update back to the answers it was trained on. "
        "Times cannot be recomputed and are left out. Exit code: 0 all agree, 1 something does not, 2 a mistake.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="such as data/evals/<run>")
    parser.add_argument(
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="where the run's own preferences and metrics are now; the default is where they were",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
