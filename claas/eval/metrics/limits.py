"""`limit`: fewer items per measurement, drawn by seed and kept in order, so that every step has the same ones."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from claas.eval.metrics.metric import seed_for
from claas.eval.metrics.preference import OutOfScope, Preference

T = TypeVar("T")


def limited(preference: Preference, limit: Mapping[str, int], seed: int) -> Preference:
    """The preference with at most as many held-out prompts, out-of-scope prompts and pairs as `limit` allows.

    Probe prompts are what is trained on, so all of them stay.
    """
    if not limit:
        return preference
    name, asked = preference.name, preference.out_of_scope
    return replace(
        preference,
        heldout_prompts=drawn(preference.heldout_prompts, "heldout", limit, seed, name),
        logprob_pairs=drawn(preference.logprob_pairs, "pairs", limit, seed, name),
        out_of_scope=asked and OutOfScope(drawn(asked.prompts, "out_of_scope", limit, seed, name), asked.verifier),
    )


def drawn(items: Sequence[T], kind: str, limit: Mapping[str, int], seed: int, name: str = "") -> tuple[T, ...]:
    """At most as many of these as `limit` says of their kind, in their order; `name` is what the draw depends on."""
    most = limit.get(kind, len(items))
    if most >= len(items):
        return tuple(items)
    chosen = random.Random(seed_for(seed, name, None, "limit", kind)).sample(range(len(items)), most)
    return tuple(items[place] for place in sorted(chosen))
