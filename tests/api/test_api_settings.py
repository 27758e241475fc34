"""Settings: composed by Hydra, checked once, each of them used, and mistakes told in one line."""

import importlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from claas.api.__main__ import COMMAND, main
from claas.api.config import ApiConfig
from claas.core.configuration import settings_of, written
from claas.core.errors import InvalidInput
from claas.core.settings import config_root

SOURCES = Path(sys.modules["claas.api"].__path__[0])


def composed(name: str, *overrides: str) -> ApiConfig:
    (job,) = COMMAND.jobs(["--config-name", name, *overrides])
    return job.config


@pytest.mark.parametrize("path", sorted((config_root() / "api").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_the_defaults_of_its_mode(path: Path) -> None:
    assert composed(path.stem) == ApiConfig(mode=path.stem)


def test_every_setting_can_be_overridden() -> None:
    changed = {
        "host": "::1",
        "port": 0,
        "base_model": "some/model",
        "check_model": False,
        "dtype": "bfloat16",
        "store_dir": "s",
        "feedback_log_dir": "f",
        "results_dir": "r",
        "edit_labels": False,
        "bench_dir": "b",
        "lock_timeout_s": 1.5,
        "rollout_capacity": 7,
        "max_body_bytes": 2048,
        "shutdown_s": 2.5,
        "truncate_prompt": "middle",
        "tinker_base_url": "http://127.0.0.1:9",
        "tinker_timeout_s": 7.5,
        "keep_versions": "last",
        "vllm_url": "http://127.0.0.1:9",
        "vllm_command": "bin/vllm",
        "vllm_arguments": ["--seed", "1"],
        "vllm_adapters": 3,
        "vllm_max_lora_rank": 64,
        "vllm_window": 512,
        "vllm_timeout_s": 9.5,
        "vllm_start_s": 10.5,
        "modal_app": "mine",
        "modal_timeout_s": 8.5,
    }
    assert set(changed) == set(ApiConfig.__dataclass_fields__) - {"mode"}
    assert composed("local", *(f"{name}={value}" for name, value in changed.items())) == ApiConfig(**changed)


def test_every_setting_is_read_somewhere() -> None:
    folders = (SOURCES, SOURCES.parent / "engines")  # each engine reads what is its own
    files = (path for folder in folders for path in folder.rglob("*.py"))
    code = "".join(path.read_text() for path in files if path.name != "config.py")
    unread = {name for name in ApiConfig.__dataclass_fields__ if f"config.{name}" not in code}
    assert unread == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("lock_timeout_s", -0.5),
        ("rollout_capacity", 0),
        ("max_body_bytes", 10),
        ("mode", "cloud"),
        ("truncate_prompt", "left"),
        ("host", ""),
        ("base_model", ""),
        ("store_dir", ""),
        ("results_dir", ""),
        ("bench_dir", ""),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"{name}.*{value!r}"):
        ApiConfig(**{name: value})  # pyright: ignore[reportArgumentType] (that is what is tested)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["prot=1"], 2, "unknown key 'prot'; did you mean port?"),
        (["vram=1"], 2, "unknown key 'vram'; known: mode, host, port,"),
        (["+prot=1"], 2, "prot"),
        (["port=abc"], 2, "'abc'"),
        (["port=70000"], 2, "port must be >= 0 and <= 65535, got 70000"),
        (
            ["--config-name", "modal"],
            2,
            "mode=modal needs a Modal account: run `modal setup`, or set MODAL_TOKEN_ID and",
        ),
        (["modal_app="], 2, "modal_app must name an app or be null, got ''"),
        (["modal_timeout_s=0"], 2, "modal_timeout_s must be > 0"),
        (["--config-name", "tinker"], 2, "mode=tinker needs a key: set the environment variable CLAAS_TINKER_API_KEY"),
        (["keep_versions=some"], 2, "unknown keep_versions 'some'; known: all, last"),
        (["tinker_timeout_s=0"], 2, "tinker_timeout_s must be > 0"),
        (["mode=cloud"], 2, "unknown mode 'cloud'"),
        (["host=0.0.0.0"], 2, "CLAAS_API_KEY"),
        (["host=192.0.2.1"], 2, "CLAAS_API_KEY"),
        (["--config-name", "nope"], 2, "'nope'"),
        (["port={taken}"], 3, "port {taken} on 127.0.0.1 is in use"),
    ],
    ids=str,
)
def test_a_mistake_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLAAS_API_KEY", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["claas-api", *(argument.format(taken=taken) for argument in arguments)])
        ended = main()
    out, err = capfd.readouterr()
    assert (ended, out) == (code, "")
    assert err.startswith("claas.api: ")
    assert err.count("\n") == 1
    assert said.format(taken=taken) in err
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_can_be_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["claas-api", "--help"])
    main()
    shown = capsys.readouterr().out
    assert "claas api [key=value ...]" in shown
    for setting in settings_of(ApiConfig):
        assert f"\n{setting.key}: {written(setting.default)}  # {setting.meaning}" in shown
    assert "Hydra" not in shown


@pytest.mark.parametrize("beginning", ["defaults: [local, _self_]\n", "defaults: [api, _self_]\n", ""])
def test_a_file_of_ones_own_has_the_settings_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], beginning: str
) -> None:
    monkeypatch.setenv("PORT", "8181")
    (tmp_path / "mine.yaml").write_text(f"{beginning}port: ${{oc.env:PORT}}\nstore_dir: 2026\n")
    (job,) = COMMAND.jobs(["--config-dir", str(tmp_path), "--config-name", "mine", "lock_timeout_s=1"])
    assert job.config == ApiConfig(port=8181, store_dir="2026", lock_timeout_s=1.0)
    assert main(["--config-dir", str(tmp_path), "--config-name", "mine", "--cfg", "job"]) == 0
    assert "\nport: 8181\n" in capsys.readouterr().out


def test_without_torch_the_local_engine_says_what_to_install(tmp_path: Path) -> None:
    code = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
from claas.api.__main__ import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "port=0"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCES.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "claas.api: torch is not installed; install it with: pip install 'claas[local]'\n"


def test_where_to_listen_may_stand_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CLAAS_API_HOST", "::1")
    monkeypatch.setenv("CLAAS_API_PORT", "9000")
    (tmp_path / "mine.yaml").write_text("port: 8081\nhost: 127.0.0.2\n")
    for arguments, port in (([], 9000), (["port=9001"], 9001), (["-cd", str(tmp_path), "-cn", "mine"], 9000)):
        monkeypatch.setattr(sys, "argv", ["claas-api", "--cfg", "job", *arguments])
        main()
        shown = capsys.readouterr().out
        assert "\nhost: ::1\n" in shown
        assert f"\nport: {port}\n" in shown


def test_a_variable_that_is_not_read_says_what_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLAAS_LORA_ROOT", "/loras")
    main(["--cfg", "job"])
    assert capsys.readouterr().err == (
        "claas.api: CLAAS_LORA_ROOT is set, and not read here: say store_dir=..., a folder with a format of its own\n"
    )


KFALLAH_CLAAS = """
defaults: [_core_local_schema, _self_]
mode: local
feedback_log_dir: logs
lora_root: /loras
base_model_id: Qwen/Qwen3-8B
completion_cache_size: 100
feedback_lock_timeout_s: 120.0
vllm_base_url: http://127.0.0.1:8000
"""


def test_a_file_for_kfallah_claas_is_told_what_to_write_instead(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(KFALLAH_CLAAS)
    with pytest.raises(InvalidInput) as refused:
        COMMAND.jobs(["--config-dir", str(tmp_path), "--config-name", "theirs"])
    assert str(refused.value) == (
        "unknown key 'lora_root': it is store_dir here, a folder with a format of its own; "
        "unknown key 'base_model_id': it is base_model here; "
        "unknown key 'completion_cache_size': it is rollout_capacity here; "
        "unknown key 'feedback_lock_timeout_s': it is lock_timeout_s here; "
        "unknown key 'vllm_base_url': it is vllm_url here, with mode=vllm"
    )


def test_every_key_for_kfallah_claas_is_told_where_it_went() -> None:
    assert not set(ApiConfig.FOREIGN_KEYS) & set(ApiConfig.__dataclass_fields__)
    for key, said in ApiConfig.FOREIGN_KEYS.items():
        with pytest.raises(InvalidInput, match=f"unknown key '{key}': {said}"):
            composed("local", f"{key}=1")
        named = said.removeprefix("it is ").partition(" here")[0]
        assert said.startswith("leave it out") or named in ApiConfig.__dataclass_fields__


def test_there_is_no_app_before_its_settings() -> None:
    with pytest.raises(ImportError, match=r"start it with `python -m claas\.api"):
        importlib.import_module("claas.api").web_app  # noqa: B018 (what `uvicorn claas.api:web_app` does)
