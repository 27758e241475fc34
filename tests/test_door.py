"""`claas`: every command behind one name, and what `claas doctor` finds."""

import json
import os
import socket
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest

from claas import __version__
from claas.__main__ import COMMANDS, main
from claas.doctor import EXTRAS, KEYS
from claas.results.user import USER_KEY_VARIABLE
from tests.documents import document


def test_help_names_every_command_and_each_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, door in COMMANDS.items():
        assert f"claas {name} " in printed
        assert callable(import_module(door.module).main)


def test_the_version_is_the_projects_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"claas {__version__}\n"


def test_a_command_gets_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--cfg", "job", "seed=7"]) == 0
    printed = capsys.readouterr().out
    assert "plan: true" in printed
    assert "seed: 7" in printed


def test_a_command_of_two_words_is_not_the_one_of_its_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "compare", "--help"]) == 0
    assert capsys.readouterr().out.startswith("claas bench compare ")


@pytest.mark.parametrize(("given", "said"), [(["evl"], "did you mean eval?"), (["zzz"], "known: eval, plan")])
def test_an_unknown_command_lists_the_known(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    assert said in capsys.readouterr().err


def test_without_a_command_they_are_listed_and_nothing_was_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "claas doctor" in capsys.readouterr().out


def test_whoever_reads_may_stop() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "claas", "--help"], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_alike(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Its version is ours, help begins with its name and lists the flags of all, and a mistake is one line, or one
    document."""
    words = name.split()
    assert main([*words, "--version"]) == 0
    assert capfd.readouterr().out == f"claas {__version__}\n"
    assert main([*words, "--help"]) == 0
    shown = capfd.readouterr().out
    assert shown.startswith(f"claas {name.replace('plan', 'eval')} ")
    assert "--quiet, -q  " in shown
    assert main([*words, "--nonsense"]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"{COMMANDS[name].module.removesuffix('.__main__')}: ")
    assert main([*words, "--json", "--nonsense"]) == 2
    mistaken = document(capfd.readouterr())
    assert mistaken["error"]["cause"] in printed.err
    assert (mistaken["exit_code"], mistaken["result"]) == (2, None)


def test_openclaws_release_is_not_our_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["openclaw", "--install-only", "--release", "1"]) == 2
    assert "unknown OpenClaw version '1'" in capfd.readouterr().err


def test_settings_plans_and_audits_are_documents(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "seed=7", "--cfg", "job", "--json"]) == 0
    (settings,) = document(capfd.readouterr())["result"]["settings"]
    assert settings["seed"] == 7
    assert main(["plan", "preferences=[concise]", "metrics=quick", "num_steps=1", "controls=[]", "--json"]) == 0
    plans = document(capfd.readouterr())["result"]["plans"]
    assert plans[""]["requests"]["sample"] == 4
    assert main(["audit", "concise", "--json"]) == 0
    audited = document(capfd.readouterr())["result"]
    assert audited["preferences"]["concise"]["sound"]
    assert audited["problems"] == []


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    return {each["what"]: each for each in json.loads(capsys.readouterr().out)["result"]["findings"]}


def test_the_doctor_names_keys_and_never_shows_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CLAAS_API_KEY", "swordfish")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "swordfish" not in printed
    assert printed.endswith("claas eval runs here\n")
    assert main(["doctor", "--json"]) == 0
    by_name = found(capsys)
    assert by_name["CLAAS_API_KEY"]["state"] == "set"
    assert by_name["HF_TOKEN"]["state"] == "not set"
    assert by_name["hub"]["state"] == "not asked: HF_HUB_OFFLINE=1"


def test_the_doctor_looks_at_every_extra_that_brings_something_and_at_every_key() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]
    for_development = {"browser", "deploy", "dev", "docs", "live"}
    extras = project["optional-dependencies"].items()
    brings = {name for name, packages in extras if not all(each.startswith("claas[") for each in packages)}
    assert {extra for extra, *_ in EXTRAS} == brings - for_development
    assert USER_KEY_VARIABLE in KEYS


def test_the_doctor_says_what_keeps_the_main_command_from_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = metadata.version

    def without_torch(package: str) -> str:
        if package == "torch":
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(metadata, "version", without_torch)
    assert main(["doctor", "--json"]) == 2
    local = found(capsys)["extra local"]
    assert local["ok"] is False
    assert "pip install 'claas[local]'" in str(local["gives"])


def test_the_doctor_names_a_port_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # somebody else has it
        main(["doctor", "--json"])
    assert found(capsys)["port 8080"]["ok"] is None


@pytest.mark.parametrize(
    ("variable", "value", "what", "said"),
    [
        ("HTTPS_PROXY", "foo://x", "hub", "cannot be asked: Unknown scheme"),
        ("SSL_CERT_FILE", "/nowhere", "hub", "cannot be asked: [Errno 2]"),
        ("HF_ENDPOINT", "http://hub:door", "hub", "cannot be asked: Invalid port"),
        ("HF_HUB_OFFLINE", "true", "hub", "not asked: HF_HUB_OFFLINE=true"),
        ("CLAAS_CACHE", __file__, "cache", f"{__file__} cannot be written"),
    ],
)
def test_the_doctor_finds_what_is_odd_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, what: str, said: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", str(int(what != "hub")))
    monkeypatch.setenv(variable, value)
    main(["doctor", "--json"])
    assert said in str(found(capsys)[what]["state"])
