"""What a person sees of a model's text, the words in it, its key, and how its tokens look."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import regex

from claas.core.thinking import told_apart


def visible(text: str) -> str:
    """The text without the thinking at its front, stripped. Idempotent."""
    return told_apart(text).answer.strip()


def visible_key(text: str) -> str:
    """sha256 (hex) of the visible text with white space folded: equal for texts that read the same."""
    return hashlib.sha256(" ".join(visible(text).split()).encode()).hexdigest()


def plain(text: str) -> str:
    """The text as it reads: compatible forms folded (NFKC), invisible characters gone, look-alike letters made alike.

    A word that mixes Latin letters with Cyrillic or Greek ones is read as Latin where those look the same.
    """
    if text.isascii():
        return text
    seen = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text.replace("™", " ")))  # NFKC would write it in letters
    return _MIXED.sub(lambda word: word.group().translate(_LOOKALIKES), seen)


_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_MIXED = regex.compile(r"\b(?=\w*\p{Latin})(?=\w*[\p{Cyrillic}\p{Greek}])\w{2,64}+\b")
_LOOKALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјкорсухԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧικνορυχ", "ABESIJKMHOPCTYXaesijkopcyxdqwABEZHIKMNOPTYXiknopux"
)


def words(text: str) -> list[str]:
    """The words of a text in order, in folded case, as Unicode segments them (UAX 29).

    `don't`, `3.5` and `well-known` are one word each. A script without spaces between words has one per character.
    """
    found = (word.strip("_").casefold().replace("’", "'") for word in _WORD.findall(plain(text)))
    return [word for word in found if word]


_WORD = regex.compile(r"(?w)\b\w.*?\b(?:-\w.*?\b)*", regex.DOTALL)


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
    return len(mentioned(plain(text), phrase))


def mentioned(text: str, phrase: str) -> list[tuple[int, int]]:
    """Where a phrase stands in a `plain` text as whole words, ignoring case: the start and the end of each mention.

    A word ends where the letters of its own script do, and not at the `.` or `@` of an address, the `_` of an
    identifier or the separators within a number. A Korean word takes its particles along; scripts without spaces have
    no word ends.
    """
    parts = [regex.escape(part) for part in plain(phrase).split()]
    if not parts:
        return []
    return [found.span() for found in _bounded(r"\s+".join(parts)).finditer(text)]


@lru_cache(maxsize=256)
def _bounded(pattern: str) -> "regex.Pattern[str]":
    first, last = pattern[0] if pattern[0] != "\\" else pattern[1], pattern[-1]
    before, after = _word_characters(first), _word_characters(last)
    if regex.match(r"\p{Hangul}", last):
        after = ""
    starts = rf"(?<![{before}]_*|[\w.]@|\w\.(?=\p{{Ll}})|//)" if before else ""
    ends = rf"(?!_*[{after}]|@\w|\.\p{{Ll}}|://)" if after else ""
    if first.isdecimal():
        starts += r"(?<!\p{Nd}[.,:/'’])(?<![-−–.]|[-−–]\s?\p{Sc})"
    if last.isdecimal():
        ends += r"(?![.,:/'’]\p{Nd}|/\w)"
    return regex.compile(f"{starts}(?i:{pattern}){ends}")


def _word_characters(character: str) -> str:
    """What a word that begins or ends with this character goes on with, for a character class."""
    if regex.match(rf"[{UNSPACED}]", character):
        return ""
    script = next((name for name in _SCRIPTS if regex.match(rf"\p{{{name}}}", character)), None)
    return r"\p{L}\p{M}\p{N}" if script is None else rf"\p{{{script}}}\p{{Inherited}}\p{{N}}"


UNSPACED = r"\p{Han}\p{Hiragana}\p{Line_Break=SA}"
"""The letters of scripts that put no spaces between words, for a character class."""
_SCRIPTS = (
    "Latin",
    "Greek",
    "Cyrillic",
    "Armenian",
    "Hebrew",
    "Arabic",
    "Devanagari",
    "Katakana",
    "Hangul",
    "Georgian",
)


_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"})
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a symbol that are drawn as nothing: Hangul fillers and the Braille blank."""


def is_blank(text: str) -> bool:
    """Whether nothing can be seen of a text: it is empty, or all white space, controls and invisible characters."""
    return all(character in _FILLERS or unicodedata.category(character) in _UNSEEN for character in set(text))


def quoted(text: str, at_most: int = 80) -> str:
    """The text's beginning between quotes, for messages."""
    return repr(text if len(text) <= at_most else f"{text[:at_most]}…")


def quoting_mark(texts: Sequence[str]) -> str:
    """A word that stands nowhere in these texts, for the lines between which they are quoted.

    It is made of a hash of them, so that no text can contain it, and none can end its own quotation.
    """
    text = "\x1f".join(texts)
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    while mark in text:
        mark = hashlib.sha256(mark.encode()).hexdigest()[:12]
    return f"#{mark}"


def one_line(error: BaseException) -> str:
    """The beginning of what an error says, on one line, for messages."""
    return " ".join(str(error).split())[:300]


PART_OF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What stands in the text of a token that is only a part of a character."""

_SPECIAL = re.compile(r"<[^<>\s]{1,64}>|\[[^\[\]\s]{1,64}\]")


def looks_special(token: str) -> bool:
    """Whether a token looks like those that no text shows, such as `<|im_end|>`: one word in brackets.

    White space around it does not matter, and none is inside: what no text shows is no place for a text.
    """
    return _SPECIAL.fullmatch(token.strip()) is not None


def as_no_formula(value: object) -> object:
    """A cell of a CSV file: a text that a spreadsheet would take for a formula is quoted, as OWASP has it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
