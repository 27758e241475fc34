"""Weights & Biases, online where a key is known and the service answers, else to files that `wandb sync` uploads."""

import os
from contextlib import suppress
from importlib import import_module
from netrc import NetrcParseError, netrc
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from claas.eval.loggers.logger import Ending, EndState, LoggedPoint, LoggedRun, require_package

_ONLINE, _OFFLINE = "online", "offline"
_REACHED_WITHIN_S = 5.0
_EXIT_CODES = {EndState.FINISHED: 0, EndState.FAILED: 1, EndState.INTERRUPTED: 255}
"""wandb shows 0 as finished, and 255 as killed."""


class WandbLogger:
    """A row for each measurement, over the axis `update`; settings as config; tables, images and the verdicts.

    `mode` is null, online or offline; null is WANDB_MODE, else online where wandb has a key and its service answers.
    `folder` is where wandb keeps its files, null being WANDB_DIR, else the run's folder. What wandb would gather by
    itself (the command line, the console, the code, git) stays here; `system_metrics` lets it sample GPU and CPU.
    """

    def __init__(
        self,
        project: str = "claas",
        entity: str | None = None,
        mode: str | None = None,
        group: str | None = None,
        folder: str | None = None,
        system_metrics: bool = False,
    ) -> None:
        require_package("wandb", "wandb")
        self._project, self._entity, self._mode, self._group = project, entity, mode, group
        self._folder, self._system_metrics = folder, system_metrics

    def start(self, run: LoggedRun, id: str | None) -> str | None:
        """Begin or resume."""
        self._wandb: Any = import_module("wandb")
        id = id or uuid4().hex[:8]
        mode = self._mode or os.environ.get("WANDB_MODE")
        if mode is None:
            mode = _ONLINE if self._has_key() and self._is_reached() else _OFFLINE
        self._run: Any = self._begin(run, id, mode)
        self._run.define_metric("update")
        self._run.define_metric("*", step_metric="update")
        self._row = max(run.points_before, int(self._run.step))
        return id

    def log(self, point: LoggedPoint) -> None:
        """One row, numbered on over all processes of the run, so that none stands in another's place."""
        self._run.log({"update": point.updates, **point.scalars}, step=self._row, commit=True)
        self._row += 1

    def finish(self, ending: Ending) -> None:
        """Tables and images in a last row, the verdicts in the summary."""
        shown = {
            table.name: self._wandb.Table(
                columns=list(table.columns), data=[list(row) for row in table.rows], allow_mixed_types=True
            )
            for table in ending.tables
        }
        shown |= {f"plots/{plot.stem}": self._wandb.Image(str(plot)) for plot in ending.plots}
        if shown:
            self._run.log({"update": ending.updates, **shown}, step=self._row, commit=True)
        notes = {f"{table.name}.note": table.note for table in ending.tables if table.note}
        verdicts = {name if name == "verdict" else f"{name}/verdict": it for name, it in ending.verdicts.items()}
        self._run.summary.update({"state": ending.state.value, "reason": ending.reason, **verdicts, **notes})
        self._run.finish(exit_code=_EXIT_CODES[ending.state])

    def _has_key(self) -> bool:
        """Whether wandb has a key of its service's, from the environment or from where `wandb login` leaves it."""
        settings = self._wandb.setup().settings
        if settings.api_key or os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
            return True
        host = urlsplit(str(settings.base_url)).hostname or ""
        for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
            with suppress(OSError, NetrcParseError):
                if path and netrc(os.path.expanduser(path)).authenticators(host):
                    return True
        return False

    def _is_reached(self) -> bool:
        """Whether the service answers anything."""
        with suppress(httpx.HTTPError):
            httpx.head(str(self._wandb.setup().settings.base_url), timeout=_REACHED_WITHIN_S)
            return True
        return False

    def _begin(self, run: LoggedRun, id: str, mode: str) -> Any:
        settings = self._wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            x_disable_stats=not self._system_metrics,
        )
        return self._wandb.init(
            project=self._project,
            entity=self._entity,
            dir=self._folder or os.environ.get("WANDB_DIR") or str(run.folder),
            id=id,
            name=run.name,
            group=self._group or run.group,
            tags=[tag[:64] for tag in run.tags],
            config={**run.settings, "facts": dict(run.facts)},
            mode=mode,
            resume="allow" if mode == _ONLINE else None,
            reinit="create_new",
            settings=settings,
        )
