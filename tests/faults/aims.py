"""When to strike a run: at any moment, or at one that its files give away."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.faults.on_disk import OnDisk

_LOOKS_EVERY_S = 0.0005


@dataclass(frozen=True)
class Aim:
    """Strike at most `within_s` after one more of something has come: of nothing, after the process has begun."""

    name: str
    one_more: Callable[[OnDisk], int] | None
    within_s: float
    tears: str | None = None  # the file whose last line was being written at that moment

    def await_moment(self, disk: OnDisk, random: Random, ended: Callable[[], bool]) -> bool:
        """Wait for the moment to strike; False when what is to be struck has ended before."""
        if self.one_more is not None:
            before = self.one_more(disk)
            while self.one_more(disk) == before:
                if ended():
                    return False
                time.sleep(_LOOKS_EVERY_S)
        moment = time.monotonic() + random.uniform(0, self.within_s)
        while time.monotonic() < moment and not ended():
            time.sleep(_LOOKS_EVERY_S)
        return not ended()


def aims(whole_run_s: float) -> list[Aim]:
    """Aims that between them reach every stage of a run that takes `whole_run_s`, start included."""
    return [
        Aim("at any moment", None, whole_run_s),
        Aim("while it samples", OnDisk.receipts, 0.2),
        Aim("during an update", OnDisk.intents, 0.2),
        Aim("between an update and its receipt", OnDisk.updates, 0.0),
        Aim("while a step is written", OnDisk.steps, 0.0, tears="steps.jsonl"),
    ]
