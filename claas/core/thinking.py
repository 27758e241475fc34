"""A model's thinking and the answer after it, told apart by the marks that models put around what they think."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_TAG = r"(?:think|thinking|thoughts?|reasoning|seed:think)"
_TURN = r"(?:<\|end\|>)?(?:<\|start\|>assistant)?"
_TO = r"[^<\[◁]{0,200}(?:<\|constrain\|>[^<\[◁]{0,200})?<\|message\|>"
_MARK = re.compile(
    rf"(?P<opens><{_TAG}>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>"
    rf"|{_TURN}<\|channel\|>(?:analysis|commentary){_TO})"
    rf"|</{_TAG}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>"
    rf"|{_TURN}<\|channel\|>final{_TO}",
    re.IGNORECASE,
)
_CHANNEL_TOKENS = frozenset({"<|channel|>", "<|start|>", "<|end|>", "<|constrain|>", "<|message|>"})
_UNFINISHED = re.compile(
    r"(?:<\|(?:end|start|channel|constrain)\|>[^<\[◁]{0,200}){0,4}(?:[<\[◁][^>\]▷]{0,40})?\Z", re.IGNORECASE
)
_BEGINNING = re.compile(r"[<\[◁]")
_QUOTES, _UNQUOTES = frozenset("`'\"“‘«"), frozenset("`'\"”’»")


@dataclass(frozen=True)
class Spoken:
    """What a text says: the thoughts in front of the answer, empty where there are none, and the answer."""

    thinking: str
    answer: str


def told_apart(text: str, *, opened: bool = False) -> Spoken:
    """The blocks of thinking at a text's front, and what comes after them: all of it, as it is, where there are none.

    A block ends at the first closing mark after it, or never, where it was cut off. Its opening mark may stand in the
    prompt: `opened` says that it does, and a closing mark without an opening one shows it. Marks between quotes or
    back-ticks are talked about, and so are those behind the answer's beginning.
    """
    thoughts: list[str] = []
    at, inside = 0, opened
    for mark in _marks(text):
        if _is_quoted(mark, text, text[max(mark.start() - 1, 0) : mark.start()]):
            continue
        opens = mark["opens"] is not None
        if opens and not inside and text[at : mark.start()].strip():
            break
        thoughts.append(text[at : mark.start()].strip())
        at, inside = mark.end(), opens
    if inside:
        thoughts.append(text[at:].strip())
    answer = "" if inside else text[at:].lstrip() if at else text
    return Spoken("\n".join(filter(None, thoughts)), answer)


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends in the mark that opens a block of thinking, so that the answer begins inside it."""
    marks = list(_MARK.finditer(prompt))
    return bool(marks) and marks[-1]["opens"] is not None and not prompt[marks[-1].end() :].strip()


def thinking_tokens(special: Iterable[str]) -> set[str]:
    """Those of a vocabulary's special tokens that say where thinking begins or ends."""
    tokens = set(special)
    channels = _CHANNEL_TOKENS if "<|channel|>" in tokens else frozenset[str]()
    return {token for token in tokens if _MARK.fullmatch(token) or token in channels}


def unmarked(text: str) -> str:
    """The text without the marks of thinking."""
    return _MARK.sub("", text)


class GrowingSpeech:
    """Tells thinking from answer in a text that grows, and gives out nothing that may become a part of a mark.

    What it has given out is, put together, what `told_apart` makes of the whole text. The exception is a closing mark
    without an opening one: it comes too late, when what stands before it has been given out as the answer.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self._inside = opened
        self._marked = False
        self._answering = False
        self._held: str = ""
        self._last: str = ""  # character before what is held
        self._thoughts = _GrowingThoughts()

    def grow(self, text: str, *, whole: bool = False) -> Spoken:
        """What is certain with `text` added; all that is left when the text is `whole` with it."""
        if self._answering:
            return Spoken("", text)
        self._held += text
        thinking = ""
        while (mark := self._mark_inside(whole) if self._inside else self._mark_ahead()) is not None:
            thinking += self._thoughts.grow(self._held[: mark.start()])
            self._thoughts.end_block()
            self._take(mark.end())
            self._inside, self._marked = mark["opens"] is not None, True
        if self._inside:
            end = len(self._held) if whole else self._settled()
            return Spoken(thinking + self._thoughts.grow(self._take(end)), "")
        ahead = self._held.lstrip()
        if not whole and _UNFINISHED.fullmatch(ahead):
            return Spoken(thinking, "")
        self._answering = True
        return Spoken(thinking, ahead if self._marked else self._held)

    def _mark_ahead(self) -> re.Match[str] | None:
        """The mark that comes before anything is said."""
        return _MARK.match(self._held, len(self._held) - len(self._held.lstrip()))

    def _mark_inside(self, whole: bool) -> re.Match[str] | None:
        """The next mark that is not talked about; where that is not known yet, none."""
        for mark in _MARK.finditer(self._held):
            before = self._before(mark)
            if before in _QUOTES and mark.end() == len(self._held) and not whole:
                return None
            if not _is_quoted(mark, self._held, before):
                return mark
        return None

    def _settled(self) -> int:
        """How much of what is held, which has no mark that ends the thinking, is certain to be thought."""
        unfinished = _UNFINISHED.search(self._held)
        end = len(self._held) if unfinished is None else unfinished.start()
        return min([end, *(mark.start() for mark in _MARK.finditer(self._held) if mark.end() == len(self._held))])

    def _before(self, mark: re.Match[str]) -> str:
        return self._held[mark.start() - 1] if mark.start() else self._last

    def _take(self, end: int) -> str:
        taken, self._held = self._held[:end], self._held[end:]
        self._last = taken[-1:] or self._last
        return taken


class _GrowingThoughts:
    """Blocks of thinking, each without the white space around it, a line apart."""

    def __init__(self) -> None:
        self._any = False
        self._in_block = False
        self._space: str = ""

    def grow(self, text: str) -> str:
        """What can be said with `text` added to the block; white space waits for what comes after it."""
        text = self._space + text if self._in_block else text.lstrip()
        said = text.rstrip()
        self._space = text[len(said) :]
        if not said:
            return ""
        apart = "\n" if self._any and not self._in_block else ""
        self._any = self._in_block = True
        return apart + said

    def end_block(self) -> None:
        """What comes now is another block."""
        self._in_block, self._space = False, ""


def _marks(text: str) -> Iterator[re.Match[str]]:
    """Every mark, in order; looked for only where one may begin, which makes a long text of words quick to read."""
    end = 0
    for first in _BEGINNING.finditer(text):
        if first.start() >= end and (mark := _MARK.match(text, first.start())):
            end = mark.end()
            yield mark


def _is_quoted(mark: re.Match[str], text: str, before: str) -> bool:
    return before in _QUOTES and text[mark.end() : mark.end() + 1] in _UNQUOTES
