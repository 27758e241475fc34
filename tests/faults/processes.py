"""Real processes that begin at once: each is forked from one that has imported everything, and can be killed."""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

KILLED = -9
"""The exit code of a process that SIGKILL ended."""

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    [
        "claas.eval.config.compose",
        "claas.eval.reporters.console",
        "claas.eval.runner",
        "claas.api.server",
        "claas.engines.local.engine",
    ]
)


def start(module: str, arguments: Sequence[str], log: Path) -> BaseProcess:
    """`python -m module *arguments` in the working directory; `log` takes what it says. `kill()` is SIGKILL."""
    process = _FORKED.Process(target=_run, args=(module, list(arguments), str(log), os.getcwd()), daemon=True)
    process.start()
    return process


def _run(module: str, arguments: list[str], log: str, directory: str) -> None:
    os.chdir(directory)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
