"""Pages in one file, to be read without a server: `report.html` of a run, and `aggregate.html` of several seeds.

A report holds its scripts, its pictures and as many transcripts as fit.
"""

import base64
import gzip
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from claas.core.files import write_atomically
from claas.dashboard.assets import asset
from claas.dashboard.pages import policy_hash, render
from claas.dashboard.run_page import picture_names, plot_file, run_values
from claas.dashboard.step_choice import StepQuery, TranscriptFilter, paired
from claas.dashboard.step_page import read_with_baseline, step_fragment, step_view
from claas.results.aggregate import Aggregate
from claas.results.keys import keys_of_schema_1, titles
from claas.results.overview import cache_row
from claas.results.records import Transcript
from claas.results.run_index import RunIndex, errors_named_after, read_run

MOST_BYTES = 8_000_000
"""The most bytes of transcripts that a report holds."""

MOST_STEPS = 6
"""Measurements of a preference whose transcripts the report holds: the first, the last, and others evenly between."""

AGGREGATE_PAGE = "aggregate.html"

_SCRIPTS = ("drawer.js", "plotly.js", "charts.js", "saving.js")


def write_report(folder: Path, *, ended: bool = False) -> Path:
    """Write the report of the run in `folder`, and say where it is; `InvalidInput` when it holds no run.

    Works on a run in progress; one that ends says so (`ended`), as it still holds its lock. What the report leaves out
    for its size is said in it.
    """
    run = read_run(folder.resolve().name, folder, ended=ended)
    cache_row(run)
    with errors_named_after(run.name):
        made = report(run)
    write_atomically(run.files.report, made)
    return run.files.report


def report(run: RunIndex) -> str:
    """The report as HTML."""
    held = held_in(run)
    scripts = [asset(name).content.decode() for name in _SCRIPTS]
    return render(
        "report.html",
        held=held.fragments,
        steps_held=len(held.landings),
        steps_measured=sum(len(points.points) + 1 for points in run.points.values() if points.baseline),
        scripts=[Markup(script) for script in scripts],
        policy=" ".join(f"'{policy_hash(script)}'" for script in scripts),
        **run_values(run, held.address, _pictures(run)),
    )


@dataclass
class Held:
    """The transcripts in the file: by id, compressed HTML. `landings` says which of them opens a measurement."""

    fragments: dict[str, str] = field(default_factory=dict[str, str])
    landings: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    size: int = 0

    def address(self, preference: str, updates: int) -> str | None:
        """Where a measurement is in the file, None where it is not."""
        landing = self.landings.get((preference, updates))
        return landing and f"#{landing}"

    def add(self, preference: str, updates: int, parts: dict[str, str]) -> None:
        """Put a measurement in, unless it has no transcripts, or is too much."""
        packed = {part: base64.b64encode(gzip.compress(html.encode(), 6)).decode() for part, html in parts.items()}
        size = sum(map(len, packed.values()))
        if not packed or self.size + size > MOST_BYTES:
            return
        self.size += size
        self.fragments |= packed
        self.landings[preference, updates] = next(iter(packed))


def held_in(run: RunIndex, clean: Callable[[str], str] = str, message: Callable[[str], str] = str) -> Held:
    """What a file holds of a run's transcripts, every preference's most telling measurements first.

    What does not fit is the least. `clean` is what is done to their HTML, and `message` to why one was lost.
    """
    held = Held()
    turns = [[(name, updates) for updates in _telling(len(points.points))] for name, points in run.points.items()]
    for name, updates in filter(None, chain.from_iterable(zip_longest(*turns))):
        if run.points[name].baseline is not None:
            parts = _fragments(run, name, updates, message)
            held.add(name, updates, {part: clean(html) for part, html in parts.items()})
    return held


def _telling(recorded: int) -> list[int]:
    """The measurements that tell most: the last, the first, and evenly spread ones between them."""
    spread = {round(place * recorded / (MOST_STEPS - 1)) for place in range(MOST_STEPS)}
    return list(dict.fromkeys([recorded, 0, *sorted(spread)]))


def _fragments(run: RunIndex, preference: str, updates: int, message: Callable[[str], str]) -> dict[str, str]:
    """A measurement's transcripts by kind, and of each kind those that turned since baseline; these come first."""
    baseline, step = read_with_baseline(run, preference, updates)
    baseline = baseline.model_copy(update={"rollouts": _saying(message, baseline.rollouts)})
    step = step and step.model_copy(update={"rollouts": _saying(message, step.rollouts)})
    pairs = paired(baseline.rollouts, []) if step is None else paired(step.rollouts, baseline.rollouts)
    turned = dict.fromkeys(StepQuery(updates, pair.kind, TranscriptFilter.FLIPS) for pair in pairs if pair.flipped)
    whole = dict.fromkeys(StepQuery(updates, pair.kind) for pair in pairs)
    names = {query: _id(preference, query) for query in (*turned, *whole)}

    def link(place: StepQuery) -> str | None:
        return f"#{names[place]}" if place in names else None

    everything = max(1, len(pairs))
    return {
        name: step_fragment(step_view(run, preference, baseline, step, query, link, per_page=everything))
        for query, name in names.items()
    }


def _saying(message: Callable[[str], str], transcripts: Iterable[Transcript]) -> list[Transcript]:
    return [
        each if each.error is None else each.model_copy(update={"error": message(each.error)}) for each in transcripts
    ]


def _id(preference: str, asked: StepQuery) -> str:
    parts = ["step", preference, str(asked.updates), asked.metric or "", *([asked.only.value] if asked.only else [])]
    return "/".join(quote(part, safe="") for part in parts)


def _pictures(run: RunIndex) -> dict[str, str]:
    """The run's PNGs as addresses that hold them, for readers without scripts."""
    return {name: _png_address(plot_file(run.files.root, name).read_bytes()) for name in picture_names(run.files.root)}


def write_aggregate_page(folder: Path, made: Aggregate, plots: Mapping[str, bytes]) -> Path:
    """Write `aggregate.html` into the folder, and return its path; `plots` are PNG files by preference."""
    write_atomically(folder / AGGREGATE_PAGE, aggregate_page(made, plots))
    return folder / AGGREGATE_PAGE


def aggregate_page(made: Aggregate, plots: Mapping[str, bytes]) -> str:
    """What runs of several seeds show together, as HTML."""
    pictures = {name: _png_address(png) for name, png in plots.items()}
    return render("aggregate.html", made=made, pictures=pictures, titles=titles(keys_of_schema_1()))


def _png_address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
