"""trackio: a local database that `trackio show` serves as a page, or a Hugging Face Space."""

from importlib import import_module
from typing import Any
from uuid import uuid4

from claas.eval.loggers.logger import Ending, LoggedPoint, LoggedRun, require_package


class TrackioLogger:
    """A row for each measurement by update; settings as config; tables, plots and the state at the end.

    Without `space_id` everything stays in trackio's local database (TRACKIO_DIR). `system_metrics` samples GPU and CPU.
    """

    def __init__(self, project: str = "claas", space_id: str | None = None, system_metrics: bool = False) -> None:
        require_package("trackio", "trackio")
        self._project, self._space_id, self._system_metrics = project, space_id, system_metrics

    def start(self, run: LoggedRun, id: str | None) -> str | None:
        """Begin or resume; the id is the name, which in a project only one run has."""
        self._trackio: Any = import_module("trackio")
        for module in ("trackio", "trackio.run", "trackio.utils"):
            import_module(module).__dict__["print"] = (
                _say_nothing  # it prints in the middle of ours, and cannot be told not to
            )
        name = id or self._free(run.name)
        self._run: Any = self._trackio.init(
            project=self._project,
            name=name,
            group=run.group,
            space_id=self._space_id,
            config={**run.settings, **run.facts, "tags": ", ".join(run.tags)},
            resume="never" if id is None else "allow",
            embed=False,
            auto_log_gpu=self._system_metrics,
            auto_log_cpu=self._system_metrics,
        )
        return name

    def log(self, point: LoggedPoint) -> None:
        """One row."""
        self._run.log(dict(point.scalars), step=point.updates)

    def finish(self, ending: Ending) -> None:
        """What the run came to, at its last update."""
        said = [f"{name}: {verdict}" for name, verdict in ending.verdicts.items()]
        notes = [table.note for table in ending.tables if table.note]
        lines = [f"**{ending.state.value}**", *([ending.reason] if ending.reason else []), *said, *notes]
        shown: dict[str, Any] = {"state": self._trackio.Markdown("\n\n".join(lines))}
        for table in ending.tables:
            shown[table.name] = self._trackio.Table(columns=list(table.columns), data=[list(row) for row in table.rows])
        for plot in ending.plots:
            shown[f"plots/{plot.stem}"] = self._trackio.Image(str(plot))
        self._run.log(shown, step=ending.updates)
        self._run.finish()

    def _free(self, name: str) -> str:
        """The run's name, and more where another run of the project has it."""
        try:
            taken = {each.name for each in self._trackio.Api().runs(self._project)}
        except ValueError:  # there is no such project yet
            taken = set[str]()
        return f"{name}-{uuid4().hex[:6]}" if name in taken else name


def _say_nothing(*_: object, **__: object) -> None:
    """In place of print."""
