"""Runs model-written Python in a process of its own, which can compute and return JSON values and little else.

What holds, by whom it is enforced:

- The interpreter: isolated mode, empty environment, empty working directory, nothing on stdin, a bounded reply.
- The kernel, on every POSIX system: limits on CPU time, memory and open files; nothing can be written into a file; no
  process or thread can be started (root, whom that limit spares, becomes `nobody` first); the whole session is killed
  after the wall time. Where memory cannot be limited (macOS), time alone bounds it.
- The kernel, where Linux lets this user make namespaces: no network, no look into other processes.
- The kernel, where Linux has Landlock (5.13): no file but the standard library's and the system libraries', and none to
  write. A newer one refuses TCP and signals to other processes, too (6.7, 6.12).
- The kernel, where Linux has seccomp on x86_64 or aarch64: no sockets, signals, tracing, shared memory, changes of a
  file's mode or dates, and whatever else `refused_syscalls` lists.
- An audit hook in the interpreter, everywhere: no sockets, processes, signals, foreign functions, and no files outside
  the standard library. It stops ordinary code; code written to break out of Python passes it, and meets the kernel.

What is left to code that passes the hook: with all of the above, to see that a file exists (not what is in it), to read
the standard and system libraries, and whatever a bug in the kernel gives away. Without Landlock it can read what this
user can (what anybody can, where this user is root); without namespaces and seccomp, as on macOS, it can also use the
network. For hostile code there, run the whole harness inside a container.

The expected values of `run_cases` never enter the process, so that code can only pass by computing them. The program
of `run_program` holds its own tests: no verdict of it is safe from code that looks for a way to make one."""

import asyncio
import json
import os
import platform
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

from claas.core.errors import ClaasError


class SandboxError(ClaasError):
    """The process could not be started, or confined: this says nothing about the code."""


@dataclass(frozen=True)
class Case:
    """One call: its arguments, and the JSON value it should return."""

    arguments: tuple[Any, ...]
    returns: Any


@dataclass(frozen=True)
class Limits:
    """`cpu_s` bounds computing, `wall_s` also waiting; `memory_bytes` bounds the address space."""

    cpu_s: float = 1.0
    wall_s: float = 10.0
    memory_bytes: int = 512 * 1024 * 1024


@dataclass(frozen=True)
class CodeResult:
    """`ok` says for each case whether the call returned what it should; `error` why nothing could be called."""

    ok: tuple[bool, ...]
    docstring: bool
    error: str | None


_DEFAULT = Limits()
_OF_A_PROGRAM = Limits(cpu_s=3.0, wall_s=15.0, memory_bytes=1024 * 1024 * 1024)
_MOST_KEPT = 1024
_results: dict[tuple[tuple[str, ...], str, str, Limits], CodeResult] = {}


async def run_cases(
    source: str, entry: str, cases: Sequence[Case], limits: Limits = _DEFAULT, before: Sequence[str] = ()
) -> CodeResult:
    """Run `source` and call `entry` once per case. The same question is answered from memory the second time.

    `before` runs first, as the cells of a notebook do: each goes on with the names of the last, and where one fails,
    the next runs all the same.
    """
    expected = json.dumps([[case.arguments, case.returns] for case in cases])
    cells = (*before, source)
    key = (cells, entry, expected, limits)
    if key not in _results:
        result, repeatable = await _judge(cells, entry, cases, limits)
        if not repeatable:
            return result
        if len(_results) >= _MOST_KEPT:
            _results.pop(next(iter(_results)))
        _results[key] = result
    return _results[key]


async def run_program(source: str, limits: Limits = _OF_A_PROGRAM) -> str | None:
    """Run a program that tests itself; None where it ran to its end, else why it did not, in a line.

    That is an exception (`AssertionError`, `SyntaxError: ...`), `out of time`, or how the process ended.
    """
    token = secrets.token_hex(8)
    ended = await _run({"cells": [source], "entry": None, "calls": [], "token": token}, limits)
    told = [line[token] for line in ended.lines() if token in line]
    if told:
        return _in_a_line(told[0]) or None
    if len(ended.said) >= _MOST_BYTES:
        return "wrote too much"
    if ended.exit_code is None or -ended.exit_code in (signal.SIGPROF, signal.SIGXCPU, signal.SIGKILL):
        return "out of time"
    return f"crashed: exit code {ended.exit_code}"


async def confinement() -> Mapping[str, bool]:
    """Whether the kernel holds such a process: keeps it from the `network`, `files`, and `syscalls` of no use to it."""
    return (await _run({"cells": [], "entry": None, "calls": [], "token": ""}, _DEFAULT)).granted


_MOST_BYTES = 64 * 1024


async def _judge(cells: Sequence[str], entry: str, cases: Sequence[Case], limits: Limits) -> tuple[CodeResult, bool]:
    """The result, and whether it would be the same again (running out of wall time depends on the machine)."""
    job = {"cells": cells, "entry": entry, "calls": [case.arguments for case in cases]}
    if len(json.dumps(job)) > _MOST_BYTES:
        return CodeResult((False,) * len(cases), False, f"longer than {_MOST_BYTES} bytes"), True
    ended = await _run(job, limits)
    return _read(ended.lines(), cases), ended.exit_code is not None or len(ended.said) >= _MOST_BYTES


_CHILD = Path(__file__).with_name("sandbox_child.py")
_START_S = 60.0


@dataclass(frozen=True)
class _Ended:
    """What the kernel granted, what the process said then, and its exit code; None where it had to be stopped."""

    granted: Mapping[str, bool]
    said: bytes
    exit_code: int | None

    def lines(self) -> list[dict[str, Any]]:
        """What was said; none of it can be trusted to be well formed."""
        return [value for line in self.said.splitlines() if (value := _parsed(line)) is not None]


async def _run(job: Mapping[str, Any], limits: Limits) -> _Ended:
    """Start the process, and give it `wall_s` from when it is confined."""
    whole = {
        **job,
        "cpu_s": limits.cpu_s,
        "memory_bytes": limits.memory_bytes,
        "refused_syscalls": refused_syscalls(),
    }
    with tempfile.TemporaryDirectory(prefix="sandbox-") as empty:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-B", str(_CHILD)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=empty,
                env={},
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"cannot start the sandbox process: {error}") from error
        said, exit_code = bytearray(), None
        try:
            granted = await _confined(process, json.dumps(whole).encode())
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.wall_s):
                    exit_code = await _heard(process, said)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return _Ended(granted, bytes(said), exit_code)


async def _confined(process: asyncio.subprocess.Process, job: bytes) -> dict[str, bool]:
    """Send the job, and wait for the first line, which is ours: the code runs after it."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    granted = None
    with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        async with asyncio.timeout(_START_S):
            stdin.write(job)
            await stdin.drain()
            stdin.close()
            granted = _parsed(await stdout.readline())
    if granted is None:
        raise SandboxError("the sandbox process ended, or hung, before it had confined itself")
    return granted


async def _heard(process: asyncio.subprocess.Process, said: bytearray) -> int | None:
    """Read into `said` until the process ends; its exit code, None where it has said too much."""
    assert process.stdout is not None
    while len(said) < _MOST_BYTES and (chunk := await process.stdout.read(_MOST_BYTES)):
        said += chunk[: _MOST_BYTES - len(said)]
    return await process.wait() if len(said) < _MOST_BYTES else None


def _read(lines: Sequence[dict[str, Any]], cases: Sequence[Case]) -> CodeResult:
    """The verdict on what was said."""
    first = lines[0] if lines else {"error": "used up its time or memory, or crashed"}
    returned = {
        line["call"]: line["returned"] for line in lines if isinstance(line.get("call"), int) and "returned" in line
    }
    ok = tuple(index in returned and _same(returned[index], case.returns) for index, case in enumerate(cases))
    error = first.get("error")
    return CodeResult(ok, first.get("docstring") is True, None if error is None else _in_a_line(error))


def _in_a_line(told: object) -> str:
    """What an error says, which may be of any length and hold what is no text."""
    return " ".join(str(told).encode(errors="backslashreplace").decode().split())[:300]


def _parsed(line: bytes) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        value: object = json.loads(line)
        return cast(dict[str, Any], value) if isinstance(value, dict) else None
    return None


_NOTHING = object()


def _same(got: object, wanted: object) -> bool:
    """Equality of JSON values: 1 and 0 will do for true and false, and 2 for 2.0, but not the other way round."""
    if isinstance(wanted, bool):
        return isinstance(got, int) and got == wanted
    if isinstance(wanted, int):
        return type(got) is int and got == wanted
    if isinstance(got, bool):
        return False
    if isinstance(got, list) and isinstance(wanted, list):
        pairs = zip_longest(cast(list[Any], got), cast(list[Any], wanted), fillvalue=_NOTHING)
        return all(_same(one, other) for one, other in pairs)
    return bool(got == wanted)


_FIRST_UNKNOWN = 446
"""Calls from here on are newer than this list, and look to the code like those of an older kernel: not there."""

_NUMBERS = {  # of x86_64 and aarch64; None where a machine has no such call
    # talk to others
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    # start others, or leave the group that is killed in the end
    "clone": (56, 220), "clone3": (435, 435), "fork": (57, None), "vfork": (58, None), "execve": (59, 221),
    "execveat": (322, 281), "setsid": (112, 157), "setpgid": (109, 154),
    # disturb others, or look into them
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "prlimit64": (302, 261), "setpriority": (141, 140),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "perf_event_open": (298, 241),
    # keep memory that no limit counts, or that outlives the process
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "io_uring_setup": (425, 425), "bpf": (321, 280), "userfaultfd": (323, 282), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    # change what a file is, without opening it
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    # get at files in other ways than by their path
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsmount": (432, 432), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265),
}  # fmt: skip

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column above, and what the kernel calls the machine (AUDIT_ARCH_*)."""


def refused_syscalls() -> dict[str, Any] | None:
    """What the sandboxed process refuses itself; None on a machine or system that is not in the list."""
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        return None
    column, machine = _MACHINES[platform.machine()]
    numbers = [number for both in _NUMBERS.values() if (number := both[column]) is not None]
    return {"machine": machine, "first_unknown": _FIRST_UNKNOWN, "numbers": numbers}
