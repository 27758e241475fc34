"""`python keeper.py LOG PROGRAM [ARGUMENT ...]`: runs a program until it ends, or until this one's standard input does.

The pipe closes whatever becomes of who holds its other end, SIGKILL included, so that no server outlives its owner. The
program has a session of its own; what is left of that when it has ended is killed. Nothing of this package is imported.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

_GRACE_S = 20.0


def main() -> int:
    """The exit status of the program."""
    log, *command = sys.argv[1:]
    with open(log, "ab") as output:
        program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    threading.Thread(target=_end_with_owner, args=(program,), daemon=True).start()
    status = program.wait()
    _kill_session(program.pid)
    return status


def _end_with_owner(program: subprocess.Popen[bytes]) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    program.terminate()
    try:
        program.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _kill_session(program.pid)


def _kill_session(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
