"""The table of a run under way: a line for each preference, in columns that stay where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from claas.eval.reporters.drawn import Glyphs, sparkline
from claas.results.keys import Key, Question, Role, with_role
from claas.results.progress import ProgressLine, columns, printable

_STATE = 8
_NUMBER = 6
_SHORTEST_CURVE = 8
_LONGEST_CURVE = 32
_LONGEST_HEADING = 14
_RANK = {Question.MARGINS: 0, Question.FORGETTING: 1}
"""What is shown beside the number that is drawn; the rest comes after."""

_STATES = {"done": "green", "failed": "bold red", "running": "", "baseline": "cyan", "waiting": "dim"}


def drawn_key(keys: Sequence[Key]) -> Key | None:
    """The number whose curve is drawn: held-out compliance, or what comes nearest to it."""
    roles = (Role.LEARNED, Role.TRAINED_ON, Role.FIRST_WISH)
    return next((found for role in roles if (found := with_role(keys, role)) is not None), None)


@dataclass(frozen=True)
class Layout:
    """Which columns there are at a width, and how wide each is: the same whatever the numbers are. `curve` may be 0."""

    gap: int
    name: int
    step: int
    curve: int
    keys: tuple[Key, ...]
    state: int = _STATE

    @classmethod
    def of(cls, width: int, lines: Sequence[ProgressLine]) -> "Layout":
        """What fits: first the number that is drawn and its curve, then margins, what may be forgotten, the rest."""
        declared = {key.key: key for line in lines for key in line.keys}
        shown = drawn_key(list(declared.values()))
        numbers = sorted(columns(declared.values()), key=lambda key: (key != shown, _RANK.get(key.question, 2)))
        gap = 2 if width >= 100 else 1
        longest = max((cell_len(printable(line.name)) for line in lines), default=0)
        name = max(10, min(longest, width // 4))
        step = max((len(f"{line.planned}/{line.planned}") for line in lines), default=3)
        left = width - name - max(4, step) - _STATE - 2 * gap
        curve, chosen = 0, list[Key]()
        for key in numbers:
            if (takes := _width_of(key) + gap) <= left:
                chosen.append(key)
                left -= takes
            if not curve and shown is not None and left >= _SHORTEST_CURVE + gap:
                curve = _SHORTEST_CURVE
                left -= curve + gap
        measurements = max((line.planned + 1 for line in lines), default=0)
        if curve:
            curve = min(measurements, _LONGEST_CURVE, curve + left)
        in_order = tuple(key for key in columns(declared.values()) if key in chosen)
        return cls(gap, name, max(4, step), curve, in_order)

    def table(
        self, lines: Sequence[ProgressLine], curves: Mapping[str, Mapping[int, float | None]], glyphs: Glyphs
    ) -> Table:
        """The lines, with the curves of those whose numbers are known."""
        table = Table(box=None, padding=(0, self.gap, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("preference", width=self.name, no_wrap=True)
        table.add_column("step", width=self.step, justify="right", no_wrap=True)
        if self.curve:
            table.add_column("", width=self.curve, no_wrap=True)
        for key in self.keys:
            table.add_column(
                Text(key.heading or "", overflow="ellipsis"), width=_width_of(key), justify="right", no_wrap=True
            )
        table.add_column("", width=self.state, no_wrap=True)
        for line in lines:
            low, high = key.limits if (key := drawn_key(line.keys)) is not None else (None, None)
            limits = None if low is None or high is None else (low, high)
            curve = sparkline(curves.get(line.name, {}), line.planned, self.curve, limits, glyphs)
            cells = [Text(_cell(line, key, glyphs)) for key in self.keys]
            table.add_row(
                Text(printable(line.name), overflow="ellipsis"),
                f"{line.done}/{line.planned}",
                *([Text(curve, style="cyan")] if self.curve else []),
                *cells,
                Text(line.state, style=_STATES.get(line.state, "")),
            )
        return table


def _width_of(key: Key) -> int:
    return min(_LONGEST_HEADING, max(_NUMBER, cell_len(key.heading or "")))


def _cell(line: ProgressLine, key: Key, glyphs: Glyphs) -> str:
    return glyphs.none if line.values.get(key.key) is None else line.cell(key)
