"""Completion by Tab: what is offered, at what price, and in the real shells."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claas.completion import SHELLS, Line, candidates, main
from claas.core.configuration import settings_of
from claas.results.settings import EvalConfig

ROOT = Path(__file__).resolve().parents[1]


def offered(typed: str) -> list[str]:
    return [each.word for each in candidates(Line.of(typed))]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    for kind, name in (("preference", "shouting"), ("mode", "lab"), ("training", "slow"), ("experiment", "night")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.yaml").touch()
    (tmp_path / "metrics.yaml").write_text("metrics: {politeness: {_target_: x}}\npresets: {few: [logprob]}\n")
    (tmp_path / "weekly.yaml").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("claas ev", ["eval"]),
        ("claas bench co", ["compare", "convert", "cohort"]),
        ("claas eval num_s", ["num_steps="]),
        ("claas eval training.al", ["training.alpha="]),
        ("claas eval ~pric", ["~prices", "~prices.sample", "~prices.prefill", "~prices.train"]),
        ("claas eval seed=1 mode=ti", ["mode=tinker"]),
        ("claas plan experiment=", ["experiment=lr_search", "experiment=smollm2"]),
        ("claas eval preferences=", ["preferences=[concise", "preferences=[identity", "preferences=[no_emoji"]),
        ("claas eval 'preferences=[concise,", ["preferences=[concise,identity", "preferences=[concise,no_emoji"]),
        (r"claas eval preferences=\[con", ["preferences=[concise"]),
        ('claas eval "metrics=[all,dr', ["metrics=[all,drift"]),
        ("claas eval plots=", ["plots=true", "plots=false"]),
        ("claas eval feedback_variation=p", ["feedback_variation=paraphrase"]),
        ("claas eval arm=s", ["arm=sft"]),
        ("claas eval --mul", ["--multirun"]),
        ("claas eval --cfg ", ["job"]),
        ("claas eval -m hydra/launcher=j", ["hydra/launcher=joblib"]),
        ("claas eval nothing_like_it", []),
        ("claas eval num_steps=", []),
        ("claas eval --config-dir /nowhere preferences=con", ["preferences=concise"]),
        ("claas api --config-name v", ["vllm"]),
        ("claas audit no_", ["no_emoji"]),
        ("claas audit --conf", ["--config-dir"]),
        ("claas results del", ["delete"]),
        ("claas results delete --y", ["--yes"]),
        ("claas-eval num_s", ["num_steps="]),
        ("A=1 .venv/bin/claas eval num_s", ["num_steps="]),
        ("python3 -m claas.eval num_s", ["num_steps="]),
        ("python -m claas bench comp", ["compare"]),
        ("python -m claas.bench.comp", ["claas.bench.compare"]),
        ("python script.py num_s", []),
        ("python -m http.server num_s", []),
    ],
)
def test_what_can_stand_there_is_offered(typed: str, words: list[str]) -> None:
    assert [word for word in offered(typed) if word in words] == words
    if not words or "." not in words[-1]:
        assert offered(typed) == words or "=[" in (words or [""])[0]


def test_every_setting_is_offered_with_what_it_means() -> None:
    meanings = {each.word: each.meaning for each in candidates(Line.of("claas eval "))}
    for setting in settings_of(EvalConfig):
        assert meanings[f"{setting.key}="] == setting.meaning


def test_what_is_in_a_folder_of_ones_own_is_offered_too(mine: Path) -> None:
    before = f"claas eval seed=1 --config-dir {mine}"
    for typed, word in {
        "'preferences=[sh": "preferences=[shouting",
        "mode=la": "mode=lab",
        "training=sl": "training=slow",
        "experiment=ni": "experiment=night",
        "'metrics=[pol": "metrics=[politeness",
        "'metrics=[fe": "metrics=[few",
        "--config-name we": "weekly",
    }.items():
        assert offered(f"{before} {typed}") == [word]
    (mine / "metrics.yaml").write_text("metrics: {")
    assert offered(f"{before} 'metrics=[pol") == [], "what is wrong with it is said on Enter, not on Tab"


def test_a_tab_loads_nothing_slow() -> None:
    code = (
        "import sys\nfrom claas.completion import Line, candidates\ncandidates(Line.of('claas eval \"metrics=[al'))\n"
    )
    code += "print([name for name in ('numpy', 'scipy', 'torch', 'httpx', 'fastapi', 'rich') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([shell]) == 0
    assert "completion query" in capsys.readouterr().out


BASH = """
source "$1"
for COMP_LINE in "claas ev" "claas eval mode=ti" "claas eval 'preferences=[con" "$2 -m claas.eval num_s" "$2 x"; do
    COMP_POINT=${#COMP_LINE} COMPREPLY=()
    _claas "${COMP_LINE%% *}"
    printf '<%s>' "${COMPREPLY[@]}"
    echo
done
complete -p claas-eval
"""
FISH = """
source $argv[1]
for typed in "claas ev" "claas eval mode=ti" "claas eval 'preferences=[con" "$argv[2] -m claas.eval num_s"
    complete -C "$typed" | cut -f1 | string join ' '
end
exit 0
"""


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment in which `claas` is the one of this checkout."""
    program = tmp_path / "claas"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m claas "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}


def in_shell(shell: str, script: str, programs: dict[str, str]) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    source = str(ROOT / "claas" / "completions" / f"claas.{shell}")
    flags = {"bash": ["--norc", "-c"], "fish": ["--no-config", "-c"]}[shell]
    first = [] if shell == "fish" else [shell]
    done = subprocess.run(
        [shell, *flags, script, *first, source, "python3"], env=programs, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_bash_completes_and_replaces_only_what_it_takes_for_the_word(programs: dict[str, str]) -> None:
    assert in_shell("bash", BASH, programs) == [
        *("<eval >", "<tinker >", "<preferences=[concise>", "<num_steps=>", "<>"),
        "complete -o default -o nospace -F _claas claas-eval",
    ]


def test_fish_completes(programs: dict[str, str]) -> None:
    assert in_shell("fish", FISH, programs) == ["eval", "mode=tinker", "preferences=[concise", "num_steps="]


def test_zsh_completes_what_is_typed(programs: dict[str, str]) -> None:
    """In a terminal of its own: zsh completes nowhere else."""
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**programs, "TERM": "dumb"})
    try:
        script = ROOT / "claas" / "completions" / "claas.zsh"
        os.write(terminal, f"autoload -U compinit; compinit -u -D; source '{script}'; print REA''DY\n".encode())
        shown(terminal, "READY")
        for typed, completed in {
            "claas ev": "claas eval ",
            "claas eval mode=ti": "claas eval mode=tinker ",
            "claas eval 'preferences=[con": "cise",
            "python3 -m claas.eval num_st": "eps=",
        }.items():
            os.write(terminal, f"{typed}\t".encode())
            shown(terminal, completed)
            os.write(terminal, b"\x15")  # takes the line away
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def shown(terminal: int, text: str, wait_s: float = 60.0) -> None:
    """Read until the terminal shows this."""
    seen, until = "", time.monotonic() + wait_s
    while text not in seen:
        assert time.monotonic() < until, f"{text!r} is not in {seen!r}"
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
