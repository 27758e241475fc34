"""`python -m claas.bench.cohort <results> -o <file>`: every benchmark run of a folder side by side, in one file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from claas.core.command_line import ended
from claas.core.errors import ExitCode, InvalidInput
from claas.core.files import write_atomically
from claas.dashboard.cohort_page import cohort_file

MODULE = "claas.bench.cohort"


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {MODULE}", description="Write benchmark runs side by side as HTML."
    )
    parser.add_argument("results", type=Path, help="the output_dir of claas.bench")
    parser.add_argument("-o", "--output", type=Path, default=Path("cohort.html"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    return ended(MODULE, lambda: _write(given.results, given.output))


def _write(results: Path, output: Path) -> ExitCode:
    if not results.is_dir():
        raise InvalidInput(f"the folder {str(results)!r} not found: give the output_dir of claas.bench")
    write_atomically(output, cohort_file(results))
    print(output)
    return ExitCode.COMPLETE


if __name__ == "__main__":
    sys.exit(main())
