"""The journal behaves as a bounded list of lines, across restarts, compactions, torn ends and lines that are none."""

import asyncio
import os
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from claas.api.journal import Journal
from claas.core.errors import StackError

pytestmark = pytest.mark.anyio


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
    asyncio.run(_compare_with_a_list(actions, capacity))


async def _compare_with_a_list(actions: list[str], capacity: int) -> None:
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
                await journal.append(action.encode())
                lines.append(action)
            newest = [line.encode() for line in reversed(lines[-capacity:])]
            for key in {*(key for line in lines for key in keys_of(line.encode())), "torn"}:
                expected = [line for line in newest if key in keys_of(line)]
                assert await journal.find_all(key, 99) == expected
                assert await journal.find(key) == next(iter(expected), None)
        assert path.read_bytes().count(b"\n") <= 2 * capacity
        journal.close()


async def test_lines_that_are_none_are_set_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, aside = tmp_path / "journal.jsonl", tmp_path / "journal.jsonl.bad"
    path.write_bytes(b"a:1\n\xff\nb:2\nnone\na:3\n")
    journal = Journal(path, 9, keys_of)
    assert [await journal.find_all(key, 9) for key in ("a", "b")] == [[b"a:3", b"a:1"], [b"b:2"]]
    assert (path.read_bytes(), aside.read_bytes()) == (b"a:1\nb:2\na:3\n", b"\xff\nnone\n")
    (said,) = caplog.messages
    assert said.startswith(f"{path}: 2 lines cannot be read and are in {aside} now; the first: ")
    await journal.append(b"b:4")
    journal.close()
    caplog.clear()
    Journal(path, 9, keys_of).close()
    assert (path.read_bytes(), caplog.messages) == (b"a:1\nb:2\na:3\nb:4\n", [])


async def test_a_line_that_could_not_be_read_again_is_not_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", 3, keys_of)
    with pytest.raises(ValueError, match="no colon"):
        await journal.append(b"none")
    journal.close()
    assert (tmp_path / "journal.jsonl").read_bytes() == b""


async def test_a_line_break_inside_a_line_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", 3, keys_of)
    with pytest.raises(ValueError, match="line break"):
        await journal.append(b"a:1\nb:2")
    journal.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match=r"cannot write .*journal\.jsonl"):
        Journal(tmp_path / "file" / "journal.jsonl", 3, keys_of)


async def test_a_line_that_does_not_fit_the_disk_leaves_the_others_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, 3, keys_of)
    await journal.append(b"a:1")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # six bytes are left
    try:
        with pytest.raises(StackError, match=r"cannot write .*journal\.jsonl"):
            await journal.append(b"b:" + b"2" * 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (path.read_bytes(), await journal.find("a"), await journal.find("b")) == (b"a:1\n", b"a:1", None)
    await journal.append(b"c:3")
    assert await journal.find("c") == b"c:3"
    journal.close()


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal.jsonl")
    with pytest.raises(StackError, match=r"cannot write .*journal\.jsonl: it is not a file"):
        Journal(tmp_path / "journal.jsonl", 3, keys_of)
