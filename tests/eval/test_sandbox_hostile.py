"""Hostile programs against the sandbox, with its interpreter's refusal and without: nothing may have changed."""

import asyncio
import json
import os
import platform
import resource
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from claas.eval.metrics import sandbox_child
from claas.eval.metrics.sandbox import Case, Limits, refused_syscalls, run_cases, run_program
from tests.eval.hostile_programs import ALWAYS, HARMFUL, HOSTILE, hostile_source

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the means are Linux's")

HASTY = Limits(cpu_s=0.2, wall_s=30.0)
NOBODY = 65534


@dataclass
class World:
    """What hostile code would like to reach: a folder open to all, sockets that listen, and this process."""

    place: Path
    listening: dict[str, socket.socket] = field(default_factory=dict[str, socket.socket])
    names: dict[str, object] = field(default_factory=dict[str, object])

    def state(self) -> dict[str, object]:
        """Everything that must be the same afterwards."""
        secret = (self.place / "secret").stat()
        me = psutil.Process()
        return {
            "files": sorted(path.name for path in self.place.iterdir()),
            "secret": (self.place / "secret").read_text(),
            "mode": stat.filemode(secret.st_mode),
            "dated": secret.st_mtime,
            "reached": self.reached(),
            "children": [child.pid for child in me.children()],
            "niceness": me.nice(),
            "limits": [resource.getrlimit(limit) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)],
            "segments": Path("/proc/sysvipc/shm").read_text(),
            "working folder": sorted(os.listdir(".")),
        }

    def reached(self) -> list[str]:
        """The sockets at which somebody has called."""
        return [name for name, each in self.listening.items() if select.select([each], [], [], 0)[0]]


@pytest.fixture
def world() -> Generator[World, None, None]:
    """The folder is not one of pytest's, which are closed to others."""
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="hostile-"))
        stack.callback(shutil.rmtree, place)
        found = World(place)
        (place / "secret").write_text("secret")
        for path, mode in ((place, 0o777), (place / "secret", 0o666)):
            path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(place / "secret", NOBODY, NOBODY)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        abstract = f"\0{place.name}"
        for name, address in (("a file", str(place / "listening")), ("a name", abstract)):
            unix = stack.enter_context(socket.socket(socket.AF_UNIX))
            unix.bind(address)
            unix.listen()
            found.listening[name] = unix
        (place / "listening").chmod(0o777)
        found.listening |= {"TCP": tcp, "UDP": udp}
        found.names = {
            "PLACE": str(place),
            "HOME": str(Path.home()),
            "TCP": tcp.getsockname()[1],
            "UDP": udp.getsockname()[1],
            "ABSTRACT": abstract,
            "MACHINE": platform.machine(),
        }
        yield found


def test_every_hostile_program_is_refused_and_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAAS_API_KEY", "secret")
    before, cases = world.state(), [Case((name,), "refused") for name in HOSTILE]
    with (world.place / "secret").open() as inherited:
        os.set_inheritable(inherited.fileno(), True)
        result = asyncio.run(run_cases(hostile_source(world.names), "f", cases))
        program = f"{hostile_source(world.names)}\nassert {{f(name) for name in PROGRAMS}} == {{'refused'}}"
        assert asyncio.run(run_program(program)) is None
    assert [name for name, ok in zip(HOSTILE, result.ok, strict=True) if not ok] == []
    assert world.state() == before


PAST_THE_HOOK = """
import json, os, sys
sys.path.insert(0, {folder!r})
import sandbox_child
sys.path.pop(0)
job = json.loads(sys.stdin.buffer.read())
reply = os.dup(1)
sandbox_child.refuse_syscalls(job["kernel_lacks"])
granted = sandbox_child.confine(job) if job["confined"] else {{}}
os.write(reply, json.dumps(granted).encode() + b"\\n")
sandbox_child.run(job["cells"], job["entry"], job["calls"], lambda line: os.write(reply, line))
os._exit(0)
"""


def run_past_the_hook(
    source: str, calls: list[list[object]], confined: bool = True, **settings: object
) -> list[dict[str, Any]]:
    """What the program says when nothing in the interpreter refuses anything: first what the kernel has granted."""
    script = PAST_THE_HOOK.format(folder=str(Path(sandbox_child.__file__).parent))
    job = {
        "cells": [source],
        "entry": "f",
        "calls": calls,
        "cpu_s": 5.0,
        "confined": confined,
        "memory_bytes": 1 << 29,
        "refused_syscalls": refused_syscalls(),
        "kernel_lacks": None,
        **settings,
    }
    with tempfile.TemporaryDirectory() as empty:
        os.chmod(empty, 0o777)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", script],
            input=json.dumps(job).encode(), capture_output=True, cwd=empty, env={}, start_new_session=True, timeout=60,
        )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_kernel_refuses_what_gets_past_the_interpreter(world: World) -> None:
    before = world.state()
    granted, _, *said = run_past_the_hook(hostile_source(world.names), [[name] for name in HOSTILE])
    returned = {line["call"]: line["returned"] for line in said}
    assert set(returned) == set(range(len(HOSTILE))), "a program ended the process"
    held = {ALWAYS, *(means for means, given in granted.items() if given)}
    harmed = [name for i, (name, (by, _)) in enumerate(HOSTILE.items()) if by in held and returned[i] != "refused"]
    assert harmed == []
    if set(granted.values()) == {True}:
        assert world.state() == before


def test_without_confinement_the_same_programs_do_harm(world: World) -> None:
    said = run_past_the_hook(hostile_source(world.names), [[name] for name in HARMFUL], confined=False)
    refused = [HARMFUL[line["call"]] for line in said[2:] if line["returned"] != "harmed"]
    assert len(said) == 2 + len(HARMFUL)
    assert refused == []
    assert {path.name for path in world.place.iterdir()} == {"listening", "made", "folder", "pipe"}
    assert set(world.reached()) >= {"TCP", "UDP", "a name"}


DEAF = """
import os, signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
"""
ENDLESS = {
    "computes with every signal ignored": f"{DEAF}while True: pass",
    "catches whatever is raised": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "forks for ever": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "starts threads for ever": (
        "import threading\nwhile True:\n    try: threading.Thread(target=print).start()\n    except RuntimeError: pass"
    ),
    "takes ever more memory": "kept = []\nwhile True:\n    try: kept.append('x' * 10**6)\n    except MemoryError: pass",
    "says ever more": (
        "import os\nwhile True:\n    for fd in range(20):\n        try: os.write(fd, b'x' * 10**6)\n"
        "        except OSError: pass"
    ),
    "takes for ever in one step": "9 ** 9 ** 9",
}


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_ended(body: str) -> None:
    started, children = time.monotonic(), psutil.Process().children()
    result = asyncio.run(run_cases(f"{body}\ndef f(n): return n", "f", [Case((1,), 1)], HASTY))
    assert result.ok == (False,)
    assert asyncio.run(run_program(body, HASTY)) in ("out of time", "wrote too much")
    assert time.monotonic() - started < 15
    assert psutil.Process().children() == children


def test_what_waits_with_every_signal_ignored_is_ended() -> None:
    source = f"{DEAF}import time\ntime.sleep(60)\ndef f(n): return n"
    started = time.monotonic()
    assert asyncio.run(run_cases(source, "f", [Case((1,), 1)], Limits(wall_s=0.5))).ok == (False,)
    assert time.monotonic() - started < 10


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86_64")
def test_what_a_kernel_lacks_is_told_and_the_rest_still_holds(world: World) -> None:
    unshare_and_landlock = {"machine": 0xC000003E, "first_unknown": 1 << 30, "numbers": [272, 444, 445, 446]}
    always = [name for name, (by, _) in HOSTILE.items() if by == ALWAYS]
    names = [*always, "reads a file", "opens a socket at all"]
    granted, _, *said = run_past_the_hook(
        hostile_source(world.names),
        [[name] for name in names],
        refused_syscalls=None,
        kernel_lacks=unshare_and_landlock,
    )
    assert granted == {"network": False, "files": False, "syscalls": False}
    outcome = {names[line["call"]]: line["returned"] for line in said}
    assert [name for name in always if outcome[name] != "refused"] == []
    assert outcome["reads a file"] == outcome["opens a socket at all"] == "harmed"
