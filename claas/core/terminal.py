"""Tables at a terminal, all of one look."""

import os
from collections.abc import Collection

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH = 110
"""Characters of a line that goes to a file or a pipe, where nothing else is said."""


def results_console(width: int = _WIDTH) -> Console:
    """Standard output: as wide as the terminal, or `width` where it is none."""
    return Console(width=None if os.isatty(1) else width, highlight=False)


def plain_table(*columns: str, left: Collection[str] = ()) -> Table:
    """A table without rows yet: numbers stand on the right, and words in the first column and those of `left`."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if place == 0 or column in left else "right")
    return table
