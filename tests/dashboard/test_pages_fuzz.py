"""Whatever has become of a run's files: the list comes, and a run's page comes or says why not."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claas.core.errors import ClaasError
from claas.dashboard.pages import Addresses
from claas.dashboard.run_list import RunQuery, runs_page
from claas.dashboard.run_page import run_page
from claas.results.run_index import FOLDER, read_run
from tests.dashboard.page_reader import Page
from tests.dashboard.written_runs import few, write_run

NAMES = [
    "config.json",
    "summary.json",
    *(
        f"{name}/{file}"
        for name in ("concise", "identity")
        for file in ("metadata.json", "baseline.json", "steps.jsonl")
    ),
]
INDEX = [f"{FOLDER}/row.json", f"{FOLDER}/points/concise.json", f"{FOLDER}/points/identity.json"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one run, of which one preference has failed, and its index."""
    results = tmp_path_factory.mktemp("whole")
    histories = {"concise": few(steps=3), "identity": few("identity", steps=3, done=2, failure="gone")}
    write_run(results / "run", histories)
    look(results)
    assert all((results / "run" / name).is_file() for name in NAMES + INDEX)
    return results


def look(results: Path) -> str | None:
    """Both pages; why there is no page of the run, None when there is one."""
    listed = Page(runs_page(results, Addresses(), RunQuery()))
    assert listed.strange() == listed.barriers() == []
    assert "run" in listed.text
    made, said = run_or_reason(results)
    if made:
        page = Page(made)
        assert page.strange() == page.barriers() == []
        assert not {"nan", "inf"} & set(page.text.split())
    return said


def run_or_reason(results: Path) -> tuple[str | None, str | None]:
    """The page of the run, or why there is none."""
    try:
        return run_page(read_run("run", results / "run"), Addresses()), None
    except ClaasError as error:
        said = str(error)
    assert said.isprintable(), "one line"
    return None, said


def spoilt(data: bytes, draw: st.DrawFn) -> bytes:
    place = draw(st.integers(0, len(data)))
    how = draw(st.sampled_from(["cut", "flip", "insert", "remove", "empty", "zero"]))
    byte = bytes([draw(st.integers(0, 255))])
    return {
        "cut": data[:place],
        "flip": data[:place] + byte + data[place + 1 :],
        "insert": data[:place] + byte + data[place:],
        "remove": data[:place] + data[place + draw(st.integers(1, 50)) :],
        "empty": b"",
        "zero": data[:place] + b"\0" * 16 + data[place + 16 :],
    }[how]


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_bytes_that_were_lost_or_changed_end_no_page(whole: Path, data: st.DataObject) -> None:
    with copied(whole) as results:
        for name in data.draw(st.lists(st.sampled_from(NAMES + INDEX), min_size=1, max_size=3, unique=True)):
            file = results / "run" / name
            file.write_bytes(
                data.draw(st.composite(lambda draw, now: spoilt(now, draw))(file.read_bytes()), label=name)
            )
        first = look(results)
        assert look(results) == first, "what was kept of the first look changes nothing"


WORSE = [
    None,
    True,
    0,
    -1,
    7,
    0.5,
    1e308,
    -1e308,
    5e-324,
    2**63,
    10**400,
    "",
    "x",
    "0",
    "\x00",
    "</td><script>",
    [],
    [None],
    {},
    {"x": 1},
]


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_values_that_nothing_can_be_made_of_end_no_page(whole: Path, data: st.DataObject) -> None:
    with copied(whole) as results:
        shutil.rmtree(results / "run" / FOLDER)
        for name in data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)):
            file = results / "run" / name
            records = (
                [json.loads(line) for line in file.read_text().splitlines()]
                if name.endswith("jsonl")
                else [json.loads(file.read_text())]
            )
            for _ in range(data.draw(st.integers(1, 3))):
                places = list(ways(records))
                way = places[data.draw(st.integers(0, len(places) - 1))]
                put(records, way, data.draw(st.sampled_from(WORSE), label=str(way)))
            file.write_text("".join(json.dumps(record) + "\n" for record in records))
        first = look(results)
        assert look(results) == first


@pytest.mark.parametrize("name", [*NAMES, "concise", "identity", FOLDER, *INDEX])
@pytest.mark.parametrize("what", ["nothing", "a folder", "a file", "a link to nowhere", "a link to itself"])
def test_something_else_where_a_file_should_be_ends_no_page(whole: Path, name: str, what: str) -> None:
    with copied(whole) as results:
        place = results / "run" / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        if what == "a folder":
            place.mkdir()
        elif what == "a file":
            place.write_text("x")
        elif what == "a link to nowhere":
            place.symlink_to("nowhere")
        elif what == "a link to itself":
            place.symlink_to(place.name)
        look(results)
        look(results)


class copied:
    """A copy of a results folder, gone afterwards."""

    def __init__(self, whole: Path) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._results = shutil.copytree(whole, Path(self._folder.name) / "results")

    def __enter__(self) -> Path:
        return self._results

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*way, key)
        yield from ways(inner, (*way, key))


def put(value: Any, way: tuple[Any, ...], new: Any) -> None:
    for key in way[:-1]:
        value = value[key]
    value[way[-1]] = new
