"""TensorBoard: event files, read by `tensorboard --logdir`."""

import json
import os
import socket
import struct
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from claas.eval.loggers.logger import Cell, Ending, EndState, LoggedPoint, LoggedRun, LoggedTable, require_package

FOLDER = "tensorboard"


class TensorBoardLogger:
    """Scalars by update, the settings as hyperparameters and as text, the verdict and transcripts as tables, plots.

    In the run's own folder, or in `folder` under the name of the run. A point that is in an earlier event file is not
    written again.
    """

    def __init__(self, folder: str | None = None) -> None:
        require_package("tensorboard", "tensorboard")
        self._folder = folder

    def start(self, run: LoggedRun, id: str | None) -> str | None:
        """An event file of this process beside those of earlier ones; the id is their folder."""
        self._event: Any = import_module("tensorboard.compat.proto.event_pb2").Event
        self._summary: Any = import_module("tensorboard.compat.proto.summary_pb2")
        records: Any = import_module("tensorboard.summary.writer.record_writer")
        elsewhere = None if self._folder is None else Path(self._folder).expanduser() / (run.group or "") / run.name
        folder = run.folder / FOLDER if elsewhere is None else elsewhere
        folder.mkdir(parents=True, exist_ok=True)
        self._known = self._scalars_in(folder)
        path = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = path.open("wb")
        self._writer: Any = records.RecordWriter(self._file)
        self._write(self._event(wall_time=time.time(), file_version="brain.Event:2"))
        if id is None:
            self._hyperparameters("session_start_info", self._session_start(run))
            about = {**run.facts, **run.settings}
            rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in about.items()]
            self._texts(0, "settings", _markdown(LoggedTable("settings", ("name", "value"), rows)))
        self._file.flush()
        return str(folder)

    def log(self, point: LoggedPoint) -> None:
        """One event with every number of the measurement."""
        values = [
            self._summary.Summary.Value(tag=name, simple_value=value)
            for name, value in point.scalars.items()
            if (name, point.updates) not in self._known
        ]
        if values:
            self._values(point.updates, values, point.time)
            self._file.flush()

    def finish(self, ending: Ending) -> None:
        """Tables and plots at the last update."""
        said = [f"{name}: {verdict}" for name, verdict in ending.verdicts.items()]
        self._texts(ending.updates, "state", "  \n".join([ending.state.value, *([ending.reason or ""]), *said]))
        for table in ending.tables:
            self._texts(ending.updates, table.name, _markdown(table))
        for plot in ending.plots:
            png = plot.read_bytes()
            width, height = struct.unpack(">II", png[16:24])  # of the header, which is the first chunk
            image = self._summary.Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
            self._values(ending.updates, [self._summary.Summary.Value(tag=f"plots/{plot.stem}", image=image)])
        self._hyperparameters("session_end_info", self._session_end(ending))
        self._file.close()

    def _scalars_in(self, folder: Path) -> set[tuple[str, int]]:
        loader: Any = import_module("tensorboard.backend.event_processing.event_file_loader").RawEventFileLoader
        files = sorted(folder.glob("*tfevents*"))
        events = (self._event.FromString(raw) for file in files for raw in loader(str(file)).Load())
        return {
            (value.tag, int(event.step))
            for event in events
            for value in event.summary.value
            if value.HasField("simple_value")
        }

    def _texts(self, step: int, tag: str, text: str) -> None:
        metadata = self._summary.SummaryMetadata(plugin_data={"plugin_name": "text"})
        tensor = {"dtype": "DT_STRING", "string_val": [text.encode()], "tensor_shape": {"dim": [{"size": 1}]}}
        self._values(step, [self._summary.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])

    def _hyperparameters(self, tag: str, content: Any) -> None:
        data = {"plugin_name": "hparams", "content": content.SerializeToString()}
        metadata = self._summary.SummaryMetadata(plugin_data=data)
        nothing = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": 0}]}}
        value = self._summary.Summary.Value(tag=f"_hparams_/{tag}", metadata=metadata, tensor=nothing)
        self._values(0, [value])

    def _session_start(self, run: LoggedRun) -> Any:
        plugin: Any = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
        start = plugin.SessionStartInfo(group_name=run.name, start_time_secs=time.time())
        for name, value in run.settings.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            elif value is not None:
                start.hparams[name].string_value = value if isinstance(value, str) else json.dumps(value)
        return plugin.HParamsPluginData(version=0, session_start_info=start)

    def _session_end(self, ending: Ending) -> Any:
        plugin: Any = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
        status: Any = import_module("tensorboard.plugins.hparams.api_pb2").Status
        how = status.STATUS_SUCCESS if ending.state is EndState.FINISHED else status.STATUS_FAILURE
        end = plugin.SessionEndInfo(status=how, end_time_secs=time.time())
        return plugin.HParamsPluginData(version=0, session_end_info=end)

    def _values(self, step: int, values: list[Any], at: float | None = None) -> None:
        summary = self._summary.Summary(value=values)
        self._write(self._event(wall_time=time.time() if at is None else at, step=step, summary=summary))

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())


def _markdown(table: LoggedTable) -> str:
    """The table as TensorBoard's text page reads it, in which a cell is one line."""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    rows = ["| " + " | ".join(_cell(each) for each in line) + " |" for line in lines]
    return "\n".join([*([f"{table.note}\n"] if table.note else []), *rows])


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else " ".join(str(value).replace("|", "\\|").split())
