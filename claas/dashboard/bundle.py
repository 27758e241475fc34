"""`claas results bundle RUNS -o site`: several runs as a folder of pages that a file, or any web server, opens."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from claas.core.errors import ClaasError, InvalidInput
from claas.core.files import read_text, write_atomically, writing
from claas.core.output import Done, Parser, ended
from claas.dashboard.assets import asset
from claas.dashboard.compare_page import MOST_ITEMS, MOST_RUNS, compared_run, comparison_page, overlaid
from claas.dashboard.distinctions import seeds_of_one_configuration
from claas.dashboard.pages import Addresses, render
from claas.dashboard.private import Private, shared_message, shared_run
from claas.dashboard.report import Held, aggregate_page, held_in
from claas.dashboard.run_list import OF_EVERY_ROW
from claas.dashboard.run_page import run_values
from claas.results.aggregating import aggregate
from claas.results.labels import NO_LABELS, Labels, read_labels
from claas.results.listing import settings_of as settings_text
from claas.results.listing import text_of
from claas.results.numbers import disk_size
from claas.results.overview import Listed, RunRow, differing, overview
from claas.results.run_index import RunIndex, read_run, run_folders
from claas.results.seed_runs import read_seed_run, settings_of

MOST_PAIRS = 8
"""Runs of which any two are compared; of more, each is compared with the first."""

_LONGEST_SLUG = 100
_MARK = "bundle.json"
_OURS = re.compile(r"index\.html|(run|compare|seeds)/[\w.-]+\.html|assets/[\w.-]+\.js")
_FOLDERS = ("run", "compare", "seeds", "assets")
_CHART_SCRIPTS = ("drawer.js", "plotly.js", "charts.js", "saving.js")
_LIST_SCRIPTS = ("sort.js", "bundle.js")


class _Contents(BaseModel):
    """`bundle.json`: what says that a folder is a bundle, and which files in it are."""

    claas_bundle: int
    files: list[str]


@dataclass(frozen=True)
class Written:
    """What a bundle holds."""

    runs: int
    comparisons: int
    size: int
    left_out: Sequence[str]


@dataclass(frozen=True)
class _Shared:
    """One run of a bundle: `index` says nothing private, and `slug` is its name in the addresses of files."""

    folder: Path
    slug: str
    index: RunIndex
    row: RunRow
    labels: Labels


@dataclass(frozen=True)
class BundleAddresses(Addresses):
    """Addresses within a bundle, from a page `up` folders below its first one."""

    up: str = ""
    slugs: Mapping[str, str] = field(default_factory=dict[str, str])
    comparisons: Mapping[tuple[str, ...], str] = field(default_factory=dict[tuple[str, ...], str])

    def runs(self, query: Mapping[str, object] = {}) -> str:
        """The first page."""
        return f"{self.up}index.html"

    def run(self, run: str) -> str:
        """One run."""
        return f"{self.up}run/{self.slugs[run]}.html"

    def transcripts(self, run: str, preference: str, query: Mapping[str, object]) -> str | None:
        """They are read on the page of their run."""
        return None

    def compare(self, *runs: str) -> str | None:
        """The comparison of just these in this order; None where the bundle has none."""
        found = self.comparisons.get(tuple(self.slugs[run] for run in runs))
        return found and f"{self.up}{found}"

    def asset(self, script: str) -> str:
        """A script."""
        return f"{self.up}assets/{asset(script).name}"


def write_bundle(folders: Sequence[Path], into: Path, *, title: str = "Runs", transcripts: bool = True) -> Written:
    """Write the pages of these runs, and of those below these folders, into a folder of their own.

    What an earlier bundle has left there is replaced. `InvalidInput` where the folder holds anything else. Paths,
    addresses and keys of this machine are left out; `transcripts=False` leaves out what was asked and answered, too.
    """
    shared = _shared(folders)
    old = _require_own(into)
    site = _Site(into, old, shared, Private.of_this_machine([each.folder for each in shared]), transcripts)
    site.write_all(title)
    return Written(len(shared), len(site.comparisons), site.size, site.left_out)


def _shared(folders: Sequence[Path]) -> list[_Shared]:
    """The runs, newest first; those that are archived only where they are named themselves."""
    found = [folder for folder in run_folders(folders) if folder in folders or not _labels(folder).archived]
    if not found:
        raise InvalidInput("every run there is archived; name those that are to be shared")
    names = _names(found)
    runs = [(folder, shared_run(read_run(names[folder], folder))) for folder in found]
    runs.sort(key=lambda run: (run[1].manifest.created, run[1].name), reverse=True)
    slugs: set[str] = set()
    shared: list[_Shared] = []
    for folder, index in runs:
        # One hyphen at a time: two are between the runs of a comparison, whose file's name holds two of these.
        slug = _free(re.sub(r"[^A-Za-z0-9._]+", "-", index.name)[:_LONGEST_SLUG].strip(".-") or "run", slugs)
        slugs.add(slug)
        shared.append(_Shared(folder, slug, index, overview(index), _labels(folder)))
    return shared


def _names(folders: Iterable[Path]) -> dict[Path, str]:
    """A name for each, no two the same."""
    names: dict[Path, str] = {}
    for folder in folders:
        names[folder] = _free(folder.resolve().name, set(names.values()))
    return names


def _free(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def _labels(folder: Path) -> Labels:
    try:
        return read_labels(folder)
    except InvalidInput:
        return NO_LABELS


def _require_own(into: Path) -> list[str]:
    """The files of the bundle that is there; `InvalidInput` unless the folder holds that or nothing."""
    if not into.exists():
        return []
    if not into.is_dir():
        raise InvalidInput(f"{into} is no folder; name another one")
    with writing(into):
        held = sorted(path.name for path in into.iterdir())
    if not held:
        return []
    try:
        contents = _Contents.model_validate_json(read_text(into / _MARK)) if _MARK in held else None
    except ValidationError:
        contents = None
    if contents is None:
        raise InvalidInput(f"{into} holds {held[0]} and is no bundle; name an empty folder, or one that is not there")
    for folder in _FOLDERS:
        if (into / folder).is_symlink():
            raise InvalidInput(f"{into / folder} is a link, which would lead outside of {into}; delete it")
    return [name for name in contents.files if _OURS.fullmatch(name)]


@dataclass
class _Site:
    """The pages, as they are written."""

    into: Path
    old: Sequence[str]
    shared: Sequence[_Shared]
    private: Private
    transcripts: bool
    files: list[str] = field(default_factory=list[str])
    comparisons: dict[tuple[str, ...], str] = field(default_factory=dict[tuple[str, ...], str])
    left_out: list[str] = field(default_factory=list[str])
    size: int = 0

    def write_all(self, title: str) -> None:
        """What was there before stays until its successor is; the mark says all along whose the folder is."""
        chosen = self._comparisons()
        self.comparisons = {slugs: f"compare/{self._compare_name(slugs)}.html" for slugs in chosen}
        self._mark([*self.old])
        for script in (*_CHART_SCRIPTS, *_LIST_SCRIPTS):
            self._write(f"assets/{asset(script).name}", asset(script).content.decode(), clean=False)
        for run in self.shared:
            self._write(f"run/{run.slug}.html", self._run(run))
        self._compare(chosen)
        seeds = self._seeds()
        self._write("index.html", self._index(title, seeds))
        for name in set(self.old) - set(self.files):
            with writing(self.into / name):
                (self.into / name).unlink(missing_ok=True)
        self._mark(self.files)

    def _mark(self, files: Sequence[str]) -> None:
        contents = _Contents(claas_bundle=1, files=sorted(files))
        write_atomically(self.into / _MARK, contents.model_dump_json(indent=2) + "\n")

    def _write(self, name: str, text: str, *, clean: bool = True) -> None:
        """A file of the bundle, on record before it is there."""
        text = self.private.hidden_in(text) if clean else text
        self.files.append(name)
        self._mark([*self.old, *self.files])
        write_atomically(self.into / name, text)
        self.size += len(text.encode())

    def _addresses(self, up: str = "../") -> BundleAddresses:
        return BundleAddresses(None, up, {run.index.name: run.slug for run in self.shared}, self.comparisons)

    def _run(self, run: _Shared) -> str:
        held = held_in(run.index, self.private.hidden_in, shared_message) if self.transcripts else Held()
        values = run_values(run.index, held.address, {})
        if not self.transcripts:
            values["view"] = _without_answers(values["view"])
        return render(
            "bundle_run.html",
            **values,
            addresses=self._addresses(),
            labels=run.labels,
            transcripts=self.transcripts,
            held=held.fragments,
            steps_held=len(held.landings),
            steps_measured=sum(len(points.points) + 1 for points in run.index.points.values() if points.baseline),
            scripts=_CHART_SCRIPTS,
        )

    def _comparisons(self) -> list[tuple[str, ...]]:
        slugs = [run.slug for run in self.shared]
        pairs = combinations(slugs, 2) if len(slugs) <= MOST_PAIRS else ((slugs[0], each) for each in slugs[1:])
        return [*([tuple(slugs)] if 2 < len(slugs) <= MOST_RUNS else []), *pairs]

    def _compare_name(self, slugs: Sequence[str]) -> str:
        return "all" if len(slugs) == len(self.shared) > 2 else "--".join(slugs)

    def _compare(self, chosen: Sequence[Sequence[str]]) -> None:
        """Every comparison; the records of each run are read once."""
        if not chosen:
            return
        runs = {run.slug: run.index for run in self.shared}
        known = {slug: compared_run(index) for slug, index in runs.items()}
        for slugs in chosen:
            page = comparison_page(
                [known[slug] for slug in slugs],
                overlaid([runs[slug] for slug in slugs]),
                self._addresses(),
                template="bundle_compare.html",
                most_items=MOST_ITEMS if self.transcripts else 0,
                scripts=_CHART_SCRIPTS[1:],
            )
            self._write(self.comparisons[tuple(slugs)], page)

    def _seeds(self) -> list[tuple[str, str]]:
        """The runs that differ in seed alone, together: addresses and what they are of."""
        found: list[tuple[str, str]] = []
        for places in seeds_of_one_configuration([run.index.manifest for run in self.shared]):
            runs = [self.shared[place] for place in places]
            try:
                page = self._over_seeds(runs)
            except ClaasError as error:
                self.left_out.append(f"{', '.join(run.index.name for run in runs)} over seeds: {error}")
                continue
            name = f"seeds/{len(found) + 1}.html"
            self._write(name, page)
            found.append((name, f"{len(runs)} seeds of {', '.join(run.index.name for run in runs)}"))
        return found

    def _over_seeds(self, runs: Sequence[_Shared]) -> str:
        from claas.results.aggregate_figure import aggregate_plots  # draws with matplotlib, which takes long to import

        made = aggregate(*settings_of([read_seed_run(run.folder) for run in runs]))
        names = {str(run.folder): run.index.name for run in runs}
        settings = [
            setting.model_copy(
                update={"runs": [run.model_copy(update={"folder": names[run.folder]}) for run in setting.runs]}
            )
            for setting in made.settings
        ]
        return aggregate_page(made.model_copy(update={"settings": settings}), aggregate_plots(made))

    def _index(self, title: str, seeds: Sequence[tuple[str, str]]) -> str:
        names = [name for name in differing([run.row for run in self.shared]) if name not in OF_EVERY_ROW]
        addresses, by_slug = self._addresses(""), {run.slug: run for run in self.shared}
        return render(
            "bundle_index.html",
            title_of_all=title,
            addresses=addresses,
            transcripts=self.transcripts,
            written=datetime.now(UTC).isoformat(),
            seeds=seeds,
            most_pairs=MOST_PAIRS,
            scripts=_LIST_SCRIPTS,
            rows=[
                {
                    "name": run.index.name,
                    "slug": run.slug,
                    "address": addresses.run(run.index.name),
                    "text": text_of(listed := Listed(run.index.name, run.row, labels=run.labels)),
                    "settings": settings_text(listed),
                    "row": run.row,
                    "labels": run.labels,
                    "own": [(name, run.row.settings[name]) for name in names if name in run.row.settings],
                }
                for run in self.shared
            ],
            comparisons=[
                {"slugs": slugs, "address": address, "names": [by_slug[slug].index.name for slug in slugs]}
                for slugs, address in self.comparisons.items()
            ],
        )


def _without_answers(view: Any) -> Any:
    """The view of a run without what was asked and answered."""
    preferences = [
        replace(
            each,
            summary=each.summary.model_copy(
                update={
                    "changed_items": {
                        kind: changed.model_copy(update={"answers": {}})
                        for kind, changed in each.summary.changed_items.items()
                    }
                }
            ),
        )
        for each in view.preferences
    ]
    return replace(view, preferences=preferences)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    return ended("claas.dashboard.bundle", _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    parser = Parser(
        "claas results bundle",
        "Write several runs as a folder of pages, with their comparisons, that a browser opens from the disk and any "
        "web server serves. Tags and notes go along; paths and addresses of this machine do not.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs, or folders they are in")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="DIR", help="empty, new, or a bundle")
    parser.add_argument("--title", default="Runs", help="what stands above the list of runs")
    parser.add_argument("--no-transcripts", action="store_true", help="leave out what was asked and answered")
    asked = parser.parsed(arguments)
    made = write_bundle(asked.runs, asked.output, title=asked.title, transcripts=not asked.no_transcripts)
    for each in made.left_out:
        print(f"left out: {each}")
    page = asked.output / "index.html"
    print(f"{page}: {made.runs} runs, {made.comparisons} comparisons, {disk_size(made.size)}")
    return Done(result={"files": [str(page)], "left_out": list(made.left_out)})


if __name__ == "__main__":
    sys.exit(main())
