"""`python -m claas.eval`: exit codes, one line per mistake, and the command that resumes."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from claas.core.errors import StackError
from claas.eval.__main__ import main
from tests.documents import document
from tests.eval.live_api import live_api
from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.fakes.engine import BASE_MODEL, FakeEngine

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["preferences=[calm]", "metrics=[logprob]", "num_steps=2", "plots=false", f"base_model={BASE_MODEL}"]


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path / "engine")


@pytest.fixture
def small(tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Generator[list[str], None, None]:
    """Arguments of a small run against a live API, from a working directory of its own; the runs are recomputed."""
    monkeypatch.chdir(tmp_path)
    small_preferences(tmp_path / "mine", "calm")
    with live_api(tmp_path / "server", engine) as url:
        yield ["--config-dir", "mine", *SMALL, f"claas_url={url}"]
    for config in tmp_path.glob("**/config.json"):
        require_recomputable(config.parent)


def test_a_complete_run_exits_with_0_and_leaves_only_its_folder(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(tmp_path.iterdir())
    assert main(small) == 0
    (made,) = set(tmp_path.iterdir()) - before - {tmp_path / "server"}
    (run,) = (made / "evals").iterdir()
    assert made.name == "data"
    assert len((run / "calm" / "steps.jsonl").read_text().splitlines()) == 2
    assert capsys.readouterr().out


def test_a_finished_run_says_that_it_was(small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*small, "output_dir=run", "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*small, "output_dir=run", "--json"]) == 0
    printed = capsys.readouterr()
    assert "run was complete: nothing was run" in printed.err
    (run,) = document(printed)["result"]["runs"]
    assert (run["folder"], run["exit_code"], run["continue_with"]) == ("run", 0, None)
    assert run["preferences"]["calm"]["verdict"] == run["verdict"]


def test_a_sweep_makes_one_folder_per_run_and_ends_with_what_they_show_together(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", *small, "num_steps=1", "seed=1,2,3", "--json"]) == 0
    printed = capsys.readouterr()
    assert "calm: 3 seeds" in printed.err
    (page,) = tmp_path.glob("data/evals/*/aggregate.html")
    result = document(printed)["result"]
    assert (tmp_path / result["aggregate"]).samefile(page.with_name("aggregate.json"))
    assert len(result["runs"]) == 3
    sweep = page.parent
    configs = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/config.json")}
    assert {name: each["config"]["seed"] for name, each in configs.items()} == {
        f"{sweep.name}-seed-{seed}": seed for seed in (1, 2, 3)
    }
    assert len({each["run_id"] for each in configs.values()}) == 3
    assert not (tmp_path / "multirun").exists()
    assert not (tmp_path / "outputs").exists()


def test_the_same_sweep_again_continues_its_runs(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["-m", *small, "num_steps=1", "output_dir=runs"]
    assert main([*sweep, "seed=1,2"]) == 0
    assert main([*sweep, "seed=1,2,3"]) == 0
    assert capsys.readouterr().err.count("was complete: nothing was run") == 2
    assert {path.parent.name for path in tmp_path.glob("runs/*/config.json")} == {
        f"runs-seed-{seed}" for seed in (1, 2, 3)
    }


def test_a_sweep_over_several_settings_shows_its_runs_and_says_why_not_over_seeds(
    small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", *small, "num_steps=1", "batch_size=1,2,3", "output_dir='runs/${batch_size}'"]) == 0
    printed = capsys.readouterr()
    assert "no table over seeds: runs of different configurations" in printed.err
    rows = [line.split() for line in printed.out.splitlines()]
    assert ["run", "batch_size", "objective", "verdict", "failed", "criteria"] in rows
    assert [row[:2] for row in rows if row and row[0] in "123"] == [["1", "1"], ["2", "2"], ["3", "3"]]


@pytest.mark.parametrize(
    ("plugin", "mend"),
    [
        ("hydra/launcher=ray", "there is no hydra/launcher 'ray'; pip install hydra-ray-launcher"),
        ("hydra/launcher=slurm", "there is no hydra/launcher 'slurm'; known: basic, joblib, ray, submitit_local"),
        ("hydra/sweeper=optna", "there is no hydra/sweeper 'optna'; known: basic, optuna\n"),
        ("hydra/launcher=optuna", "there is no hydra/launcher 'optuna'; known: basic, joblib"),
        ("hydra/sweeper=joblib", "there is no hydra/sweeper 'joblib'; known: basic, optuna\n"),
    ],
)
def test_a_launcher_or_sweeper_that_is_not_there_is_named_with_its_package_or_those_of_its_kind(
    small: list[str], plugin: str, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", *small, plugin, "seed=1,2"]) == 2
    assert mend in capsys.readouterr().err


def test_a_verdict_that_is_no_pass_exits_with_4_when_that_is_asked_for(small: list[str]) -> None:
    assert main([*small, "output_dir=run", "fail_on_verdict=true"]) == 4
    assert main([*small, "output_dir=run"]) == 0


def test_a_failed_update_exits_with_3_and_says_how_to_go_on(
    small: list[str], engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    def out_of_memory() -> None:
        raise StackError("no memory left")

    engine.before_save = out_of_memory
    assert main([*small, "retry_for_s=0", "--json"]) == 3
    printed = capsys.readouterr()
    told, ended = printed.err, document(printed)
    assert "no memory left" in told
    assert "no memory left" in ended["error"]["cause"]
    assert ended["error"]["mend"] == f"to continue, run: {ended['result']['runs'][0]['continue_with']}"
    engine.before_save = lambda: None
    assert main(_resuming(told)) == 0
    assert len(engine.trained) == 2


def test_an_address_where_nothing_answers_exits_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["preferences=[concise]", "claas_url=http://127.0.0.1:9", "retry_for_s=0", "output_dir='my run'"]) == 3
    told = capsys.readouterr().err
    assert "nothing answers at http://127.0.0.1:9" in told
    assert _resuming(told)[-1] == "output_dir='my run'"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["preferences=[concize]"], "unknown preference 'concize'; known: concise, identity, no_emoji"),
        (["metrics=[vibes]"], "unknown metric 'vibes'; known: "),
        (["num_stps=3"], "unknown key 'num_stps'; did you mean num_steps?"),
        (["num_steps=-1"], "num_steps must be >= 1, got -1"),
        (["openclaw_url=http://127.0.0.1:1"], "openclaw_url needs claas_url"),
        (["output_dir=/dev/null/run"], "output_dir /dev/null/run cannot be used"),
        (["-m", "preferences=[concise],[concize]"], "unknown preference 'concize'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_exits_with_2_and_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("claas.eval: ")
    assert said in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 3)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_a_run_that_the_printed_command_continues(
    small: list[str], engine: FakeEngine, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    engine.update_s = 0.3
    arguments = [*small, "num_steps=6"]
    command = [sys.executable, "-m", "claas.eval", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def heed_ctrl_c() -> (
        None
    ):  # what starts this suite in the background may have SIGINT ignored, and children inherit it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_ctrl_c
    ) as running:
        while running.poll() is None and not list(tmp_path.glob("data/evals/*/calm/steps.jsonl")):
            time.sleep(0.02)
        running.send_signal(number)
        _, told = running.communicate(timeout=30)
    assert running.returncode == code
    assert "Traceback" not in told
    engine.update_s = 0.0
    assert main(_resuming(told)) == 0
    (steps,) = tmp_path.glob("data/evals/*/calm/steps.jsonl")
    assert len(steps.read_text().splitlines()) == len(engine.trained) == 6


def _resuming(told: str) -> list[str]:
    """The arguments of the command that a run prints when it can go on."""
    (line,) = [line for line in told.splitlines() if "to continue, run: " in line]
    command = shlex.split(line.partition("to continue, run: ")[2])
    assert command[:3] == ["python", "-m", "claas.eval"]
    return command[3:]
