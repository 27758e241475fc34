"""A new engine is one folder and one line: the API serves it, the harness runs on it, nothing else is touched."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import claas
from claas.api.config import ApiConfig
from claas.api.modes import open_engine, require_startable
from claas.core.errors import InvalidInput, MissingExtra
from claas.core.settings import MODES, Mode, TrainingConfig
from claas.eval.runner import run_harness
from claas.results.settings import EvalConfig
from tests.api.client import item, ok, running, settings

ROOT = Path(claas.__file__).parents[1]
THE_FOLDER = "tests.fakes.toy_engine"
THE_LINE = f'MODES["toy"] = Mode("{THE_FOLDER}", "fake-base")'


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODES, "toy", Mode(THE_FOLDER, "fake-base"))


@pytest.mark.anyio
@pytest.mark.usefixtures("toy")
async def test_the_api_answers_with_it_and_it_learns(tmp_path: Path) -> None:
    config = settings(tmp_path, mode="toy")
    async with running(open_engine(config), config) as api:
        assert ok(await api.http.get("/"))["mode"] == "toy"
        await api.init()
        said = await api.said("Hi")
        assert said.message.content is not None
        assert said.message.content.startswith("eval-concise@0 heard Hi")
        assert (await api.feedback(item("Hi", said))).version == 1
        assert (await api.chat("Hi")).model == "eval-concise@1"


@pytest.mark.usefixtures("toy")
def test_the_harness_runs_on_it(tmp_path: Path) -> None:
    config = EvalConfig(
        mode="toy",
        preferences=["concise"],
        metrics=["logprob"],
        num_steps=2,
        plots=False,
        output_dir=str(tmp_path / "run"),
        training=TrainingConfig(kl_reg_weight=0.1),
    )
    results = asyncio.run(run_harness(config))
    assert (results.new_steps, results.config.base_model) == (2, "fake-base")
    assert results.preferences["concise"].failure is None


def test_it_is_chosen_on_the_command_line(tmp_path: Path) -> None:
    program = f"from claas.core.settings import MODES, Mode; {THE_LINE}; from claas.api.__main__ import main; main()"
    command = [sys.executable, "-c", program, "mode=toy", "port=0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert httpx.get(address).json()["base_model"] == "fake-base"
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_without_the_line_there_is_no_such_mode() -> None:
    for settings_of in (ApiConfig, EvalConfig):
        with pytest.raises(InvalidInput, match="unknown mode 'toy'; known: local, modal, tinker, vllm"):
            settings_of(mode="toy")


def test_what_it_needs_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODES, "toy", Mode("no_such_package.engine", "fake-base", "toys"))
    with pytest.raises(MissingExtra) as raised:
        require_startable("toy")
    assert str(raised.value) == "no_such_package is not installed; install it with: pip install 'claas[toys]'"


@pytest.mark.parametrize("mode", sorted(MODES))
def test_the_folder_of_every_mode_offers_what_opens_it(mode: str) -> None:
    folder = ROOT.joinpath(*MODES[mode].engine.split("."), "__init__.py").read_text()
    assert "\ndef require_startable() -> None:" in folder
    assert "\ndef open_engine(config: " in folder
