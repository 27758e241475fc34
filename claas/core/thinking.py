"""A model's thinking and the answer after it, told apart by the marks that models put around what they think."""

import re

_TAG = r"(?:think|thinking|thoughts?|reasoning|seed:think)"
_TURN = r"(?:<\|end\|>)?(?:<\|start\|>assistant)?"
_TO = r"[^<]{0,200}(?:<\|constrain\|>[^<]{0,200})?<\|message\|>"
_MARK = re.compile(
    rf"(?P<opens><{_TAG}>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>"
    rf"|{_TURN}<\|channel\|>(?:analysis|commentary){_TO})"
    rf"|</{_TAG}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>"
    rf"|{_TURN}<\|channel\|>final{_TO}",
    re.IGNORECASE,
)
_QUOTE, _UNQUOTE = "`'\"“‘«", "`'\"”’»"


def without_thinking(text: str) -> str:
    """The answer in a text: what comes after the blocks of thinking at its front, or the text as it is without any.

    A block ends at the first closing mark after it, or never, where it was cut off; its opening mark may stand in the
    prompt. Marks between quotes or back-ticks are talked about, and so are those behind the answer's beginning.
    """
    at, inside = 0, False
    for mark in _MARK.finditer(text):
        if _is_quoted(text, mark):
            continue
        if mark["opens"] is None:
            at, inside = mark.end(), False
        elif inside or not text[at : mark.start()].strip():
            at, inside = mark.end(), True
        else:
            break
    if inside:
        return ""
    return text[at:].lstrip() if at else text


def _is_quoted(text: str, mark: re.Match[str]) -> bool:
    start, end = mark.span()
    return start > 0 and end < len(text) and text[start - 1] in _QUOTE and text[end] in _UNQUOTE
