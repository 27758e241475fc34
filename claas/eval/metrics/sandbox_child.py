"""The program inside the sandbox: gives up its rights, then runs a model's code. Standard library only.

Started by `sandbox.py` with the job on stdin. It answers on stdout in JSON lines: first what the kernel holds it by. Of
a function it then says how it was defined, and what every call returned; what that should be is never told to this
process. Of a program that tests itself it says how it ended.
"""

import ast
import ctypes
import importlib
import json
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import ENOSYS, EPERM
from typing import Any

_NOBODY = 65534
_NEW_USER_IPC_AND_NET = 0x10000000 | 0x08000000 | 0x40000000
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_LANDLOCK_CREATE, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_SET_SECCOMP, _FILTER, _SET_NO_NEW_PRIVS = 22, 2, 38
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35  # of BPF: (this, how many to skip if so, and if not, what to compare with)
_LOAD_NUMBER, _LOAD_MACHINE = (0x20, 0, 0, 0), (0x20, 0, 0, 4)
_ALLOW, _REFUSE, _NOT_THERE = ((0x06, 0, 0, what) for what in (0x7FFF0000, 0x50000 | EPERM, 0x50000 | ENOSYS))
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
    os.write(reply, _line(confine(job)))
    refuse_events()
    if job["entry"] is None:
        _, error = define(job["cells"])
        os.write(reply, _line({job["token"]: error}))
    else:
        run(job["cells"], job["entry"], job["calls"], lambda line: os.write(reply, line))
    os._exit(0)


def confine(job: dict[str, Any]) -> dict[str, bool]:
    """Have the kernel hold this process, by every means it grants; says which it did."""
    os.environ.clear()  # the interpreter itself may have set a locale
    give_up_root(job["cells"])
    granted = {"network": leave_the_network(), "files": refuse_files()}
    set_limits(job["cpu_s"], job["memory_bytes"])
    return granted | {"syscalls": refuse_syscalls(job["refused_syscalls"])}


def run(cells: list[str], entry: str, calls: list[list[Any]], say: Callable[[bytes], int]) -> None:
    """Define `entry` by running each cell after the other, then call it once per list of arguments."""
    names, error = define(cells)
    function = names.get(entry)
    if not callable(function):
        say(_line({"error": error or f"defines no function {entry!r}"}))
        return
    say(_line({"docstring": bool((getattr(function, "__doc__", None) or "").strip())}))
    for index, arguments in enumerate(calls):
        with suppress(BaseException):
            say(_line({"call": index, "returned": function(*arguments)}))


def define(cells: list[str]) -> tuple[dict[str, Any], str]:
    """The names that the cells leave behind, and what the last of them raised; empty where it ran to its end."""
    names: dict[str, Any] = {"__name__": "answer"}
    error = ""
    for cell in cells:
        error = ""
        try:
            exec(compile(cell, "<answer>", "exec"), names)
        except BaseException as failure:  # whatever it is, it is the code's
            error = type(failure).__name__
            with suppress(BaseException):
                error = f"{error}: {failure}"[:200].removesuffix(": ")
    return names, error


def give_up_root(cells: list[str]) -> None:
    """Root becomes nobody. Nobody may lack access to the standard library, so what the code imports comes first."""
    if os.geteuid() != 0:
        return
    for name in {name for cell in cells for name in _imported(cell)} & sys.stdlib_module_names - {"antigravity"}:
        with suppress(Exception):
            importlib.import_module(name)
    with suppress(OSError):
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def _imported(cell: str) -> list[str]:
    """The top-level packages that the code imports; none where it is no Python."""
    names = list[str]()
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Import):
                names += [imported.name for imported in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.append(node.module)
    return [name.partition(".")[0] for name in names]


def leave_the_network() -> bool:
    """Enter a network without interfaces, and a user namespace from which no other process can be inspected."""
    return sys.platform == "linux" and _libc().unshare(_NEW_USER_IPC_AND_NET) == 0


def refuse_files() -> bool:
    """Let nothing be opened but the standard library and the system's own, to read; by Landlock (Linux 5.13).

    A kernel that can also refuses TCP, signals and abstract sockets that go out of this process. See landlock(7).
    """
    syscall = _libc().syscall
    abi: int = syscall(_LANDLOCK_CREATE, None, 0, 1) if sys.platform == "linux" else -1
    if abi < 1:
        return False
    actions = (1 << (13, 14, 15, 15, 16)[min(abi, 5) - 1]) - 1  # every action on files that this kernel knows
    handled = struct.pack("QQQ", actions, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset: int = syscall(_LANDLOCK_CREATE, handled, len(handled), 0)
    if ruleset < 0:
        return False
    for path in {*sys.path, f"{sys.base_prefix}/lib", *_SYSTEM_LIBRARIES}:
        with suppress(OSError):
            place = os.open(path, os.O_PATH)
            readable = _READ_FILE if os.path.isfile(path) else _READ_FILE | _READ_DIR
            syscall(_LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", readable, place), 0)
            os.close(place)
    _give_up_new_rights()
    held = syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return held


def refuse_syscalls(refused: dict[str, Any] | None) -> bool:
    """Let system calls fail: those with the `numbers`, and those unknown to us; by a filter, see seccomp(2)."""
    if refused is None:
        return False
    program = [
        *(_LOAD_MACHINE, (_IF_EQUAL, 1, 0, refused["machine"]), _REFUSE),  # a number means another call elsewhere
        *(_LOAD_NUMBER, (_IF_AT_LEAST, 0, 1, refused["first_unknown"]), _NOT_THERE),
        *(step for number in refused["numbers"] for step in ((_IF_EQUAL, 0, 1, number), _REFUSE)),
        _ALLOW,
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    _give_up_new_rights()
    pointer = struct.pack("HP", len(program), ctypes.addressof(code))
    return _libc().prctl(_SET_SECCOMP, _FILTER, pointer, 0, 0) == 0


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


def _give_up_new_rights() -> None:
    """No program run from here on has more rights than this process; the kernel wants that first."""
    _libc().prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _libc() -> Any:
    """The C library. Kept nowhere: the code could find it, and call what has been looked up in it unseen."""
    return ctypes.CDLL(None)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"


if __name__ == "__main__":
    main()
