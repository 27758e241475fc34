"""A vLLM server of our own: how it is started, what is told of one that does not start, and that none is left."""

import stat
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

import claas.engines.vllm
from claas.api.config import ApiConfig
from claas.core.errors import InvalidInput, StackError
from claas.engines.vllm.server import BaseToServe, VllmServer, arguments, environment, failure

KEEPER = Path(claas.engines.vllm.__path__[0]) / "keeper.py"
BASE = BaseToServe(Path("/models/m"), "m", "float32", 2048, 4096, ["k_proj", "q_proj"], on_gpu=False)
WAITS = "import time; print('up', flush=True); time.sleep(600)"


def test_the_command_line_routes_around_what_goes_wrong_on_a_cpu() -> None:
    config = ApiConfig(mode="vllm", vllm_adapters=3, vllm_arguments=["--max-num-seqs", "8"])
    told = arguments(BASE, config, 1234)
    assert told[:2] == ["serve", "/models/m"]
    given = dict(pairwise(told))
    assert (given["--host"], given["--port"]) == ("127.0.0.1", "1234")
    assert given["--max-loras"] == "4"
    assert told[told.index("--lora-target-modules") + 1 :][:2] == ["k_proj", "q_proj"]
    assert {"--enforce-eager", "--no-enable-chunked-prefill"} < set(told)
    assert int(given["--kv-cache-memory-bytes"]) == 64 * 2048 * 4096
    assert told[-2:] == ["--max-num-seqs", "8"]  # the last one counts


def test_on_a_gpu_it_leaves_room_for_the_learner() -> None:
    base = BaseToServe(Path("/models/m"), "m", "bfloat16", 2048, 4096, ["q_proj"], on_gpu=True)
    told = arguments(base, ApiConfig(mode="vllm"), 1)
    assert "--enforce-eager" not in told
    assert told[told.index("--gpu-memory-utilization") + 1] == "0.5"


def test_our_secrets_are_not_in_its_environment() -> None:
    ours = {"PATH": "/bin", "CLAAS_API_KEY": "secret", "PYTHONPATH": "/ours", "HF_HOME": "/hub"}
    found = environment(ours, "key", on_gpu=True)
    assert "secret" not in found.values()
    assert "PYTHONPATH" not in found
    assert (found["PATH"], found["HF_HOME"], found["VLLM_API_KEY"]) == ("/bin", "/hub", "key")
    assert found["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            [
                "(APIServer pid=7) WARNING 11-29 12:12:50 [system_utils.py:255] like `OSError: [Errno 24] Too many`.",
                "(EngineCore pid=8) ERROR 11-29 12:14:17 [core.py:1750] ValueError: No available memory for the cache",
                "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above.",
            ],
            "ValueError: No available memory for the cache",
        ),
        (
            ["usage: vllm serve", "vllm serve: error: unrecognized arguments: --nope", ""],
            "vllm serve: error: unrecognized arguments: --nope",
        ),
        (["(APIServer pid=7) INFO 11-29 12:12:50 [model.py:733] Resolved architecture", ""], "Resolved architecture"),
        ([], "its log is empty"),
    ],
    ids=["cause", "arguments", "last line", "nothing"],
)
def test_the_cause_is_found_in_the_log(log: list[str], cause: str) -> None:
    assert failure(log) == cause


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no program 'no-such-vllm' that starts vLLM: set vllm_command"):
        VllmServer.start(BASE, ApiConfig(mode="vllm", vllm_command="no-such-vllm"), tmp_path / "log")


def test_what_a_server_says_that_does_not_start_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\necho '(EngineCore pid=8) ValueError: no room' >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(StackError, match=r"vLLM did not start: ValueError: no room \(all of it in .*/log\)"):
        VllmServer.start(BASE, ApiConfig(mode="vllm", vllm_command="./vllm"), Path("store/vllm/log"))


def kept(log: Path, program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(KEEPER), str(log), sys.executable, "-c", program], stdin=subprocess.PIPE
    )


def test_a_program_ends_with_its_owner(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = kept(log, f"import os; print(os.getpid(), flush=True)\n{WAITS}")
    pid = int(said(log).split()[0])
    assert process.stdin is not None
    process.stdin.close()  # as the kernel does it for an owner that was killed
    assert process.wait(30) != 0
    assert not is_alive(pid)


def test_what_a_program_leaves_behind_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    leaves = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {WAITS!r}]).pid); sys.exit(7)"
    assert kept(log, leaves).wait(30) == 7
    left = int(said(log).split()[0])
    while is_alive(left):
        time.sleep(0.01)


def said(log: Path) -> str:
    while not log.exists() or "\n" not in log.read_text():
        time.sleep(0.01)
    return log.read_text()


def is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
