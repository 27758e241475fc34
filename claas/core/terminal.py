"""Tables at a terminal, all of one look."""

import os
import re
import sys
from collections.abc import Collection
from typing import IO, Any, cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH = 110
"""Characters of a line that goes to a file or a pipe, where nothing else is said."""


def results_console(width: int = _WIDTH) -> Console:
    """Standard output: as wide as the terminal; where it is none `width`, and without blanks at the ends of lines."""
    if os.isatty(1):
        return Console(highlight=False)
    return Console(file=cast(IO[str], _WithoutTrailingBlanks()), width=width, highlight=False)


class _WithoutTrailingBlanks:
    """Standard output, whatever that is when something is written."""

    def write(self, text: str) -> int:
        sys.stdout.write(re.sub(r" +(?=\n)", "", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


def plain_table(*columns: str, left: Collection[str] = ()) -> Table:
    """A table without rows yet: numbers stand on the right, and words in the first column and those of `left`."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if place == 0 or column in left else "right")
    return table
