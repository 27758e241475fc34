"""Texts as their words: what is left when case, white space and punctuation do not matter."""

import re

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text in order, lower-cased; `don't` and `well-known` are one word each."""
    return _WORD.findall(text.lower())


def same_wording(one: str, other: str) -> bool:
    """Whether two texts differ in case, white space and punctuation only; texts without words are told apart."""
    return folded(one) == folded(other)


def says_back(text: str, prompt: str) -> bool:
    """Whether a text is the wording of the prompt, once or several times over, and nothing else."""
    said, asked = words(text), words(prompt)
    if not said or not asked:
        return same_wording(text, prompt)
    return said == asked * (len(said) // len(asked))


def folded(text: str) -> str:
    """A key that texts of the same wording share; a text without words is its own key."""
    return " ".join(words(text)) or text.strip()


def mentions(text: str, phrase: str) -> int:
    """How often a phrase occurs as whole words, ignoring case."""
    pattern = r"\s+".join(re.escape(part) for part in phrase.split())
    return len(re.findall(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)) if pattern else 0
