"""The wall clock of a run: sessions that ended, were killed, go on, or were never recorded; pauses are left out."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.results.sessions import Span, session, united, wall_clock

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def worked(*spans: tuple[float, float]) -> list[Span]:
    return [(at(start), at(end)) for start, end in spans]


def marks(path: Path, *events: tuple[str, float]) -> Path:
    file = path / "sessions.jsonl"
    file.write_text("".join(f'{{"event":"{event}","time":"{at(time).isoformat()}"}}\n' for event, time in events))
    return file


def test_a_run_took_from_its_start_to_its_end_whatever_its_records_say(tmp_path: Path) -> None:
    file = marks(tmp_path, ("started", 0), ("ended", 120))
    assert wall_clock(file, worked((30, 60), (60, 95)), None) == 120


def test_the_pause_between_two_sessions_is_left_out(tmp_path: Path) -> None:
    file = marks(tmp_path, ("started", 0), ("ended", 100), ("started", 5000), ("ended", 5050))
    assert wall_clock(file, [], None) == 150


def test_a_session_that_was_killed_ends_with_its_last_record(tmp_path: Path) -> None:
    file = marks(tmp_path, ("started", 0), ("started", 5000), ("ended", 5050))
    assert wall_clock(file, worked((10, 40), (40, 90), (5010, 5020)), None) == 90 + 50
    assert wall_clock(marks(tmp_path, ("started", 0)), worked((10, 70)), None) == 70
    assert wall_clock(marks(tmp_path, ("started", 0)), [], None) == 0, "it left nothing"


def test_a_run_that_goes_on_counts_up_to_now(tmp_path: Path) -> None:
    assert wall_clock(marks(tmp_path, ("started", 0)), [], at(92)) == 92
    file = marks(tmp_path, ("started", 0), ("ended", 50), ("started", 500))
    assert wall_clock(file, worked((10, 40)), at(520)) == 70


def test_preferences_side_by_side_count_once_in_a_run_that_is_older_than_sessions(tmp_path: Path) -> None:
    spans = worked((0, 60), (5, 70), (4000, 4010))
    assert wall_clock(tmp_path / "sessions.jsonl", spans, None) == 80


def test_an_older_run_that_goes_on_keeps_what_it_took_before(tmp_path: Path) -> None:
    file = marks(tmp_path, ("started", 1000), ("ended", 1100))
    assert wall_clock(file, worked((0, 60), (1010, 1050)), None) == 160


@pytest.mark.parametrize("text", ["no json\n", '{"event":"started","time":"yesterday"}\n', "\xff\n"])
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sessions.jsonl"
    file.write_text(text, encoding="latin-1")
    assert wall_clock(file, worked((0, 60)), None) == 60


def test_a_session_is_on_record_with_its_end_whatever_ended_it(tmp_path: Path) -> None:
    file = tmp_path / "run" / "sessions.jsonl"
    ended = session(file)
    ended.__enter__()
    assert file.read_text().count("\n") == 1
    assert not ended.__exit__(KeyError, KeyError(), None), "what ended it is raised"
    assert [line.split('"')[3] for line in file.read_text().splitlines()] == ["started", "ended"]


SPANS = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e5)).map(lambda pair: (pair[0], pair[0] + pair[1])))


@given(SPANS)
def test_united_spans_hold_all_of_each_in_order_and_apart(spans: list[tuple[float, float]]) -> None:
    whole = united(worked(*spans))
    assert all(one[1] < other[0] for one, other in pairwise(whole))
    assert all(any(start <= at(a) and at(b) <= end for start, end in whole) for a, b in spans)
