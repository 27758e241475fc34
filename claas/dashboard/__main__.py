"""`python -m claas.dashboard <run> [...]`: the report of a run's folder, written into it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from claas.core.command_line import ended
from claas.core.errors import ExitCode
from claas.dashboard.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`, 3 where a file cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m claas.dashboard", description="Write report.html of runs.")
    parser.add_argument("run", nargs="+", type=Path, help="a run's folder, as in data/evals/<run>")
    runs: list[Path] = parser.parse_args(arguments).run

    def run() -> ExitCode:
        for folder in runs:
            print(write_report(folder))
        return ExitCode.COMPLETE

    return ended("claas.dashboard", run)


if __name__ == "__main__":
    sys.exit(main())
