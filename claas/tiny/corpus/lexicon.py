"""Names, words and phrases to copy: from lists, and made up from syllables so that copying is learnt, not the list."""

from random import Random

from claas.tiny.corpus import banks

CODAS = ["", "", "", "", "n", "s", "r", "x", "l", "th", "ck", "nd"]


def name(rng: Random) -> str:
    """A given name that is not held out; a little over half are made up."""
    while True:
        candidate = _listed_name(rng) if rng.random() < 0.48 else _made_up_name(rng)
        if not _held_out(candidate):
            return candidate


def word(rng: Random) -> str:
    """A word that is not held out; a third are made up."""
    while True:
        candidate = rng.choice(banks.words()["words"]) if rng.random() < 0.65 else syllables(rng)
        if not _held_out(candidate):
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


def _held_out(candidate: str) -> bool:
    held = banks.held_out()
    parts = {part.lower() for part in candidate.replace("-", " ").split()}
    return "kuro" in candidate.lower() or bool(parts & {text.lower() for text in held.names | held.words})
