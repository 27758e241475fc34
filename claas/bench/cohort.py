"""`python -m claas.bench.cohort <results> -o <file>`: every benchmark run of a folder side by side, in one file."""

import sys
from collections.abc import Sequence
from pathlib import Path

from claas.core.errors import InvalidInput
from claas.core.files import write_atomically
from claas.core.output import Done, Parser, ended
from claas.dashboard.cohort_page import cohort_file

MODULE = "claas.bench.cohort"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    return ended(MODULE, _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    parser = Parser("claas bench cohort", "Write benchmark runs side by side, as HTML in one file.")
    parser.add_argument("results", type=Path, metavar="RESULTS", help="the output_dir of claas.bench")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("cohort.html"), metavar="FILE", help="the file to write"
    )
    given = parser.parsed(arguments)
    if not given.results.is_dir():
        raise InvalidInput(f"the folder {str(given.results)!r} not found: give the output_dir of claas.bench")
    write_atomically(given.output, cohort_file(given.results))
    print(given.output)
    return Done(result={"files": [str(given.output)]})


if __name__ == "__main__":
    sys.exit(main())
