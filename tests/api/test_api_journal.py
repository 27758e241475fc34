"""The journal behaves as a bounded list of lines, across restarts, compactions, torn ends and lines that are none."""

import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from claas.api.journal import Journal
from claas.core.errors import StackError


def keys_of(line: bytes) -> tuple[str, str]:
    """A line `a:rest` has the keys `a` and `a:rest`; any other is none."""
    text = line.decode()
    if ":" not in text:
        raise ValueError(f"no colon in {text}")
    return text.partition(":")[0], text


LINES = st.text("abcd", min_size=1, max_size=2).flatmap(lambda key: st.integers(0, 999).map(lambda n: f"{key}:{n}"))
ACTIONS = st.lists(st.one_of(LINES, st.sampled_from(["reopen", "tear", "spoil"])), max_size=40)


@given(actions=ACTIONS, capacity=st.integers(1, 7))
@hypothesis_settings(max_examples=40, deadline=None)
def test_it_finds_what_a_list_of_the_newest_lines_would(actions: list[str], capacity: int) -> None:
    lines: list[str] = []
    with TemporaryDirectory() as directory:
        path = Path(directory) / "journal.jsonl"
        journal = Journal(path, capacity, keys_of)
        for action in actions:
            if action == "reopen":
                journal.close()
                journal = Journal(path, capacity, keys_of)
            elif action in ("tear", "spoil"):
                journal.close()
                with path.open("ab") as file:
                    file.write(b"torn:1" if action == "tear" else b"\xff spoilt\n\n")
                journal = Journal(path, capacity, keys_of)
            else:
                journal.append(action.encode())
                lines.append(action)
            newest = [line.encode() for line in reversed(lines[-capacity:])]
            for key in {*(key for line in lines for key in keys_of(line.encode())), "torn"}:
                expected = [line for line in newest if key in keys_of(line)]
                assert list(journal.find_all(key)) == expected
                assert journal.find(key) == next(iter(expected), None)
        assert path.read_bytes().count(b"\n") <= 2 * capacity
        journal.close()


def test_lines_that_are_none_are_set_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, aside = tmp_path / "journal.jsonl", tmp_path / "journal.jsonl.bad"
    path.write_bytes(b"a:1\n\xff\nb:2\nnone\na:3\n")
    journal = Journal(path, 9, keys_of)
    assert [list(journal.find_all(key)) for key in ("a", "b")] == [[b"a:3", b"a:1"], [b"b:2"]]
    assert (path.read_bytes(), aside.read_bytes()) == (b"a:1\nb:2\na:3\n", b"\xff\nnone\n")
    (said,) = caplog.messages
    assert said.startswith(f"{path}: 2 lines cannot be read and are in {aside} now; the first: ")
    journal.append(b"b:4")
    journal.close()
    caplog.clear()
    Journal(path, 9, keys_of).close()
    assert (path.read_bytes(), caplog.messages) == (b"a:1\nb:2\na:3\nb:4\n", [])


def test_a_line_that_could_not_be_read_again_is_not_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", 3, keys_of)
    with pytest.raises(ValueError, match="no colon"):
        journal.append(b"none")
    journal.close()
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


def test_a_line_break_inside_a_line_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", 3, keys_of)
    with pytest.raises(ValueError, match="line break"):
        journal.append(b"a:1\nb:2")
    journal.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match=r"cannot write .*journal\.jsonl"):
        Journal(tmp_path / "file" / "journal.jsonl", 3, keys_of)


def test_a_line_that_does_not_fit_the_disk_leaves_the_others_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, 3, keys_of)
    journal.append(b"a:1")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # six bytes are left
    try:
        with pytest.raises(StackError, match=r"cannot write .*journal\.jsonl"):
            journal.append(b"b:" + b"2" * 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (path.read_bytes(), journal.find("a"), journal.find("b")) == (b"a:1\n", b"a:1", None)
    journal.append(b"c:3")
    assert journal.find("c") == b"c:3"
    journal.close()
