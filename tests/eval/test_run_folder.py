"""A run's folder: made once, locked, recorded, and refused when it holds something else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import ClaasError, Conflict, InvalidInput, NotFound, StackError
from claas.core.settings import TrainingConfig
from claas.eval.run.folder import new_folder, open_run
from claas.results.manifest import MAY_DIFFER, read_manifest
from claas.results.run_files import PreferenceFiles, RunFiles
from claas.results.run_index import find_runs
from claas.results.settings import EvalConfig, Prices, recorded_config


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(**settings: Any) -> dict[str, Any]:
    """What config.json says after a run was opened with these settings."""
    with open_run(EvalConfig(**{"output_dir": "run", **settings})) as run:
        return json.loads(run.recorded().files.config.read_text())


def test_the_manifest_says_what_is_run_by_which_code() -> None:
    manifest = start(seed=7)
    assert manifest["run_id"] == "run"
    assert manifest["config"]["seed"] == 7
    assert manifest["config"]["base_model"] == "claas-tiny"
    assert manifest["config"]["training"]["learning_rate"] == 0.0008
    assert {"claas", "httpx", "pydantic"} <= set(manifest["versions"])
    assert manifest["schema_version"] == 1


def test_no_secret_reaches_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAAS_API_KEY", "hush-hush")
    logger = {"own": {"_target_": "my.Logger", "token": "hush", "account": {"password": "pw1"}, "project": "mine"}}
    manifest = start(logger=logger)
    assert "hush" not in json.dumps(manifest)
    recorded = {**logger["own"], "token": "[key]", "account": {"password": "[key]"}}
    assert manifest["config"]["logger"] == {"own": recorded}
    assert start(logger=logger) == manifest


def test_the_same_configuration_opens_the_folder_again() -> None:
    first = start()
    assert start() == first


def ended_by(error: ClaasError, output_dir: str | None, *files: str) -> None:
    """Open a run, leave these files, and end with the error."""
    with open_run(EvalConfig(output_dir=output_dir)) as run:
        assert run.files.config.exists()
        for file in files:
            (run.files.root / file).parent.mkdir(exist_ok=True)
            (run.files.root / file).touch()
        raise error


@pytest.mark.parametrize("output_dir", ["run", "a/b/run", "20261129-120000Z", None])
@pytest.mark.parametrize("found", [[], [".keep"]])
def test_a_run_that_is_refused_leaves_nothing_that_was_not_there(output_dir: str | None, found: list[str]) -> None:
    if output_dir is not None and found:
        Path(output_dir).mkdir(parents=True)
        (Path(output_dir) / found[0]).touch()
    before = sorted(Path().rglob("*"))
    with pytest.raises(NotFound):
        ended_by(NotFound("no such model"), output_dir, "stack/adapter")
    after = sorted(Path().rglob("*"))
    assert after == ([*before, Path("data"), Path("data/evals")] if output_dir is None else before)


def test_an_empty_folder_of_somebody_stays_and_one_of_the_time_goes() -> None:
    for name in ("mine", "20261129-120000Z"):
        Path(name).mkdir()
        with pytest.raises(InvalidInput):
            ended_by(InvalidInput("no such model"), name)
    assert [path.name for path in Path().iterdir()] == ["mine"]
    assert list(Path("mine").iterdir()) == []


@pytest.mark.parametrize("record", ["concise/baseline.json", "concise/ledger.jsonl", "user.jsonl"])
def test_what_is_on_record_stays_and_so_does_a_run_whose_stack_failed(record: str) -> None:
    with pytest.raises(InvalidInput):
        ended_by(InvalidInput("too late"), "run", record)
    with pytest.raises(StackError):
        ended_by(StackError("no memory left"), "other")
    with pytest.raises(InvalidInput):
        ended_by(InvalidInput("of a run that goes on"), "other")
    assert (Path("run") / record).exists()
    assert Path("run/config.json").exists()
    assert Path("other/config.json").exists()


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"seed": 43}, "seed was 42, now 43"),
        ({"batch_size": 8}, "batch_size was 4, now 8"),
        ({"preferences": ["concise"]}, "preferences was ['concise', 'no_emoji', 'identity'], now ['concise']"),
        ({"training": TrainingConfig(alpha=0.9)}, "training.alpha was 0.5, now 0.9"),
        ({"training": TrainingConfig(learning_rate=0.1)}, "training.learning_rate was 0.0008, now 0.1"),
        ({"checkpoints": [0]}, "checkpoints was [0, 5, 10, 14, 19], now [0]"),
        ({"num_steps": 10}, "num_steps was 20, now 10 (it may only grow)"),
        ({"base_model": "big"}, "base_model was 'claas-tiny', now 'big'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_configuration_is_refused_with_the_difference(settings: dict[str, Any], difference: str) -> None:
    before = start()
    with pytest.raises(InvalidInput) as refusal:
        start(**settings)
    assert difference in str(refusal.value)
    assert json.loads(Path("run/config.json").read_text()) == before


def test_every_difference_is_shown() -> None:
    start()
    with pytest.raises(
        InvalidInput, match=r"max_tokens was 400, now 9; seed was 42, now 1;? ?.*Choose another output_dir"
    ):
        start(seed=1, max_tokens=9)


def test_what_changes_no_measurement_may_differ_and_is_recorded() -> None:
    start()
    changed = {
        "claas_url": "http://127.0.0.1:9",
        "plots": False,
        "plot_formats": ["svg"],
        "plot_style": "paper",
        "logger": [],
        "logger_wait_s": 1.0,
        "max_concurrency": 1,
        "openclaw_alias": "other",
        "prices": Prices(sample=1.0, prefill=1.0, train=1.0),
        "parallel_preferences": 3,
        "request_timeout_s": 5.0,
        "retry_for_s": 0.0,
        "fail_on_error": True,
        "fail_on_verdict": True,
        "accept_changes": True,
        "halt_on_regression": True,
        "confirm_regression": False,
        "plan": True,
        "criteria": {"margin_gain": 1.0},
    }
    of_user = {"base_url", "max_concurrency", "request_timeout_s", "retry_for_s", "budget"}
    assert changed.keys() | {"output_dir", "openclaw_url"} | {f"user.{name}" for name in of_user} == MAY_DIFFER
    manifest = start(**changed)
    assert manifest["config"]["criteria"]["margin_gain"] == 1.0
    assert manifest["config"]["plots"] is False


def test_a_gateway_may_move_but_not_come_or_go() -> None:
    start(openclaw_url="http://127.0.0.1:18789")
    assert start(openclaw_url="http://127.0.0.1:18790")["config"]["openclaw_url"] == "http://127.0.0.1:18790"
    with pytest.raises(InvalidInput, match="through a gateway was True, now False"):
        start()


def test_a_run_that_called_its_checkpoints_otherwise_goes_on() -> None:
    config = start(num_steps=5, checkpoints=[1, 4])
    config["config"]["collapse_steps"] = config["config"].pop("checkpoints")
    Path("run/config.json").write_text(json.dumps(config))
    assert recorded_config(config["config"]).checkpoints == [1, 4]
    with pytest.raises(InvalidInput, match=r"checkpoints was \[1, 4\], now \[0\]"):
        start(num_steps=5, checkpoints=[0])
    assert start(num_steps=7)["config"]["checkpoints"] == [1, 4, 6]


def test_a_run_may_grow_and_keeps_the_checkpoints_it_had() -> None:
    start(num_steps=5)
    grown = start(num_steps=9)["config"]
    assert grown["num_steps"] == 9
    assert grown["checkpoints"] == [0, 1, 2, 3, 4, 6, 8]
    assert start(num_steps=9)["config"] == grown


def test_a_shorter_run_differs_in_its_length_alone() -> None:
    start()
    with pytest.raises(InvalidInput, match=r"configuration: num_steps was 20, now 10 \(it may only grow\)\. Choose"):
        start(num_steps=10)


def test_a_folder_of_other_things_is_not_a_run() -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter-1.tex").write_text("...")
    with pytest.raises(InvalidInput, match=r"holds 'chapter-1\.tex' but no config\.json"):
        start(output_dir="thesis")


def test_a_file_cannot_be_a_run_folder() -> None:
    Path("note").write_text("...")
    with pytest.raises(InvalidInput, match="output_dir note cannot be used"):
        start(output_dir="note")
    with pytest.raises(InvalidInput, match="output_dir note/run cannot be used"):
        start(output_dir="note/run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission_cannot_hold_a_run() -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(InvalidInput, match="output_dir locked/run cannot be used: Permission denied"):
        start(output_dir="locked/run")


def test_a_damaged_manifest_is_named() -> None:
    Path("run").mkdir()
    Path("run/config.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"run/config\.json cannot be read"):
        start()


def test_two_processes_cannot_work_on_one_run() -> None:
    program = "from claas.eval.run.folder import open_run; from claas.results.settings import EvalConfig\n"
    program += "with open_run(EvalConfig(output_dir='run')): pass"
    root = Path(__file__).resolve().parents[2]
    with open_run(EvalConfig(output_dir="run")):
        other = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)}
        )
        with pytest.raises(Conflict, match="another process works on run"):
            start()
    assert "another process works on run" in other.stderr
    start()


def test_runs_started_within_a_second_have_folders_of_their_own() -> None:
    folders = [new_folder() for _ in range(4)]
    assert len(set(folders)) == 4
    assert all(folder.parent == Path("data/evals") for folder in folders)


@pytest.mark.parametrize(("folder", "run_id"), [("my run!", "my-run-"), ("_x", "x"), ("...", "run"), ("ö", "run")])
def test_a_run_id_fits_into_an_adapter_id(folder: str, run_id: str) -> None:
    assert start(output_dir=f"evals/{folder}/.")["run_id"] == run_id


def test_steps_that_are_not_in_order_are_damage(tmp_path: Path) -> None:
    files = PreferenceFiles(tmp_path / "kuro")
    files.root.mkdir()
    (files.root / "steps.jsonl").write_text("{}\n")
    with pytest.raises(InvalidInput, match=r"steps\.jsonl cannot be read"):
        files.read_steps()


def test_a_run_of_the_predecessor_is_called_so(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "concise").mkdir(parents=True)
    (theirs / "summary.json").write_text('{"concise": {"lora_id": "eval/concise"}}')
    (theirs / "concise" / "steps.jsonl").write_text('{"preference": "concise", "step": 0, "eval": {}}\n')
    with pytest.raises(InvalidInput, match=r"theirs holds a run of kfallah/CLaaS.*choose another$"):
        start(output_dir=str(theirs))
    with pytest.raises(InvalidInput, match=r"theirs is a run of kfallah/CLaaS"):
        read_manifest(RunFiles(theirs))
    [listed] = find_runs(tmp_path)
    assert (listed.problem or "").startswith("a run of kfallah/CLaaS")
