"""Files that survive a crash."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.errors import Conflict, StackError
from claas.core.files import append_line, dump_json, read_lines, working_in, write_atomically

LINES = st.lists(st.text(alphabet=st.characters(exclude_characters="\n", codec="utf-8")), max_size=5)


@given(LINES)
def test_what_was_appended_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    for line in lines:
        append_line(path, line)
    assert read_lines(path) == lines


@given(lines=LINES, cut=st.integers(min_value=1, max_value=20))
def test_a_crash_while_appending_loses_at_most_the_line_being_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "x.jsonl"
    for line in lines:
        append_line(path, line)
    torn = json.dumps({"step": 7, "value": "é" * 30}).encode()[:cut]
    with path.open("ab") as file:
        file.write(torn)
    assert read_lines(path) == lines
    append_line(path, "next")
    assert read_lines(path) == [*lines, "next"]


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none.jsonl") == []


def test_a_line_break_inside_a_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line break"):
        append_line(tmp_path / "x.jsonl", "a\nb")


def test_replacing_a_file_leaves_nothing_else_behind(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "summary.json"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["summary.json"]


def test_a_folder_that_cannot_be_worked_in_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, lock in ((tmp_path / "file", ".lock"), (tmp_path, "x" * 300)):
        refused = pytest.raises(StackError, match=rf"cannot write {folder}: .*choose another place")
        with refused, working_in(folder, lock, "taken"):
            pass
    new, taken = tmp_path / "new", pytest.raises(Conflict, match="taken")
    with working_in(new, ".lock", "taken"), taken, working_in(new, ".lock", "taken"):
        pass


def test_a_refused_write_names_the_path_and_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match=r"cannot write .*summary\.json.*again"):
        write_atomically(tmp_path / "file" / "summary.json", "x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_never_become_json(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json({"value": value})
