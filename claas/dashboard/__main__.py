"""`python -m claas.dashboard <run> [...]`: the report of a run's folder, written into it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from claas.core.output import Done, Parser, ended
from claas.dashboard.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code, 3 where a file cannot be written."""
    return ended("claas.dashboard", _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    parser = Parser("claas report", "Write report.html of runs, the page of a run in one file, into their folders.")
    parser.add_argument("run", nargs="+", type=Path, metavar="RUN", help="a run's folder, as in data/evals/<run>")
    files: list[str] = []
    for folder in parser.parsed(arguments).run:
        files.append(str(write_report(folder)))
        print(files[-1])
    return Done(result={"files": files})


if __name__ == "__main__":
    sys.exit(main())
