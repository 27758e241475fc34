"""Emoji as a person sees them."""

import html
from functools import lru_cache
from typing import Any

import emoji
import regex


@lru_cache(maxsize=8192)
def count_emoji(text: str) -> int:
    """How many emoji a text shows: pictures, keycaps, flags, sequences, and what a page or a chat turns into one.

    Unicode says what is shown as a picture. What it shows as text by default is an emoji where U+FE0F follows. Without
    it, arrows, punctuation, letters and signs of some notation are text; symbols and dingbats that most fonts paint,
    such as a heart or the sun, are emoji unless U+FE0E follows. U+FE0E does nothing to an emoji that has no text form.
    """
    shown = _ALIAS.sub(lambda alias: emoji.emojize(alias.group(), language="alias"), html.unescape(text))
    return 0 if shown.isascii() else len(_SHOWN.findall(_AS_TEXT.sub("", shown)))


_ALIAS = regex.compile(r"(?<!\w|\w:):[\w+-]+:(?!\w)")
_TABLE: dict[str, dict[str, Any]] = emoji.EMOJI_DATA
_HAS_TEXT_FORM = "".join(sign for sign, known in _TABLE.items() if known.get("variant") and len(sign) == 1)
_AS_TEXT = regex.compile(f"[{_HAS_TEXT_FORM}]\ufe0e")
_NOTATION = "♀♂⚧♠♣♥♦♟♾⚕✖✳✴❇"
_PAINTED = rf"[\p{{Block=Miscellaneous_Symbols}}\p{{Block=Dingbats}}&&\p{{Emoji}}--[{_NOTATION}]]"
_NEWER = r"[[\U0001F000-\U0001FFFF]&&\p{Extended_Pictographic}&&[\p{Emoji}\p{Unassigned}]]"
"""Every emoji of the pictures' own planes, those of later versions of Unicode among them."""
_TAIL = r"[\uFE0E\uFE0F\u20E3\p{Emoji_Modifier}\U000E0020-\U000E007F]*+"
_SHOWN = regex.compile(
    r"\p{Regional_Indicator}{1,2}|[0-9#*]\uFE0F?\u20E3"
    rf"|(?:\p{{Emoji_Presentation}}|[\p{{Emoji}}--[0-9#*]]\uFE0F|{_NEWER}|{_PAINTED}){_TAIL}"
    rf"(?:\u200D\p{{Extended_Pictographic}}{_TAIL})*+",
    regex.VERSION1,
)
