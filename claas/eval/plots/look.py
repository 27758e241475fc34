"""What tells one curve from another: colour, marker and dashes, the same in every picture and on every page."""

from dataclasses import dataclass

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's, which stay apart for colour-blind readers; the markers say the same in grey."""

MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")

DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Look:
    """One of `COLOURS`, `MARKERS` and `DASHES`, by their places."""

    colour: int
    marker: int
    dash: int


def look(index: int) -> Look:
    """Of the curve at this place in the order: colours first, then dashes, then colours with other markers.

    The first 196 differ from each other.
    """
    rounds, colour = divmod(index, len(COLOURS))
    turns, dash = divmod(rounds, len(DASHES))
    return Look(colour, (colour + turns) % len(MARKERS), dash)
