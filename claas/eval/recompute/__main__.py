"""`python -m claas.eval.recompute RUN_FOLDER ...`: does every number of a run follow from its own transcripts?"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from claas.core.errors import ClaasError
from claas.eval.recompute.measurements import Agreement
from claas.eval.recompute.run import recompute_run
from claas.results.progress import printable

DISAGREEMENT, MISTAKE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 all agree, 1 something does not, 2 the user's mistake."""
    asked = _parser().parse_intermixed_args(arguments)
    codes: list[int] = []
    for folder in asked.runs:
        try:
            agreements = asyncio.run(recompute_run(folder, asked.config_dir))
        except ClaasError as error:
            print(f"claas.eval.recompute: {' '.join(str(error).split())}", file=sys.stderr)
            return MISTAKE
        print(folder)
        for agreement in agreements:
            _report(agreement)
        codes.append(DISAGREEMENT if any(agreement.disagreements for agreement in agreements) else 0)
    return max(codes)


def _report(agreement: Agreement) -> None:
    parts = [f"{agreement.numbers} numbers recomputed"]
    if agreement.transcripts:
        parts.append(f"from {agreement.transcripts} transcripts")
    disagreements = len(agreement.disagreements)
    outcome = f"{disagreements} DISAGREE" if disagreements else "all agree"
    print(f"  {agreement.part}: {' '.join(parts)}: {outcome}{''.join(f'; {note}' for note in agreement.notes)}")
    for disagreement in agreement.disagreements:
        print(f"    {printable(str(disagreement))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claas.eval.recompute",
        description="Recompute every number of a run from the transcripts in its records: run its metrics, verifiers "
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
