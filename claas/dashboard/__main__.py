"""`python -m claas.dashboard <run> [...]`: the report of a run's folder, written into it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from claas.core.errors import ClaasError, StackError
from claas.dashboard.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when every report is written, 2 on the user's mistake, 3 when a file cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m claas.dashboard", description="Write report.html of runs.")
    parser.add_argument("run", nargs="+", type=Path, help="a run's folder, as in data/evals/<run>")
    try:
        for folder in parser.parse_args(arguments).run:
            print(write_report(folder))
    except ClaasError as error:
        print(f"claas.dashboard: {' '.join(str(error).split())}", file=sys.stderr)
        return 3 if isinstance(error, StackError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
