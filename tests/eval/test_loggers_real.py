"""The services' own packages, writing to local files: a run is logged in two processes' worth, and read back."""

import json
import struct
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import claas
from claas.eval.loggers.contents import ending_of, points_on_record, run_of
from claas.eval.loggers.logger import Ending, EndState, LoggedPoint, LoggedRun, Logger
from claas.eval.loggers.mlflow import MlflowLogger
from claas.eval.loggers.sink import Sink
from claas.eval.loggers.tensorboard import TensorBoardLogger
from claas.eval.loggers.trackio import TrackioLogger
from claas.eval.loggers.wandb import WandbLogger
from claas.results import summary
from claas.results.manifest import read_manifest
from claas.results.run_files import PreferenceRecords, RunFiles
from claas.results.settings import recorded_config

pytestmark = pytest.mark.loggers

EXAMPLE = Path(claas.__file__).parents[1] / "data" / "examples" / "concise-3-steps"
COMPLIANCE = "concise/heldout_compliance"


@pytest.fixture(scope="module")
def records() -> PreferenceRecords:
    return PreferenceRecords.read_whole(RunFiles(EXAMPLE).preference("concise"))


@pytest.fixture
def points(records: PreferenceRecords) -> list[LoggedPoint]:
    return list(points_on_record({"concise": records}))


@pytest.fixture
def run(tmp_path: Path) -> LoggedRun:
    manifest = read_manifest(RunFiles(EXAMPLE))
    return run_of(tmp_path / "mine" / "mine-seed-42", manifest, recorded_config(manifest.config))


@pytest.fixture
def ending(tmp_path: Path, records: PreferenceRecords) -> Ending:
    figure = import_module("matplotlib.figure").Figure(figsize=(1, 1))
    plot = tmp_path / "compliance.png"
    figure.savefig(plot)
    return ending_of(summary.read(EXAMPLE), {"concise": records.history("concise", 3)}, [plot])


@pytest.fixture
def logged(
    run: LoggedRun, points: list[LoggedPoint], ending: Ending
) -> Callable[[Callable[[], Logger]], list[LoggedPoint]]:
    """Logs the example twice: interrupted after two measurements, and continued to its end."""

    def log(make: Callable[[], Logger]) -> list[LoggedPoint]:
        said: list[str] = []
        parts = [(points[:2], Ending(EndState.INTERRUPTED, None, 1, {})), (points, ending)]
        for some, end in parts:
            sink = Sink("it", make(), run, said.append)
            for point in some:
                sink.log(point)
            sink.finish(end)
            sink.close(60.0)
        assert said == []
        return points

    return log


def series(points: list[LoggedPoint], name: str) -> list[tuple[int, float]]:
    return [(point.updates, point.scalars[name]) for point in points if name in point.scalars]


def test_tensorboard_reads_back_every_scalar_once(logged: Any, run: LoggedRun) -> None:
    points = logged(TensorBoardLogger)
    module: Any = import_module("tensorboard.backend.event_processing.event_accumulator")
    found = module.EventAccumulator(str(run.folder / "tensorboard"), {"scalars": 0, "tensors": 0, "images": 0})
    found.Reload()
    assert set(found.Tags()["scalars"]) == {name for point in points for name in point.scalars}
    for name in found.Tags()["scalars"]:
        read = {event.step: event.value for event in found.Scalars(name)}
        assert len(found.Scalars(name)) == len(read)
        assert read == pytest.approx(dict(series(points, name)), rel=1e-6)
    assert [event.wall_time for event in found.Scalars(COMPLIANCE)] == pytest.approx([each.time for each in points])
    texts = {tag: found.Tensors(tag)[-1].tensor_proto.string_val for tag in found.Tags()["tensors"]}
    assert b"| concise | heldout_compliance | 0.890625 |" in texts["verdict"][0]
    assert b"training.learning_rate | 0.0008" in texts["settings"][0]
    assert texts["transcripts"][0].startswith(b"500 of 1124 transcripts")
    assert [event.tensor_proto.string_val[0].split()[0] for event in found.Tensors("state")] == [
        b"interrupted",
        b"finished",
    ]
    (image,) = found.Images("plots/compliance")
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert (image.width, image.height) == (100, 100)
    plugin: Any = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = plugin.HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["training.learning_rate"].number_value == 0.0008


def test_tensorboard_writes_no_point_again_that_a_killed_process_wrote(
    run: LoggedRun, points: list[LoggedPoint]
) -> None:
    for id in (None, "before"):
        logger = TensorBoardLogger()
        logger.start(run, id)
        for point in points:
            logger.log(point)
    module: Any = import_module("tensorboard.backend.event_processing.event_file_loader")
    files = sorted((run.folder / "tensorboard").glob("*tfevents*"))
    events = [event for file in files for event in module.EventFileLoader(str(file)).Load()]
    times = [event.step for event in events for value in event.summary.value if value.tag == COMPLIANCE]
    assert times == [0, 1, 2, 3]


def test_mlflow_has_it_all_in_one_run(logged: Any, run: LoggedRun, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    points = logged(lambda: MlflowLogger(tracking_uri=address))
    client = import_module("mlflow").MlflowClient(tracking_uri=address)
    (found,) = client.search_runs([client.get_experiment_by_name("claas").experiment_id])
    assert (found.info.run_name, found.info.status) == (run.name, "FINISHED")
    names = {name for point in points for name in point.scalars}
    assert set(found.data.metrics) == names
    for name in (COMPLIANCE, "concise/sdpo/distill_loss", "concise/logprob_margin.margin"):
        history = client.get_metric_history(found.info.run_id, name)
        assert [(each.step, each.value) for each in history] == series(points, name)
    assert found.data.params["training.learning_rate"] == "0.0008"
    assert set(found.data.params) == set(run.settings)
    tags = found.data.tags
    assert (tags["verdict"], tags["state"], tags["group"]) == ("inconclusive", "finished", "mine")
    assert tags["git_commit"] == run.facts["git_commit"]
    assert json.loads(tags["mlflow.loggedArtifacts"])[0] == {"path": "verdict.json", "type": "table"}
    artifacts = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert artifacts == {"verdict.json", "transcripts.json", "plots"}
    table = json.loads(Path(client.download_artifacts(found.info.run_id, "verdict.json")).read_text())
    assert dict(zip(table["columns"], table["data"][0], strict=True))["criterion"] == "heldout_compliance"


def test_a_metric_that_mlflow_has_is_not_there_twice(run: LoggedRun, points: list[LoggedPoint], tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    id = None
    for _ in range(2):
        logger = MlflowLogger(tracking_uri=address)
        id = logger.start(run, id)
        logger.log(points[0])
    client = import_module("mlflow").MlflowClient(tracking_uri=address)
    assert len(client.get_metric_history(id, COMPLIANCE)) == 1


def test_wandb_writes_both_parts_of_one_run_to_files(logged: Any, run: LoggedRun, monkeypatch: Any) -> None:
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setenv("HOME", str(run.folder.parent))
    run.folder.mkdir(parents=True)
    points = logged(WandbLogger)
    parts = sorted((run.folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(parts) == 2
    kept = [list(kept_by_wandb(part)) for part in parts]
    runs = [each.run for part in kept for each in part if each.WhichOneof("record_type") == "run"]
    assert len({each.run_id for each in runs}) == 1
    assert {(each.project, each.run_group, each.display_name) for each in runs} == {("claas", "mine", run.name)}
    config = {each.key: json.loads(each.value_json) for each in runs[0].config.update}
    assert config["training.learning_rate"] == 0.0008
    rows = [
        (
            each.history.step.num,
            {item.key or item.nested_key[0]: json.loads(item.value_json) for item in each.history.item},
        )
        for part in kept
        for each in part
        if each.WhichOneof("record_type") == "history"
    ]
    assert [step for step, _ in rows] == [0, 1, 2, 3, 4], "rows are numbered on"
    assert [(row["update"], row[COMPLIANCE]) for _, row in rows[:4]] == series(points, COMPLIANCE)
    assert set(rows[3][1]) >= set(points[3].scalars)
    assert {"verdict", "transcripts", "plots/compliance"} <= set(rows[4][1])
    codes = [each.exit.exit_code for part in kept for each in part if each.WhichOneof("record_type") == "exit"]
    assert codes == [255, 0]
    text = "".join(path.read_text(errors="ignore") for path in run.folder.rglob("*") if path.is_file())
    assert "wandb-metadata.json" not in text, "neither the command line nor the machine is told"
    assert [path.name for path in run.folder.rglob("wandb-metadata.json")] == []


def kept_by_wandb(path: Path) -> Iterator[Any]:
    """The records of one of wandb's files: 7 bytes, and blocks as LevelDB's, in which a record may be in parts."""
    record: Any = import_module("wandb.proto.wandb_internal_pb2").Record
    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record.FromString(whole)
            whole = b""


def test_wandb_that_is_not_reached_logs_to_files(run: LoggedRun, points: list[LoggedPoint], monkeypatch: Any) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run.folder.mkdir(parents=True)
    import_module("wandb").teardown()  # which has read its settings
    logger = WandbLogger()
    logger.start(run, None)
    logger.log(points[0])
    logger.finish(Ending(EndState.FINISHED, None, 0, {}))
    assert list(run.folder.glob("wandb/offline-run-*/run-*.wandb"))


def test_trackio_has_a_row_for_each_update_and_the_end(
    logged: Any, run: LoggedRun, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    storage: Any = import_module("trackio.sqlite_storage")
    for module in ("trackio.utils", "trackio.sqlite_storage", "trackio.media.utils", "trackio"):
        monkeypatch.setattr(import_module(module), "TRACKIO_DIR", tmp_path / "trackio", raising=False)
    points = logged(TrackioLogger)
    (found,) = list(import_module("trackio").Api().runs("claas"))
    assert found.name == run.name
    assert found.config["training.learning_rate"] == 0.0008
    assert found.config["_Group"] == "mine"
    rows = storage.SQLiteStorage.get_logs("claas", run.name)
    measured = [row for row in rows if COMPLIANCE in row]
    assert [(row["step"], row[COMPLIANCE]) for row in measured] == series(points, COMPLIANCE)
    assert set(measured[3]) >= set(points[3].scalars)
    (end,) = [row for row in rows if "verdict" in row]
    assert end["verdict"]["_value"][0]["criterion"] == "heldout_compliance"
    assert end["plots/compliance"]["_type"] == "trackio.image"
    assert capsys.readouterr().out == ""
    second = TrackioLogger()
    assert str(second.start(run, None)).startswith(f"{run.name}-"), "another run of this name is another run"
    second.finish(Ending(EndState.FINISHED, None, 0, {}))
