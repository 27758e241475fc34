"""The program inside the sandbox: gives up its rights, then runs a model's code. Standard library only.

Started by `sandbox.py` with the job on stdin. It answers on stdout in JSON lines: one for the definition, then one for
every call that returned. What the calls should return is never told to this process.
"""

import ctypes
import importlib
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_NOBODY = 65534
_NEW_USER_IPC_AND_NET = 0x10000000 | 0x08000000 | 0x40000000
_REFUSED = (
    *("socket.", "subprocess.", "ctypes.", "shutil.", "mmap.", "pty.", "syslog.", "signal.pthread_kill", "os.kill"),
    *("os.fork", "os.exec", "os.spawn", "os.posix_spawn", "os.system", "os.putenv", "os.chdir", "os.fwalk", "os.walk"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.utime", "os.ch"),
    *("os.setxattr", "os.removexattr", "gc.", "sys.setprofile", "sys.settrace"),
)
"""Audit events, by how they start, that no answer to a coding question needs."""


def main() -> None:
    """Read the job, confine this process for good, run the code."""
    job = json.loads(sys.stdin.buffer.read())
    reply = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.environ.clear()  # the interpreter itself may have set a locale
    give_up_root(job["source"])
    leave_the_network()
    set_limits(job["cpu_s"], job["memory_bytes"])
    refuse_events()
    run(job["source"], job["entry"], job["calls"], lambda line: os.write(reply, line))
    os._exit(0)


def run(source: str, entry: str, calls: list[list[Any]], say: Callable[[bytes], int]) -> None:
    """Define `entry` by running the source, then call it once per list of arguments."""
    names: dict[str, Any] = {"__name__": "answer"}
    error = "stopped while being defined"
    with suppress(BaseException):
        try:
            exec(compile(source, "<answer>", "exec"), names)
        finally:
            failure = sys.exc_info()[1]
            error = f"{type(failure).__name__}: {failure}"[:200] if failure else ""
    function = names.get(entry)
    if not callable(function):
        say(_line({"error": error or f"defines no function {entry!r}"}))
        return
    say(_line({"docstring": bool((getattr(function, "__doc__", None) or "").strip())}))
    for index, arguments in enumerate(calls):
        with suppress(BaseException):
            say(_line({"call": index, "returned": function(*arguments)}))


def give_up_root(source: str) -> None:
    """Root becomes nobody. Nobody may lack access to the standard library, so what the source names comes first."""
    if os.geteuid() != 0:
        return
    for line in source.splitlines():
        keyword, _, rest = line.strip().partition(" ")
        for part in rest.split(",") if keyword in ("import", "from") else ():
            name = part.strip().partition(" ")[0].partition(".")[0]
            if name in sys.stdlib_module_names and name != "antigravity":
                with suppress(ImportError):
                    importlib.import_module(name)
    with suppress(OSError):
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def leave_the_network() -> None:
    """Enter a network without interfaces, and a user namespace from which no other process can be inspected."""
    unshare: Any = getattr(ctypes.CDLL(None), "unshare", None)
    if unshare is not None:
        unshare(_NEW_USER_IPC_AND_NET)


def set_limits(cpu_s: float, memory_bytes: int) -> None:
    """Hard limits, which an unprivileged process cannot raise again: no new process, no thread, no byte to a file.

    The kernel counts CPU time in whole seconds; the timer ends ordinary code to the fraction.
    """
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    limits = {"CPU": math.ceil(cpu_s), "AS": memory_bytes, "FSIZE": 0, "NOFILE": 32, "CORE": 0, "NPROC": 0}
    for name, value in limits.items():
        with suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def refuse_events() -> None:
    """Refuse what no coding answer needs, files outside the standard library among it, before it happens."""
    library = tuple(os.path.join(os.path.realpath(path), "") for path in sys.path)
    realpath, fsdecode, never = os.path.realpath, os.fsdecode, _REFUSED

    def judge(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            refused = writes or isinstance(path, int) or not realpath(fsdecode(path)).startswith(library)
        else:
            refused = event.startswith(never)
        if refused:
            raise PermissionError(f"the sandbox refuses {event}")

    sys.addaudithook(judge)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"


if __name__ == "__main__":
    main()
