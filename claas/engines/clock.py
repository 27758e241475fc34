"""How long the parts of an operation take."""

import time
from collections.abc import Generator
from contextlib import contextmanager


class Clock:
    """Milliseconds of wall time, by the name of the part."""

    def __init__(self) -> None:
        self.timing_ms: dict[str, float] = {}

    @contextmanager
    def timing(self, part: str) -> Generator[None]:
        """Record how long the block takes, also when it raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timing_ms[part] = (time.perf_counter() - start) * 1e3
