"""What a person sees of a model's text, the words in it, its key, and how its tokens look."""

import hashlib
import re
import unicodedata

from claas.core.thinking import told_apart


def visible(text: str) -> str:
    """The text without the thinking at its front, stripped. Idempotent."""
    return told_apart(text).answer.strip()


def visible_key(text: str) -> str:
    """sha256 (hex) of the visible text with white space folded: equal for texts that read the same."""
    return hashlib.sha256(" ".join(visible(text).split()).encode()).hexdigest()


_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text in order, lower-cased; `don't` and `well-known` are one word each."""
    return _WORD.findall(text.lower())


def folded(text: str) -> str:
    """A key that texts of the same wording share; a text without words is its own key."""
    return " ".join(words(text)) or text.strip()


def same_wording(one: str, other: str) -> bool:
    """Whether two texts differ in case, white space and punctuation only; texts without words are told apart."""
    return folded(one) == folded(other)


def says_back(text: str, prompt: str) -> bool:
    """Whether a text is the wording of the prompt, once or several times over, and nothing else."""
    said, asked = words(text), words(prompt)
    if not said or not asked:
        return same_wording(text, prompt)
    return said == asked * (len(said) // len(asked))


def mentions(text: str, phrase: str) -> int:
    """How often a phrase occurs as whole words, ignoring case."""
    pattern = r"\s+".join(re.escape(part) for part in phrase.split())
    return len(re.findall(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)) if pattern else 0


_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"})
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a symbol that are drawn as nothing: Hangul fillers and the Braille blank."""


def is_blank(text: str) -> bool:
    """Whether nothing can be seen of a text: it is empty, or all white space, controls and invisible characters."""
    return all(character in _FILLERS or unicodedata.category(character) in _UNSEEN for character in text)


def quoted(text: str, at_most: int = 80) -> str:
    """The text's beginning between quotes, for messages."""
    return repr(text if len(text) <= at_most else f"{text[:at_most]}…")


PART_OF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What stands in the text of a token that is only a part of a character."""

_SPECIAL = re.compile(r"<[^<>\s]{1,64}>|\[[^\[\]\s]{1,64}\]")


def looks_special(token: str) -> bool:
    """Whether a token looks like those that no text shows, such as `<|im_end|>`: one word in brackets.

    White space around it does not matter, and none is inside: what no text shows is no place for a text.
    """
    return _SPECIAL.fullmatch(token.strip()) is not None
