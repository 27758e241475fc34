"""Which folders are runs, what the others are, and that nothing outside the root is ever looked at."""

import os
from pathlib import Path

import pytest

from claas.core.errors import BadRequest, NotFound
from claas.dashboard.run_page import plot_file
from claas.results.run_index import find_runs, results_folder, run_folder

ODD_NAMES = [
    "a b",
    "50%25",
    "a&b=c",
    "<b>x</b>",
    "\"'`",
    "läuft 🦊",
    "line\nbreak",
    "#?;",
    "\u202eabc",
    "a" * 255,
]


def make_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    return folder


def found(results: Path) -> dict[str, str | None]:
    return {folder.name: folder.problem for folder in find_runs(results)}


def test_runs_are_found_in_folders_of_folders_and_the_rest_is_said(tmp_path: Path) -> None:
    for name in ("one", "group/two", "group/deeper/three", "group/one", "too/many/folders/four"):
        make_run(tmp_path / name)
    (tmp_path / "one" / "concise").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "group" / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").touch()
    (tmp_path / "notes" / ".hidden").touch()
    make_run(tmp_path / ".hidden")
    (tmp_path / "a file").touch()
    assert found(tmp_path) == {
        "one": None,
        "group/one": None,
        "group/two": None,
        "group/deeper/three": None,
        "group/empty": "no run: an empty folder",
        "too": "no run: it holds many but no config.json",
        "empty": "no run: an empty folder",
        "notes": "no run: it holds todo.txt but no config.json",
    }


def test_links_are_followed_inside_and_said_elsewhere(tmp_path: Path) -> None:
    outside, results = make_run(tmp_path / "outside"), tmp_path / "results"
    make_run(results / "inside")
    (results / "again").symlink_to("inside")
    (results / "away").symlink_to(outside)
    (results / "up").symlink_to("..")
    (results / "gone").symlink_to("nowhere")
    (results / "circle").symlink_to("circle")
    (results / "group").mkdir()
    (results / "group" / "away").symlink_to(outside)
    shown = found(results)
    assert shown.pop("circle", "it cannot be read").startswith("it cannot be read")
    elsewhere = "a link to a folder elsewhere, which is not followed"
    assert shown == {
        "inside": None,
        "again": None,
        "away": elsewhere,
        "up": elsewhere,
        "group": "no run: it holds away but no config.json",
    }
    for name in ("away", "up", "group/away"):
        with pytest.raises(BadRequest, match="is not a folder below"):
            run_folder(results, name)


def test_a_name_that_is_not_utf_8_is_said(tmp_path: Path) -> None:
    make_run(tmp_path / "good")
    make_run(tmp_path / os.fsdecode(b"bad-\xff"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / os.fsdecode(b"\xfe")).touch()
    assert found(tmp_path) == {
        "good": None,
        "bad-\ufffd": "its name is not UTF-8, so no address can name it; rename it",
        "other": "no run: it holds \ufffd but no config.json",
    }


def test_no_folder_holds_no_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert found(tmp_path / "nowhere") == found(tmp_path / "file") == {}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_names_its_run(tmp_path: Path, name: str) -> None:
    made = make_run(tmp_path / name)
    assert found(tmp_path) == {name: None}
    assert run_folder(tmp_path, name) == made


def outside(root: Path) -> list[str]:
    """Spellings of folders that are not below the root."""
    return [
        "",
        ".",
        "..",
        "/",
        "~",
        "/etc",
        "\0",
        f"{root}/\0",
        str(root.parent),
        f"{root}/..",
        f"{root}/inside/../..",
        f"{root}/../{root.name}-other",
        f"{root}-other",
        f"{root}/away",
        f"{root}/away/inner",
        f"{root}/..//..",
        "//etc",
        "file:///etc",
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    make_run(root / "inside")
    make_run(tmp_path / "root-other" / "inner")
    (root / "away").symlink_to(tmp_path / "root-other")
    return root


@pytest.mark.parametrize("index", range(18))
def test_a_results_folder_outside_the_root_is_refused_in_every_spelling(root: Path, index: int) -> None:
    asked = outside(root)[index]
    with pytest.raises(BadRequest, match="is outside of"):
        results_folder(root, asked)


def test_a_results_folder_inside_the_root_is_taken_in_every_spelling(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    (root / "within").symlink_to(root / "inside")
    assert results_folder(root, None) == root
    for asked in ("root", "./root", f"{root}", f"{root}/", "root/inside", "root/inside/..", "root/within", "root/new"):
        assert results_folder(root, asked).resolve().is_relative_to(root)
        assert results_folder(Path("root"), asked).resolve().is_relative_to(root)


@pytest.mark.parametrize(
    "name", [".", "..", "../root-other/inner", "/etc", "\0", "a\0b", "away", "away/inner", "inside/.."]
)
def test_a_run_outside_the_results_folder_is_refused(root: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="is not a folder below"):
        run_folder(root, name)


@pytest.mark.parametrize("name", ["nowhere", "inside/config.json", "inside/nowhere", "a" * 300, "a/" * 3000])
def test_a_run_that_is_not_there_is_not_found(root: Path, name: str) -> None:
    with pytest.raises(NotFound, match="there is no run"):
        run_folder(root, name)


def test_a_picture_is_found_by_its_name_and_nothing_else_is(root: Path) -> None:
    run, secret = root / "inside", root.parent / "secret.png"
    (run / "plots").mkdir()
    (run / "plots" / "heldout_compliance.png").write_bytes(b"png")
    (run / "plots" / "folder.png").mkdir()
    secret.touch()
    (run / "plots" / "link.png").symlink_to(secret)
    assert plot_file(run, "heldout_compliance").read_bytes() == b"png"
    names = ["", "nothing", "folder", "link", "../config", "heldout_compliance.png", "a" * 65, "\0", "x\n", "HELDOUT"]
    for name in names:
        with pytest.raises(NotFound, match="the run has no picture called"):
            plot_file(run, name)


def test_a_folder_of_pictures_elsewhere_is_not_looked_at(root: Path) -> None:
    (root.parent / "pictures").mkdir()
    (root.parent / "pictures" / "secret.png").touch()
    (root / "inside" / "plots").symlink_to(root.parent / "pictures")
    with pytest.raises(NotFound):
        plot_file(root / "inside", "secret")
