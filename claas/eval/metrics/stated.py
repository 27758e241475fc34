"""Whether an answer states a word or a number as its answer, rather than in passing."""

import unicodedata
from dataclasses import dataclass
from fractions import Fraction

import regex

from claas.core.text import UNSPACED, plain, words
from claas.eval.metrics.claims import MOST_MENTIONS, Span, claims, denied, sentence_after, sentence_before


def states(answer: str, wanted: str, prompt: str = "") -> bool:
    """Whether the answer gives `wanted`: not denied, not one of several candidates, and not only spoken of.

    Accents may be missing or added where `wanted` has none. A proper name takes no article: a lima bean is not Lima.
    """
    text = _without_accents(plain(answer)) if wanted.isascii() else plain(answer)
    named = [span for span in claims(text, wanted) if not _is_common_noun(text, span, wanted)]
    asked = set(words(prompt)) - _FUNCTION_WORDS
    return any(
        not _one_of_many(text, span, wanted, asked) and not (wanted[0].isupper() and _is_talk(text, span, asked))
        for span in named
    )


def states_number(answer: str, wanted: int, prompt: str = "") -> bool:
    """Whether the number that the answer gives is `wanted`.

    That is the first that is neither denied nor an operand nor the prompt's own, ones aside. Where the prompt counts
    ("How many legs has a spider?") it is the first beside what is counted, and of the same thing where some are.
    """
    text = plain(answer)
    given = {1, *(number.value for number in _numbers(prompt))} - {wanted}
    results = [
        number
        for number in _numbers(text)[:MOST_MENTIONS]
        if number.value not in given and not denied(text, number.span) and not _is_operand(text, number.span)
    ]
    counted = _COUNTED.search(prompt)
    if counted is not None:
        asked = set(words(prompt)) - _FUNCTION_WORDS - {counted.group("unit").casefold()}
        units = [number for number in results if _is_followed_by(text, number.span, counted.group("unit"))]
        same = [number for number in results if _says_any(text, number.span, asked)]
        results = [number for number in units if number in same] or same or units or results
    return bool(results) and results[0].value == wanted and not _has_alternative(text, results[0].span)


@dataclass(frozen=True)
class _Numeral:
    """A number in a text, and where it stands."""

    value: Fraction | int
    span: Span


_DIGITS = regex.compile(
    rf"(?<![[\p{{L}}--[{UNSPACED}]]\p{{N}}_.,/:])"
    r"(?P<minus>[-−–](?=\p{Nd}))?(?P<digits>\p{Nd}{1,40}(?:[.,'’]\p{Nd}{1,40}){0,12})(?:\s?/\s?(?P<under>\p{Nd}{1,40}))?"
    r"(?![\p{Nd}_/%]|[.,:'’]\p{Nd}|(?:st|nd|rd|th)\b)",
    regex.VERSION1,
)
_GROUPED = regex.compile(r"\p{Nd}{1,3}(?:[,'’]\p{Nd}{3})+(?:\.\p{Nd}+)?|\p{Nd}{1,3}(?:\.\p{Nd}{3}){2,}(?:,\p{Nd}+)?")
_ONES: dict[str, int] = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_WORDS = _ONES | _TENS | {"dozen": 12, "hundred": 100, "thousand": 1000}
_IN_WORDS = regex.compile(
    rf"(?<![\p{{L}}\p{{N}}_])(?:(?P<tens>{'|'.join(_TENS)})(?:[-\s](?P<ones>{'|'.join(_ONES)}))?|(?P<word>{'|'.join(_WORDS)}))"
    r"(?![\p{L}\p{N}_])(?P<more>\s+(?:hundred|thousand|million)\b)?",
    regex.IGNORECASE,
)


def number_in_words(text: str) -> int | None:
    """The whole number that the text is, in digits or in English; None when it is none."""
    if text.isdecimal():
        return int(text)
    found = _IN_WORDS.fullmatch(text)
    return None if found is None or found.group("more") else _in_words(found)


def _in_words(found: "regex.Match[str]") -> int:
    if found.group("tens") is None:
        return _WORDS[found.group("word").lower()]
    ones = found.group("ones")
    return _TENS[found.group("tens").lower()] + (0 if ones is None else _ONES[ones.lower()])


def _numbers(text: str) -> list[_Numeral]:
    """Every number of a text in order, in digits or in English words."""
    written = [_Numeral(_value(found), found.span()) for found in _DIGITS.finditer(text)]
    for found in _IN_WORDS.finditer(text):
        more = (found.group("more") or "").strip().lower()
        written.append(_Numeral(_in_words(found) * _FACTORS.get(more, 1), found.span()))
    return sorted(written, key=lambda number: number.span)


_FACTORS = {"hundred": 100, "thousand": 1000, "million": 10**6}


def _value(found: "regex.Match[str]") -> Fraction:
    digits = found.group("digits")
    if _GROUPED.fullmatch(digits):
        decimal = "," if digits.count(".") > 1 else "."
        digits = "".join(sign for sign in digits if sign.isdecimal() or sign == decimal)
    whole, _, rest = digits.replace(",", ".").partition(".")
    rest = "".join(sign for sign in rest if sign.isdecimal())
    value = Fraction(int(whole + rest), 10 ** len(rest)) / (int(found.group("under") or 1) or 1)
    return -value if found.group("minus") else value


_COUNTED = regex.compile(r"how many (?P<unit>\p{L}+)", regex.IGNORECASE)
_OPERATOR = r"(?:[+×÷]|\s\*\s|(?<=\p{N})\*(?=\p{N})|[-−]\s|\b(?:plus|minus|times|added to)\b)"
_BEFORE_OPERAND = regex.compile(rf"{_OPERATOR}\s*$", regex.IGNORECASE)
_AFTER_OPERAND = regex.compile(
    rf"^\s*(?:{_OPERATOR}|pairs?\b|and\s+\p{{N}}+\s*(?:=|is|are|make|makes|equal|equals|give|gives)\b)",
    regex.IGNORECASE,
)
_ALTERNATIVE = regex.compile(r"^\s*(?:or|to|-|–)\s*(?=\p{N}|\p{L}+\b)", regex.IGNORECASE)


def _is_followed_by(text: str, span: Span, unit: str) -> bool:
    stem = unit.casefold().removesuffix("s")
    return regex.match(rf"[-\s]*(?:\p{{L}}+\s+)?{regex.escape(stem)}", text[span[1] :].casefold()[:60]) is not None


def _is_operand(text: str, span: Span) -> bool:
    before, after = text[max(0, span[0] - 20) : span[0]], text[span[1] : span[1] + 40]
    return _AFTER_OPERAND.search(after) is not None or _BEFORE_OPERAND.search(before) is not None


def _has_alternative(text: str, span: Span) -> bool:
    """Whether "or" and another number follows."""
    after = text[span[1] : span[1] + 40]
    joined = _ALTERNATIVE.match(after)
    return joined is not None and next((number.span[0] == 0 for number in _numbers(after[joined.end() :])), False)


_FUNCTION_WORDS = frozenset(
    words("what what's which how many is are the in of a an name tell me give does do have has s")
)
_NO_CANDIDATES = frozenset(
    words("yes no sure well ok okay hello hi hey certainly absolutely great good right correct answer oh ah hmm thanks")
) | frozenset(words("easy in today now here it's that's and or"))
_ITEM = r"\p{L}[\p{L}\p{M}'’-]*"
_COMMA = r"\s*(?:[,、，/;|]|\b(?:and|or)\b)\s*(?:(?:and|or)\s+)?"
_STOP = r"(?:[.?!]\s+|\s*\n[-*•\d.)\s]*)"
_LISTS = (
    regex.compile(rf"{_ITEM}(?:{_COMMA}{_ITEM})+(?!\s+\p{{L}})"),
    regex.compile(rf"(?<!\p{{L}} ){_ITEM}(?:{_STOP}{_ITEM})+(?!\s+\p{{L}})"),
)
_LED = regex.compile(r"\p{L}\s+$")
_COMPARED = regex.compile(r"\b(?:near|than)\s+$", regex.IGNORECASE)
_PREDICATE = regex.compile(r"[\"'”’»*_]*\s+(?:is|was|are|were|has|had|lies)\b", regex.IGNORECASE)


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFD", text)
    return "".join(sign for sign in parts if unicodedata.category(sign) != "Mn")


def _is_common_noun(text: str, span: Span, wanted: str) -> bool:
    """Whether a proper name stands in lower case after an article."""
    article = regex.search(r"\ban?\s+$", text[max(0, span[0] - 5) : span[0]], regex.IGNORECASE)
    return wanted[0].isupper() and text[span[0]].islower() and article is not None


def _one_of_many(text: str, span: Span, wanted: str, asked: set[str]) -> bool:
    """Whether the mention is one of several candidates: of four, of three that it does not lead, of an either-or.

    Or the second of the two that are the whole answer. What is not a name may lead a list of things that are all so.
    """
    for listed in (found for pattern in _LISTS for found in pattern.finditer(text)):
        if listed.start() <= span[0] and span[1] <= listed.end():
            items = [item for item in dict.fromkeys(words(listed.group())) if item not in _NO_CANDIDATES | asked]
            first = items[:1] == words(wanted)[:1]
            if len(items) == 2:
                either, whole = " or " in listed.group(), listed.group() == text.strip(" .!\n")
                return (either and wanted[0].isupper()) or ((either or whole) and not first)
            led = wanted.islower() and _LED.search(text[: listed.start()]) is not None
            return len(items) > 2 and not (first and (led or len(items) == 3))
    return False


def _is_talk(text: str, span: Span, asked: set[str]) -> bool:
    """Whether something is only said about the mention, after something else: it is near, "... Tokyo is larger"."""
    before, after = text[: span[0]], sentence_after(text, span)
    if _COMPARED.search(before):
        return True
    is_subject = _PREDICATE.match(after) is not None and not set(words(before)) <= asked | _NO_CANDIDATES
    return is_subject and not asked & set(words(after)) and not _says_any(text, span, asked)


def _says_any(text: str, span: Span, asked: set[str]) -> bool:
    """Whether the clause of the mention says any of these words, be it in the plural."""
    clause = sentence_before(text, span).rpartition(",")[2] + sentence_after(text, span).partition(",")[0]
    return any({word, word.removesuffix("s")} & asked for word in words(clause))
