"""What others write to the terminal while a display redraws itself there: whole lines above it, none torn or lost.

Python's own writers are not all that write: libraries in C and Rust, subprocesses and log handlers that were made
before hold the terminal's file descriptors. So these lead to a file for as long as the display lasts, and what arrives
there is printed above it.
"""

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import IO, Any

from rich.console import Console, ConsoleDimensions
from rich.text import Text

from claas.results.progress import printable

_EVERY_S = 0.2
_LONGEST = 64 * 1024
"""Bytes of a line without an end after which it is shown as it is."""


class OwnTerminal(Console):
    """A console on a terminal's file descriptor, whatever becomes of the standard ones; as wide as the terminal."""

    @Console.size.getter
    def size(self) -> ConsoleDimensions:
        """Columns and rows; COLUMNS and LINES say otherwise where they are set."""
        if "COLUMNS" not in os.environ:
            with suppress(OSError, ValueError):
                return ConsoleDimensions(*os.get_terminal_size(self.file.fileno()))
        return super().size


@contextmanager
def own_terminal(descriptor: int = 2, **settings: Any) -> Generator[Console]:
    """A console on the terminal that a standard descriptor leads to now. `settings` are of `Console`."""
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as own:
        yield OwnTerminal(file=own, **settings)


class StrayLines:
    """What this process writes to standard output and standard error, where those are terminals, printed on a console.

    From `start` to `stop`, which may be asked for again and again.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._written: IO[bytes] | None = None
        self._saved: dict[int, int] = {}
        self._ended = Event()
        self._thread: Thread | None = None
        self._read = 0
        self._rest = b""

    def start(self) -> None:
        """Take the descriptors."""
        _flush()
        self._written = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._saved = {each: os.dup(each) for each in (1, 2) if os.isatty(each)}
        for each in self._saved:
            os.dup2(self._written.fileno(), each)
        self._thread = Thread(target=self._follow, daemon=True, name="claas-stray-lines")
        self._thread.start()

    def stop(self) -> None:
        """Give the descriptors back, and print what is left."""
        if self._written is None or self._thread is None:
            return
        _flush()
        for each, original in self._saved.items():
            os.dup2(original, each)
            os.close(original)
        self._saved = {}
        self._ended.set()
        self._thread.join()
        self._show()
        if self._rest:
            self._print(self._rest)
        self._written.close()
        self._written = None

    def _follow(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._show()

    def _show(self) -> None:
        """Print what has come since the last time; half a line waits for its end."""
        assert self._written is not None, "it is open for as long as the thread runs"
        while found := os.pread(self._written.fileno(), _LONGEST, self._read):
            self._read += len(found)
            *lines, self._rest = (self._rest + found).split(b"\n")
            for line in lines:
                self._print(line)
            if len(self._rest) > _LONGEST:
                self._print(self._rest)
                self._rest = b""

    def _print(self, line: bytes) -> None:
        """One line as it would stand there in the end: a progress bar in its last state, no text in control."""
        shown = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", errors="replace")
        plain = printable(Text.from_ansi(shown).plain).rstrip()
        self._console.print(Text(plain), soft_wrap=True)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
