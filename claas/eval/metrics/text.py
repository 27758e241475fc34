"""Sentences and list items as a reader counts them, in any script and any mark-up."""

import html
import unicodedata
from functools import lru_cache
from itertools import pairwise

import regex

from claas.core.text import UNSPACED, folded, plain, words
from claas.eval.metrics.full_stops import (
    ABBREVIATIONS,
    AFTER_ORDINALS,
    BEFORE_NAMES,
    BEFORE_NUMBERS,
    BEGINNINGS,
    CUT_SHORT,
    EXCLAIMED,
    GO_ON,
    MAY_END,
)

WORDS_PER_SENTENCE = 17
"""The length of an ordinary sentence."""
LONGEST_SENTENCE = 40
"""Words that a sentence may have before it counts as several ordinary ones."""


@lru_cache(maxsize=8192)
def count_sentences(text: str) -> int:
    """How many sentences a text has."""
    return len(sentences(text))


@lru_cache(maxsize=8192)
def length_in_sentences(text: str, different: bool = False) -> int:
    """How many (different) sentences a text is long: a run-on one counts as many as its words or clauses are worth."""
    found = sentences(text)
    return sum(map(_worth, {folded(sentence): sentence for sentence in found}.values() if different else found))


def sentences(text: str) -> list[str]:
    """The sentences of a text, in linear time.

    They end at the sentence-ending marks of every script (Unicode's `Sentence_Break`), but not after abbreviations,
    initials, ordinals or inside addresses and numbers. Those in quotes, in brackets and in prose that is set as code
    count, too. A list item, a heading and a line that does not go on from the one before are at least one each, and so
    is a block of code, whatever is in it. What holds no word (a rule, an emoji) is none.
    """
    found = list[str]()
    place = 0
    for block in _FENCED.finditer(text):
        found += _in_prose(text[place : block.start()])
        inside = block.group("inside")
        found += _in_prose(inside) if _is_prose(inside) else [inside] if words(inside) else []
        place = block.end()
    return found + _in_prose(text[place:])


def numbered_items(text: str) -> list[str]:
    """The text of every numbered list item, without its number; a number that was there before begins none."""
    lines = (line.strip().lstrip("*#>_- ") for line in _lines(text))
    numbered = [(found.group(1), line[found.end() :]) for line in lines if (found := _NUMBERED.match(line))]
    return list(dict(reversed(numbered)).values())[::-1]


_FENCED = regex.compile(r"(?P<fence>```|~~~)(?:[^\S\n]*[\w+-]*\n)?(?P<inside>.*?)(?:(?P=fence)|\Z)", regex.DOTALL)
_CODE = regex.compile(r"`[^`\n]+`")
_OF_CODE = regex.compile(r"[(){}\[\]=<>_;#/\\|*+@$]")


def _is_prose(code: str) -> bool:
    """Whether what is set as code is written for people: many words, few signs."""
    said = len(words(code))
    return said >= 8 and 6 * len(_OF_CODE.findall(code)) <= said


_BREAK = regex.compile(r"<(?:br|hr|/?(?:p|div|li|ul|ol|tr|table|h[1-6]))\b[^<>]{0,200}>", regex.IGNORECASE)
_TAG = regex.compile(r"</?[a-z][^<>\n]{0,200}>", regex.IGNORECASE)
_KEYCAP = regex.compile(r"(\d)\ufe0f?\u20e3")
_CIRCLED = regex.compile(r"[①-⑳❶-❿➀-➓]")
_BULLET = regex.compile(r"(?:^|(?<=\s))[•●▪◦‣○■◆►➤∙·](?=\s)", regex.MULTILINE)
_SIGN = regex.compile(r"(?:^|(?<=\s))[✓✔★☆▶◇□](?=\s)", regex.MULTILINE)
_NUMBER = regex.compile(r"(?<![^\s:;,.])\(?(?P<number>\d{1,3}|[a-z]|[ivx]{1,4})(?:\)\s*|[.:]\s+)(?=\S)")
_ITEM = regex.compile(r"(?:[-*+•●▪◦‣○■◆►➤∙·→➔⇒✓✔★☆▶◇□–—]|\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})[.):])\s+")
_GOES_ON = regex.compile(r"\(.*(?:[,;]|\b(?:and|or|und|oder|et|ou|y|o|e)\b)\s*")
_NUMBERED = regex.compile(r"\(?(\d{1,3})(?:[.):](?:\s+|(?=[^\s\d]))|\s[-–—]\s)")


def _lines(text: str) -> list[str]:
    """The lines as a page shows them; the items of a list within a line are lines of their own."""
    text = _CIRCLED.sub(lambda sign: f" {int(unicodedata.numeric(sign.group()))}. ", _KEYCAP.sub(r" \1. ", text))
    text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
    text = plain(_BULLET.sub("\n•", text))
    if len(_SIGN.findall(text)) > 2:
        text = _SIGN.sub("\n•", text)
    return [each for line in text.splitlines() for each in _items_apart(line)]


def _items_apart(line: str) -> list[str]:
    """A line cut before each number of a list that counts up from 1, a or i within it, not in "(1) this, (2) that"."""
    for first in ("1", "a", "i"):
        starts, wanted = list[int](), first
        for number in _NUMBER.finditer(line):
            if number.group("number") == wanted:
                starts.append(number.start())
                wanted = _next(wanted, first)
        pieces = [line[start:end] for start, end in pairwise([0, *starts, len(line)])]
        in_a_sentence = len(starts) < 4 and all(_GOES_ON.fullmatch(piece) for piece in pieces[1:-1])
        if len(starts) > 1 and not in_a_sentence:
            return pieces
    return [line]


def _next(number: str, first: str) -> str:
    if first == "1":
        return str(int(number) + 1)
    return _ROMAN[(_ROMAN.index(number) + 1) % len(_ROMAN)] if first == "i" else chr(ord(number) + 1)


_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")


def _in_prose(text: str) -> list[str]:
    """The sentences of every item, heading and paragraph; a line that starts in lower case goes on from the last."""
    units = list[list[str]]()
    goes_on = False
    for raw in _lines(text):
        line = raw.strip()
        item = _ITEM.match(line)
        if line and goes_on and line[0].islower() and not item:
            units[-1].append(line)
        elif line:
            units.append([line[item.end() :] if item else line])
        goes_on = bool(line)
    return [sentence for unit in units for sentence in _split(" ".join(unit))]


_LINK = regex.compile(r"(?:https?://|www\.)\S*[\w/]")
_MARKUP = regex.compile(r"[*`|~]+|(?<!\w)_+|_+(?!\w)|^[#>\s]+")
_END = r"[\p{Sentence_Break=STerm}\p{Sentence_Break=ATerm}]"
_CLOSERS = "\"'”’»›)]}」』》〉】）"
_OPENERS = "\"'“„‘‚«‹([{「『《〈【（¿¡-–—"
_QUESTION = regex.compile(r"(?<=\p{Greek}\p{M}*);|(?<=\p{Armenian}):(?=\s|$)|(?<=\p{Devanagari})\s?\|(?=\s|$)")
_FOOTNOTE = regex.compile(rf"(?<={_END})(?:\[\d+\])+")
_UNSPACED_END = regex.compile(
    rf"(?:(?<=[{UNSPACED}])\p{{Sentence_Break=STerm}}|。)++(?:[」』”’）)](?![とっのは、，]))*+(?=[{UNSPACED}\w])"
    rf"|(?<=\p{{Ll}}\p{{Ll}})[.!?](?=\p{{Lu}}\p{{Ll}}+\s)"
)
_RUN_TOGETHER = regex.compile(r"(?<=\s\p{Ll}{3,20})\.(?=\p{Ll}{3,20}\s)")


def _split(unit: str) -> list[str]:
    text = _CODE.sub(lambda code: code.group() if _is_prose(code.group()) else _without_ends(code.group()), unit)
    text = _FOOTNOTE.sub("", _QUESTION.sub("?", _MARKUP.sub("", _LINK.sub("link", text))))
    text = _UNSPACED_END.sub(r"\g<0> ", text)
    if len(_RUN_TOGETHER.findall(text)) > 3:
        text = _RUN_TOGETHER.sub(". ", text)
    found, sentence = list[str](), list[str]()
    tokens = text.split()
    for token, following in pairwise([*tokens, ""]):
        sentence.append(token)
        if not following or _ends(token, following):
            found.append(" ".join(sentence))
            sentence = []
    return [sentence for sentence in found if words(sentence)]


def _without_ends(code: str) -> str:
    return regex.sub(rf"{_END}(?!\w)", "", code)


_MARK = regex.compile(_END)


def _ends(token: str, following: str) -> bool:
    """Whether a sentence ends with this token, which the following one comes after."""
    closed = token.rstrip(_CLOSERS)
    length = len(closed)
    while length and _MARK.match(closed[length - 1]):
        length -= 1
    marks, word = closed[length:], closed[:length].lstrip(_OPENERS).casefold()
    if not marks:
        return False
    then = following.lstrip(_OPENERS)
    in_lower_case, quoted = then[:1].islower(), closed != token
    if in_lower_case and (quoted or (marks.startswith("..") and set(marks) == {"."})):
        return False
    if marks != ".":
        return not (in_lower_case and word in EXCLAIMED)
    return _full_stop_ends(word, then.rstrip(".,;:!?").casefold(), in_lower_case)


def _full_stop_ends(word: str, then: str, in_lower_case: bool) -> bool:
    """Whether a single full stop after this word ends a sentence, told by the word and by the one after."""
    begins = not in_lower_case and then.strip("'’").split("'")[0].split("’")[0] in BEGINNINGS
    if word in BEFORE_NAMES:
        return False
    if _INITIALS.fullmatch(word):
        return begins
    if word in BEFORE_NUMBERS and then[:1].isdigit():
        return False
    if in_lower_case and _CONSONANTS.fullmatch(word):
        return False
    if word in CUT_SHORT:
        return not in_lower_case or then not in GO_ON
    if word in ABBREVIATIONS:
        return begins or (word in MAY_END and not in_lower_case and not then[:1].isdigit())
    return not (word.isdecimal() and len(word) <= 2 and then in AFTER_ORDINALS)


_CONSONANTS = regex.compile(r"[bcdfghjklmnpqrstvwxz]+")
"""No word, but one cut short, as it is when what follows goes on in lower case."""
_INITIALS = regex.compile(r"\p{L}|(?:\p{L}{1,2}\.)+\p{L}{1,2}")


_JOINT = regex.compile(r";|:\s|\.{3}|—|\s[-–|/→]+\s")


def _worth(sentence: str) -> int:
    length = _length_in_words(sentence)
    by_words = 1 if length <= LONGEST_SENTENCE else int(length / WORDS_PER_SENTENCE)
    return max(1, by_words, len(_JOINT.findall(sentence)) // 2)


def _length_in_words(sentence: str) -> float:
    """Words as readers of its script would count them: a character of a script without spaces is a part of one."""
    said = words(sentence)
    thai_like = sum(1 for word in said if _COMPLEX.match(word))
    unspaced = sum(1 for word in said if _IDEOGRAPH.match(word))
    return len(said) - 3 * thai_like / 4 - unspaced / 2


_COMPLEX = regex.compile(r"\p{Line_Break=SA}")
_IDEOGRAPH = regex.compile(r"[\p{Han}\p{Hiragana}]")
