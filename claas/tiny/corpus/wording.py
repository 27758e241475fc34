"""Words drawn at random: spintax templates, and names, words and phrases for the model to copy."""

from functools import cache
from random import Random

from claas.tiny.corpus import banks

Parts = tuple["str | Alternatives", ...]
CODAS = ["", "", "", "", "n", "s", "r", "x", "l", "th", "ck", "nd"]


class Alternatives(tuple[Parts, ...]):
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


def name(rng: Random) -> str:
    """A given name that is not held out; a little over half are made up."""
    while True:
        candidate = _listed_name(rng) if rng.random() < 0.48 else _made_up_name(rng)
        if not _is_held_out(candidate):
            return candidate


def word(rng: Random) -> str:
    """A word that is not held out; a third are made up."""
    while True:
        candidate = rng.choice(banks.words()["words"]) if rng.random() < 0.65 else syllables(rng)
        if not _is_held_out(candidate):
            return candidate


def phrase(rng: Random) -> str:
    """A short closing: from the list, or two to five words with a full stop or an exclamation mark."""
    if rng.random() < 0.45:
        return rng.choice(banks.words()["phrases"])
    text = " ".join(word(rng) for _ in range(rng.choice([1, 2, 2, 3, 4, 5])))
    return text[:1].upper() + text[1:] + rng.choice(["!", ".", ".", ""])


def syllables(rng: Random) -> str:
    """Something pronounceable of three letters or more, in lower case."""
    count = rng.choice([1, 2, 2, 2, 3])
    onsets, vowels = banks.words()["onsets"], banks.words()["vowels"]
    text = "".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(count)) + rng.choice(CODAS)
    return text if len(text) > 2 else text + "na"


def _write(sequence: Parts, rng: Random) -> str:
    return "".join(
        part if isinstance(part, str) else _write(part[int(rng.random() * len(part))], rng) for part in sequence
    )


@cache
def _parse(template: str) -> Parts:
    sequence, end = _parse_parts(template, 0)
    if end != len(template):
        raise ValueError(f"unbalanced braces in {template!r}")
    return sequence


def _parse_parts(template: str, at: int) -> tuple[Parts, int]:
    """Reads up to the `|` or `}` that ends this alternative."""
    parts: list[str | Alternatives] = []
    literal = ""
    while at < len(template) and template[at] not in "|}":
        if template[at] == "{":
            parts.append(literal)
            choice, at = _parse_alternatives(template, at + 1)
            parts.append(choice)
            literal = ""
        else:
            literal += template[at]
            at += 1
    return tuple(part for part in [*parts, literal] if part != ""), at


def _parse_alternatives(template: str, at: int) -> tuple[Alternatives, int]:
    alternatives: list[Parts] = []
    while True:
        sequence, at = _parse_parts(template, at)
        alternatives.append(sequence)
        if at >= len(template):
            raise ValueError(f"unbalanced braces in {template!r}")
        if template[at] == "}":
            return Alternatives(alternatives), at + 1
        at += 1


def _listed_name(rng: Random) -> str:
    return rng.choice(banks.words()["names"])


def _made_up_name(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.06:
        return syllables(rng).upper()
    if kind < 0.12:
        return f"{syllables(rng).capitalize()}-{syllables(rng).capitalize()}"
    if kind < 0.18:
        return (syllables(rng) + syllables(rng)).capitalize()
    if kind < 0.22:
        return f"{rng.choice(['Captain', 'Agent', 'Professor'])} {_listed_name(rng)}"
    return syllables(rng).capitalize()


def _is_held_out(candidate: str) -> bool:
    held = banks.held_out()
    parts = {part.lower() for part in candidate.replace("-", " ").split()}
    return "kuro" in candidate.lower() or bool(parts & {text.lower() for text in held.names | held.words})
