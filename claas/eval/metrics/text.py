"""Sentences and list items as a reader counts them."""

import re
from functools import lru_cache
from typing import Any

import pysbd  # pyright: ignore[reportMissingTypeStubs]

from claas.core.text import words

_FENCED = re.compile(r"(```|~~~).*?(?:\1|\Z)", re.DOTALL)
_ITEM = re.compile(r"(?:[-*+•·‣◦–—]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s+")
_NUMBERED = re.compile(r"\(?\d{1,3}[.)]\s+")
_CODE = re.compile(r"`[^`\n]+`")
_ENDS_IN_CODE = re.compile(r"[.!?…](?!\w)")
_MARKUP = re.compile(r"[*`|]+|__|^[#>\s]+")
_REPEATED_END = re.compile(r"([!?])[!?]+")
_UNSPACED_END = re.compile(r"((?:(?<=\s)|^)[^\W\d_']*[a-z][.!?])(?=[A-Z][a-z]+\s)")
_LEADING_ABBREVIATION = re.compile(r"\b(approx|ca|cf|esp|excl|incl|resp|viz)\.(?=\s)", re.IGNORECASE)
"""Abbreviations that always lead on to something, and that pysbd does not know."""
_LINK = re.compile(r"(?:https?://|www\.)\S*[\w/]")
_ENDS = re.compile(r"[.!?…。！？]")

_segmenter: Any = pysbd.Segmenter(language="en", clean=False)  # pysbd ships no types


@lru_cache(maxsize=8192)
def count_sentences(text: str) -> int:
    """Sentences by pysbd, which knows abbreviations, decimals, URLs and ellipses.

    A list item, a heading and a line that does not go on from the one before count as at least one each; so does a
    fenced code block, whatever is in it. What holds no word (a rule, an emoji) counts as none.
    """
    blocks = sum(1 for block in _FENCED.finditer(text) if words(block.group()))
    return blocks + sum(_sentences_of(unit) for unit in _units(_FENCED.sub("\n\n", text)))


def numbered_items(text: str) -> list[str]:
    """The text of every numbered list item, one per line, without its number."""
    lines = (line.strip().lstrip("*# ") for line in text.splitlines())
    return [_NUMBERED.sub("", line, count=1) for line in lines if _NUMBERED.match(line)]


def _units(text: str) -> list[str]:
    """Items, headings and paragraphs; a line that starts in lower case goes on from the line before it."""
    units: list[str] = []
    goes_on = False
    for raw in text.replace("•", "\n• ").splitlines():
        line = raw.strip()
        item = _ITEM.match(line)
        if line and goes_on and line[0].islower() and not item:
            units[-1] += " " + line
        elif line:
            units.append(line[item.end() :] if item else line)
        goes_on = bool(line)
    return units


def _sentences_of(unit: str) -> int:
    text = _CODE.sub(lambda code: _ENDS_IN_CODE.sub("", code.group()), unit).replace("…", "...")
    plain = _REPEATED_END.sub(r"\1", _MARKUP.sub("", _LINK.sub("link", text)).strip())
    plain = _LEADING_ABBREVIATION.sub(r"\1", _UNSPACED_END.sub(r"\1 ", plain))
    if not words(plain):
        return 0
    if not _ENDS.search(plain.rstrip(".!?…。！？\"')”’ ")):
        return 1
    return max(1, sum(1 for sentence in _segmenter.segment(plain) if words(sentence)))
