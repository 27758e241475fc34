"""`aggregate.html`: what runs of several seeds show together, in one file, to be read without a server."""

import base64
from collections.abc import Mapping
from pathlib import Path

from claas.core.files import write_atomically
from claas.dashboard.pages import render
from claas.results.aggregate import Aggregate
from claas.results.keys import keys_of_schema_1, titles

NAME = "aggregate.html"


def write_aggregate_page(folder: Path, made: Aggregate, plots: Mapping[str, bytes]) -> Path:
    """Write the page into the folder, and say where it is; `plots` are PNG files by preference."""
    write_atomically(folder / NAME, aggregate_page(made, plots))
    return folder / NAME


def aggregate_page(made: Aggregate, plots: Mapping[str, bytes]) -> str:
    """The page as HTML."""
    pictures = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in plots.items()}
    return render("aggregate.html", made=made, pictures=pictures, titles=titles(keys_of_schema_1()))
