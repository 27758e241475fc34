"""Spintax: `{a|b}` is a choice, choices nest, and `<slot>` stays until `fill` replaces it."""

from functools import cache
from random import Random

Sequence_ = tuple["str | Choice", ...]


class Choice(tuple[Sequence_, ...]):
    """The alternatives of one pair of braces."""

    __slots__ = ()


def spin(template: str, rng: Random, **slots: str) -> str:
    """One wording of the template, with its slots filled."""
    return fill(_write(_parse(template), rng), **slots)


def fill(text: str, **slots: str) -> str:
    """The text with each `<slot>` replaced."""
    for slot, value in slots.items():
        text = text.replace(f"<{slot}>", value)
    return text


def _write(sequence: Sequence_, rng: Random) -> str:
    return "".join(
        part if isinstance(part, str) else _write(part[int(rng.random() * len(part))], rng) for part in sequence
    )


@cache
def _parse(template: str) -> Sequence_:
    sequence, end = _parse_sequence(template, 0)
    if end != len(template):
        raise ValueError(f"unbalanced braces in {template!r}")
    return sequence


def _parse_sequence(template: str, at: int) -> tuple[Sequence_, int]:
    """Reads up to the `|` or `}` that ends this alternative."""
    parts: list[str | Choice] = []
    literal = ""
    while at < len(template) and template[at] not in "|}":
        if template[at] == "{":
            parts.append(literal)
            choice, at = _parse_choice(template, at + 1)
            parts.append(choice)
            literal = ""
        else:
            literal += template[at]
            at += 1
    return tuple(part for part in [*parts, literal] if part != ""), at


def _parse_choice(template: str, at: int) -> tuple[Choice, int]:
    alternatives: list[Sequence_] = []
    while True:
        sequence, at = _parse_sequence(template, at)
        alternatives.append(sequence)
        if at >= len(template):
            raise ValueError(f"unbalanced braces in {template!r}")
        if template[at] == "}":
            return Choice(alternatives), at + 1
        at += 1
