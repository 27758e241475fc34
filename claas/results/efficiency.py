"""What learning costs the one who teaches: interactions until a preference holds, and until a changed mind is followed.

An interaction is an answer that feedback was given on. One crossing decides nothing, since a curve may swing back: a
level counts as reached at the first measurement from which it holds for `IN_A_ROW` in a row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from claas.results.keys import Role, with_role
from claas.results.records import SAMPLED, History, Record

AT = 0.8
"""Held-out compliance that counts as learned."""

IN_A_ROW = 3


class Reached(Record):
    """How many interactions it took, of those that were `made`; null and `censored` where it did not happen in them.

    `updates` says the same in updates.
    """

    interactions: float | None
    updates: float | None
    censored: bool
    made: int


class Efficiency(Record):
    """In the units of a user.

    `to_criterion`: until held-out compliance stays at `AT` or above. `effort`: feedback texts given until then, or in
    all where that never was: fewer than interactions where the user speaks only when the preference is violated.
    `flip_half_life`: from the moment a user changes their mind until compliance with the
    first wish stays below half of what it was then; None where nobody changes theirs, or had nothing to lose.
    """

    to_criterion: Reached
    effort: int
    flip_half_life: Reached | None = None


@dataclass(frozen=True)
class Flip:
    """Compliance with both wishes of a user who changes their mind, by interactions, on the same answers.

    They do so after `at` interactions; from `half_gone` on compliance with the first stays below half of what it was,
    None where that is not so, or nothing was learned.
    """

    first: Mapping[float, float]
    opposite: Mapping[float, float]
    at: float
    half_gone: float | None


def flip_of(history: History, flips_at: int | None) -> Flip | None:
    """That of one track; None where its user does not change their mind, or nothing shows it."""
    first, opposite = (with_role(history.keys, role) for role in (Role.FIRST_WISH, Role.LEARNED))
    efficiency = efficiency_of(history, flips_at)
    if flips_at is None or first is None or opposite is None or efficiency is None:
        return None
    interactions, half = _interactions(history), efficiency.flip_half_life
    at = interactions(float(flips_at))
    return Flip(
        *(
            {
                interactions(float(updates)): value
                for updates, value in history.curve(key.key).items()
                if value is not None
            }
            for key in (first, opposite)
        ),
        at=at,
        half_gone=None if half is None or half.interactions is None else at + half.interactions,
    )


def efficiency_of(history: History, flips_at: int | None = None) -> Efficiency | None:
    """That of one track, whose user changes their mind after `flips_at` updates; None where nothing shows it."""
    roles = (Role.FIRST_WISH, Role.LEARNED, Role.TRAINED_ON)
    key = next((found for role in roles if (found := with_role(history.keys, role))), None)
    curve = {} if key is None else history.curve(key.key)
    known = {updates: value for updates, value in curve.items() if value is not None}
    if not known or not history.steps:
        return None
    interactions = _interactions(history)
    learning = {updates: value for updates, value in known.items() if flips_at is None or updates <= flips_at}
    until = _held_from(learning, lambda value: value >= AT)
    made = interactions(float(max(learning, default=0)))
    return Efficiency(
        to_criterion=Reached(
            interactions=None if until is None else interactions(until),
            updates=until,
            censored=until is None,
            made=round(made),
        ),
        effort=sum(len(step.responses) for step in history.steps[: max(learning) if until is None else until]),
        flip_half_life=None if flips_at is None else _half_life(known, flips_at, interactions),
    )


def in_user_units(efficiency: Efficiency) -> str:
    """It in a sentence."""
    learned, half = efficiency.to_criterion, efficiency.flip_half_life
    after = _counted(learned)
    never = f"compliance is not at {AT:g} or above for {IN_A_ROW} measurements in a row in {after}"
    said = never if learned.censored else f"compliance stays at {AT:g} or above after {after}"
    if half is None:
        return said
    return f"{said}; half of it is {'not yet gone' if half.censored else 'gone'} {_counted(half)} after the flip"


def _counted(reached: Reached) -> str:
    made = reached.made if reached.interactions is None else round(reached.interactions)
    interactions = f"{made} interaction{'' if made == 1 else 's'}"
    return interactions if reached.updates is None else f"{interactions} ({reached.updates:.3g} updates)"


def _half_life(curve: Mapping[int, float], flips_at: int, interactions: Callable[[float], float]) -> Reached | None:
    """Where the curve falls through half of its value at the flip, between two measurements on a straight line.

    None where that value is not known, or no higher than before anything was said: nothing was learned.
    """
    if curve.get(flips_at, 0.0) <= curve.get(0, 0.0):
        return None
    after = {updates: value for updates, value in curve.items() if updates >= flips_at}
    half = after[flips_at] / 2
    made = interactions(float(max(curve))) - interactions(float(flips_at))
    first = _held_from(after, lambda value: value < half)
    if first is None:
        return Reached(interactions=None, updates=None, censored=True, made=round(made))
    before, at = next(pair for pair in pairwise(sorted(after)) if pair[1] == first)
    crossing = before + (after[before] - half) / (after[before] - after[at]) * (at - before)
    return Reached(
        interactions=interactions(crossing) - interactions(float(flips_at)),
        updates=crossing - flips_at,
        censored=False,
        made=round(made),
    )


def _held_from(curve: Mapping[int, float], holds: Callable[[float], bool]) -> int | None:
    """The first measurement from which it holds for `IN_A_ROW` of them; None where that never is."""
    updates = sorted(curve)
    for place, first in enumerate(updates[: len(updates) - IN_A_ROW + 1]):
        if all(holds(curve[each]) for each in updates[place : place + IN_A_ROW]):
            return first
    return None


def _interactions(history: History) -> Callable[[float], float]:
    """Answers with feedback after so many updates, a part of an update counting as that part of its answers."""
    answers = [step.counts[SAMPLED].scored if SAMPLED in step.counts else 0 for step in history.steps]

    def after(updates: float) -> float:
        whole = int(updates)
        part = (updates - whole) * answers[whole] if whole < len(answers) else 0.0
        return sum(answers[:whole]) + part

    return after
