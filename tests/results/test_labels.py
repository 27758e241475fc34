"""Tags and notes: a person's own file in a run's folder, which two may change at once."""

import threading
from pathlib import Path

import pytest

from claas.core import files
from claas.core.errors import InvalidInput, StackError
from claas.results.labels import MOST_TAGS, Labels, change_labels, change_labels_of, read_labels


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_what_is_given_changes_and_the_rest_stays(run: Path) -> None:
    assert read_labels(run) == Labels()
    assert change_labels(run, add=["best", "paper"], note=" the one ") == Labels(tags=("best", "paper"), note="the one")
    assert change_labels(run, add=["best", "late"], remove=["paper", "never"]).tags == ("best", "late")
    assert change_labels(run, archived=True) == read_labels(run)
    assert read_labels(run) == Labels(tags=("best", "late"), note="the one", archived=True)
    assert change_labels(run, note="", archived=False) == Labels(tags=("best", "late"))


def test_a_change_to_the_same_writes_nothing(run: Path) -> None:
    change_labels(run, note="")
    assert not (run / "labels.json").exists()


@pytest.mark.parametrize("tag", ["", " ", "two words", "a,b", "-x", "+x", "é" * 41, "a\n", "<b>", "_x", "\ud800"])
def test_what_is_no_word_is_no_tag(run: Path, tag: str) -> None:
    with pytest.raises(InvalidInput, match="is no tag: one is up to 40 letters"):
        change_labels(run, add=[tag])
    assert not (run / "labels.json").exists()


@pytest.mark.parametrize("tag", ["best", "lr=0.0008", "größe", "v1.2", "a/b", "sweep:3", "日本"])
def test_a_word_is(run: Path, tag: str) -> None:
    assert change_labels(run, add=[tag]).tags == read_labels(run).tags == (tag,)


def test_there_is_a_bound_to_both(run: Path) -> None:
    change_labels(run, add=[f"t{number}" for number in range(MOST_TAGS)])
    with pytest.raises(InvalidInput, match="at most 20 tags, this would be 21"):
        change_labels(run, add=["more"])
    with pytest.raises(InvalidInput, match="at most 4000 characters, got 4001"):
        change_labels(run, note="x" * 4001)
    assert len(read_labels(run).tags) == MOST_TAGS


def test_only_a_run_has_labels(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a run's folder"):
        change_labels(tmp_path, add=["best"])
    assert list(tmp_path.iterdir()) == []


def test_two_who_write_at_once_both_do(run: Path) -> None:
    def tag(number: int) -> None:
        change_labels(run, add=[f"t{number}"], note=str(number))

    threads = [threading.Thread(target=tag, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(read_labels(run).tags) == {f"t{number}" for number in range(8)}


def test_a_full_disk_leaves_what_was_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = change_labels(run, add=["best"], note="kept")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StackError, match=r"cannot write .*labels.json: No space left"):
        change_labels(run, add=["more"])
    assert read_labels(run) == before
    assert {path.name for path in run.iterdir()} == {"config.json", "labels.json", ".labels.lock"}


def test_a_writer_killed_half_way_leaves_what_was_there(run: Path) -> None:
    before = change_labels(run, add=["best"])
    (run / ".labels.json.tmp").write_text('{"tags": ["be')
    assert read_labels(run) == before
    assert change_labels(run, add=["next"]).tags == ("best", "next")


@pytest.mark.parametrize(
    "text", ["", "{", '{"tags": [1]}', '{"tags": ["two words"]}', '{"schema_version": 99, "x": 1}', "\xff"]
)
def test_a_damaged_file_is_not_written_over(run: Path, text: str) -> None:
    (run / "labels.json").write_text(text, encoding="latin-1")
    for change in (lambda: read_labels(run), lambda: change_labels(run, add=["best"])):
        with pytest.raises(InvalidInput, match=r"labels.json"):
            change()
    assert (run / "labels.json").read_text(encoding="latin-1") == text


def test_a_link_is_not_followed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "file"
    outside.write_text('{"tags": ["theirs"]}')
    (run / "labels.json").symlink_to(outside)
    with pytest.raises(InvalidInput, match="is a link, which is not followed"):
        change_labels(run, add=["best"])
    assert outside.read_text() == '{"tags": ["theirs"]}'


def runs_in(folder: Path) -> dict[str, Path]:
    roots = {name: folder / name for name in ("first", "second", "third")}
    for root in roots.values():
        root.mkdir()
        (root / "config.json").write_text("{}")
    return roots


def test_where_one_of_several_runs_refuses_a_change_none_is_changed(tmp_path: Path) -> None:
    roots = runs_in(tmp_path)
    change_labels(roots["third"], add=[f"t{number}" for number in range(MOST_TAGS)])
    with pytest.raises(InvalidInput, match="at most 20 tags, this would be 21"):
        change_labels_of(roots, add=["best"])
    assert read_labels(roots["first"]) == read_labels(roots["second"]) == Labels()


def test_where_one_cannot_be_written_all_the_same_it_is_said_which_are_changed(tmp_path: Path) -> None:
    roots = runs_in(tmp_path)
    (roots["third"] / ".labels.lock").mkdir()
    with pytest.raises(StackError, match=r"third.*; changed already: first, second$"):
        change_labels_of(roots, add=["best"])
    assert read_labels(roots["second"]).tags == ("best",)
