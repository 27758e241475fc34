"""Every random choice of a run from its one seed, so that a resumed run makes the same ones."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def seed_for(run_seed: int, preference: str, step: int | None, purpose: str, item: str) -> int:
    """A 63-bit seed that depends on all its arguments and on nothing else. `step` None is the baseline."""
    name = f"{run_seed}\x1f{preference}\x1f{'baseline' if step is None else step}\x1f{purpose}\x1f{item}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def dealt(items: Sequence[T], place: int, run_seed: int, preference: str, purpose: str) -> T:
    """What comes at `place`: every item once, in a seeded order, before any comes again in another order."""
    cycle, index = divmod(place, len(items))
    order = list(items)
    random.Random(seed_for(run_seed, preference, None, purpose, str(cycle))).shuffle(order)
    return order[index]
