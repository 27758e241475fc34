"""Which styles a user asks for, and the words in which the wish is put."""

from random import Random

from claas.tiny.corpus import banks, lexicon
from claas.tiny.corpus.spin import spin

Styles = dict[str, str]
"""Style name to its parameter ("" where it has none)."""


def draw(rng: Random) -> Styles:
    """One style, sometimes two or three that can be combined."""
    specs = banks.styles()
    names, weights = list(specs), [spec.weight for spec in specs.values()]
    wanted = rng.choices([1, 2, 3], [82, 15, 3])[0]
    styles: Styles = {}
    for name in rng.choices(names, weights, k=8):
        if len(styles) < wanted and name not in styles and not specs[name].excludes & styles.keys():
            styles[name] = _parameter(specs[name].parameter, rng)
    return styles


def feedback(styles: Styles, rng: Random) -> str:
    """The wish as a user would write it; sometimes repeated, one copy a line, as a harness may send it."""
    parts = [_phrased(name, parameter, rng) for name, parameter in styles.items()]
    rng.shuffle(parts)
    if len(parts) > 1:
        parts = [part if part.endswith((".", "!", "?", "'", '"')) else part + "." for part in parts]
    text = rng.choice([" ", " ", "\n"]).join(parts)
    return "\n".join([text] * rng.choice([2, 3, 4])) if rng.random() < 0.08 else text


def _phrased(name: str, parameter: str, rng: Random) -> str:
    while True:
        text = _dressed(spin(_phrasing(name, rng), rng, **_slots(name, parameter)), parameter, rng)
        if not _held_out(text.replace(parameter, "Kuro") if parameter else text):
            return text


def _held_out(text: str) -> bool:
    """Whether this wish is a held-out one, or contains one of three or more words."""
    flat = banks.normalize(text)
    return any(
        held == flat or (len(held.split()) > 2 and f" {held} " in f" {flat} ") for held in banks.held_out().feedback
    )


def _phrasing(name: str, rng: Random) -> str:
    """The first phrasing is the one a shipped preference may use: it is drawn a little more often."""
    phrasings = banks.styles()[name].phrasings
    return phrasings[0] if rng.random() < 0.06 else rng.choice(phrasings)


def _dressed(text: str, parameter: str, rng: Random) -> str:
    """Some wishes get an introduction, or lose their full stop or their capitals."""
    if rng.random() < 0.2:
        prefix = rng.choice(banks.prefixes())
        keeps_capital = text.startswith("I") or (parameter != "" and text.startswith(parameter))
        text = prefix + (text if keeps_capital or not prefix.endswith(", ") else text[:1].lower() + text[1:])
    draw = rng.random()
    if draw < 0.15:
        return text.rstrip(".!")
    return text.lower() if draw < 0.2 and not parameter else text


def _parameter(kind: str, rng: Random) -> str:
    if kind == "name":
        return lexicon.name(rng)
    if kind == "phrase":
        return lexicon.phrase(rng)
    return lexicon.word(rng) if kind == "word" else ""


def _slots(name: str, parameter: str) -> dict[str, str]:
    kind = banks.styles()[name].parameter
    return {kind: parameter} if kind else {}
