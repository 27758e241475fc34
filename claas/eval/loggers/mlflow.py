"""MLflow: a local database unless MLFLOW_TRACKING_URI says where a server is."""

import json
import logging
import os
import re
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from claas.core.files import in_turn
from claas.eval.loggers.logger import Ending, EndState, LoggedPoint, LoggedRun, require_package

_STATES = {EndState.FINISHED: "FINISHED", EndState.FAILED: "FAILED", EndState.INTERRUPTED: "KILLED"}
_AT_ONCE = 100
"""Parameters, and metrics, that a server takes in one request."""
_LONGEST = 6000


class MlflowLogger:
    """Metrics by update, settings as parameters, facts and verdicts as tags, tables and plots as artifacts.

    `tracking_uri` null is MLFLOW_TRACKING_URI, else the database that MLflow keeps in the working directory. A metric
    has the time of its measurement, and the store holds each one once.
    """

    def __init__(self, experiment: str = "claas", tracking_uri: str | None = None) -> None:
        require_package("mlflow", "mlflow")
        self._experiment, self._tracking_uri = experiment, tracking_uri

    def start(self, run: LoggedRun, id: str | None) -> str | None:
        """Begin the run, or have it run again."""
        self._mlflow: Any = import_module("mlflow")
        self._entities: Any = import_module("mlflow.entities")
        for noisy in ("mlflow", "alembic"):  # which say what they make, in the middle of the progress
            logging.getLogger(noisy).setLevel(logging.WARNING)
        # The first of many makes the database. The lock is this user's: another's file could not be opened.
        with in_turn(Path(tempfile.gettempdir()) / f"claas-mlflow-{os.getuid()}.lock"):
            self._client: Any = self._mlflow.MlflowClient(tracking_uri=self._tracking_uri)
            experiment = self._client.get_experiment_by_name(self._experiment)
            experiment_id = (
                self._client.create_experiment(self._experiment) if experiment is None else experiment.experiment_id
            )
        facts = {
            **run.facts,
            "folder": str(run.folder),
            "tags": ", ".join(run.tags),
            "mlflow.source.name": "claas.eval",
        }
        facts |= {"group": run.group} if run.group else {}
        if id is None:
            id = str(self._client.create_run(experiment_id, run_name=run.name, tags=facts).info.run_id)
        else:
            self._client.update_run(id, status="RUNNING")
        self._id = id
        self._log_settings(run)
        return id

    def _log_settings(self, run: LoggedRun) -> None:
        """A parameter stays what it was; of one that is another when the run goes on, a tag says so."""
        known: dict[str, str] = self._client.get_run(self._id).data.params
        given = {_name(key): (str(value) if value != "" else "''")[:_LONGEST] for key, value in run.settings.items()}
        for key, value in given.items():
            if known.get(key, value) != value:
                self._client.set_tag(self._id, f"{key}.now", value)
        new = [self._entities.Param(key, value) for key, value in given.items() if key not in known]
        for place in range(0, len(new), _AT_ONCE):
            self._client.log_batch(self._id, params=new[place : place + _AT_ONCE])

    def log(self, point: LoggedPoint) -> None:
        """Every number of the measurement, in one request where they are few."""
        at = int(point.time * 1000)
        metrics = [self._entities.Metric(_name(key), value, at, point.updates) for key, value in point.scalars.items()]
        for place in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(self._id, metrics=metrics[place : place + _AT_ONCE])

    def finish(self, ending: Ending) -> None:
        """Tables as MLflow's own, plots, and the state."""
        for table in ending.tables:
            content = {"columns": list(table.columns), "data": [list(row) for row in table.rows]}
            self._client.log_dict(self._id, content, f"{table.name}.json")
            if table.note:
                self._client.set_tag(self._id, f"{table.name}.note", table.note)
        for plot in ending.plots:
            self._client.log_artifact(self._id, str(plot), "plots")
        if ending.tables:
            listed = [{"path": f"{table.name}.json", "type": "table"} for table in ending.tables]
            self._client.set_tag(self._id, "mlflow.loggedArtifacts", json.dumps(listed))
        for name, verdict in ending.verdicts.items():
            self._client.set_tag(self._id, name if name == "verdict" else _name(f"{name}/verdict"), verdict)
        self._client.set_tag(self._id, "state", ending.state.value)
        self._client.set_tag(self._id, "reason", ending.reason or "")
        self._client.set_terminated(self._id, _STATES[ending.state], int(time.time() * 1000))


def _name(key: str) -> str:
    """In characters that MLflow allows."""
    return re.sub(r"[^\w\-./ ]", "_", key)
