"""A logger of somebody's own, which writes down what it is told, and goes wrong where it is asked to."""

import json
import threading
from pathlib import Path
from typing import Any

from claas.eval.loggers.logger import Ending, LoggedPoint, LoggedRun, require_package

NEVER = threading.Event()


class Diary:
    """Appends to the file `diary`; at `wrong` (start, log or finish) it raises `how`, or waits for ever."""

    def __init__(self, diary: str, wrong: str = "", how: str = "RuntimeError", needs: str = "json") -> None:
        require_package(needs, "wandb")
        self.path, self.wrong, self.how = Path(diary), wrong, how

    def start(self, run: LoggedRun, id: str | None) -> str | None:
        self.write(start=run.name, id=id, group=run.group, settings=dict(run.settings), before=run.points_before)
        return id or "entry-1"

    def log(self, point: LoggedPoint) -> None:
        self.write(log=[point.track, point.updates], scalars=dict(point.scalars), time=point.time)

    def finish(self, ending: Ending) -> None:
        tables = {table.name: len(table.rows) for table in ending.tables}
        self.write(finish=ending.state, reason=ending.reason, verdicts=dict(ending.verdicts), tables=tables)

    def write(self, **entry: Any) -> None:
        if next(iter(entry)) == self.wrong:
            if self.how == "wait":
                NEVER.wait()
            raise {"RuntimeError": RuntimeError, "SystemExit": SystemExit, "OSError": OSError}[self.how](
                "the pen broke"
            )
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def entries(path: Path, kind: str) -> list[Any]:
    """What was written down of a kind (`start`, `log`, `finish`)."""
    if not path.exists():
        return []
    return [each for each in map(json.loads, path.read_text().splitlines()) if kind in each]
