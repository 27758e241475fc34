"""`python -m claas.results`: runs listed, tagged, archived, freed and deleted from the command line."""

import io
import sys
from pathlib import Path

import pytest

from claas.results.__main__ import main
from claas.results.labels import read_labels
from tests.dashboard.written_runs import few, write_run
from tests.documents import document


@pytest.fixture
def evals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of one sweep, and a folder that is none, where the command looks by default."""
    monkeypatch.chdir(tmp_path)
    folder = Path("data/evals")
    write_run(folder / "a", {"concise": few(steps=1)}, created="2026-01-01T00:00:00+00:00", seed=1)
    write_run(folder / "b", {"concise": few(steps=1)}, created="2026-01-02T00:00:00+00:00", seed=2)
    (folder / "empty").mkdir()
    return folder


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_tags_are_added_and_taken_away_of_several_runs_at_once(evals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tag", "a", str(evals / "b"), "+best", "+late"]) == 0
    assert main(["tag", "a", "-late", "+paper"]) == 0
    assert read_labels(evals / "a").tags == ("best", "paper")
    assert read_labels(evals / "b").tags == ("best", "late")
    said(capsys)
    assert main(["tag", "a"]) == 0
    assert said(capsys) == f"{evals / 'a'}: best paper\n"


def test_no_option_is_taken_for_a_tag(evals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tag", "a", "+best", "--yes"]) == 2
    assert "unrecognized arguments: --yes" in capsys.readouterr().err
    assert read_labels(evals / "a").tags == ()


def test_a_bundle_is_made_by_the_same_command(evals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "bundle", "--title", "Mine", "a"]) == 2
    missing = document(capsys.readouterr())
    assert missing["command"] == "claas.dashboard.bundle"
    assert "--output" in missing["error"]["cause"]
    assert main(["bundle", str(evals), "-o", "site", "--no-transcripts"]) == 0
    assert said(capsys).startswith("site/index.html: 2 runs, 1 comparisons")


def test_a_note_is_set_shown_and_taken_away(evals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given, shown in {("the one",): "the one", (): "the one", ("",): "no note"}.items():
        assert main(["note", "a", *given]) == 0
        assert said(capsys) == f"{shown}\n"


def test_the_list_says_what_runs_differ_in_and_leaves_archived_ones_out(
    evals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["tag", "a", "+best"])
    main(["archive", "b"])
    said(capsys)
    assert main(["list"]) == 0
    printed = said(capsys)
    assert "best" in printed
    assert "no run: an empty folder" in printed
    assert "2 of 3 runs in data/evals, 1 archived (--archived)" in printed
    main(["unarchive", "b"])
    said(capsys)
    for asked, names in {
        (): ["b", "a", "empty"],
        ("--tag", "best"): ["a"],
        ("--search", "seed=2"): ["b"],
        ("--search", "training.learning_rate=0.0008 BEST"): ["a"],
        ("--search", "seed"): [],
        ("--search", "learning_rate"): [],
        ("--state", "unreadable"): ["empty"],
        ("--archived",): [],
    }.items():
        assert main(["list", "--json", *asked]) == 0
        assert [run["run"] for run in document(capsys.readouterr())["result"]["runs"]] == names, asked
    main(["list"])
    assert "seed=2" in said(capsys)


def test_a_deletion_says_what_goes_and_is_confirmed(
    evals: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer, code in {"n\n": 2, "\n": 2, "": 2, "y\n": 0}.items():
        assert (evals / "a").exists()
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert main(["delete", "a"]) == code
        printed = capsys.readouterr()
        assert "data/evals/a: concise " in printed.out
        assert "delete 1 run, " in printed.out
        assert ("nothing was deleted" in printed.err) == (code != 0)
    assert not (evals / "a").exists()
    assert (evals / "b").exists()


def test_nobody_there_is_no_confirmation(evals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("delete", "free"):
        assert main([command, "a"]) == 2
        assert "nobody is there to confirm this; add --yes" in capsys.readouterr().err
    assert main(["free", "a", "--yes"]) == 0
    assert "the disk has 0 B back" in said(capsys)
    assert main(["delete", "a", "b", "--yes"]) == 0
    assert [path.name for path in evals.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["tag", "zzz", "+best"], "there is no folder zzz, nor data/evals/zzz"),
        (["tag", "a", "+two words"], "'two words' is no tag"),
        (["tag", "empty", "+best"], "is not a run's folder"),
        (["delete", "a", "empty", "--yes"], "is not a run's folder"),
        (["list", "zzz"], "there is no folder zzz"),
        (["list", "--state", "done"], "unknown state 'done'; known: "),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_done(
    evals: Path, given: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    printed = capsys.readouterr().err
    assert why in printed
    assert printed.count("\n") == 1
    assert (evals / "a").exists()


def test_plots_are_drawn_anew_in_a_style_and_formats_from_records_alone(
    evals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plots", "a", "--formats", "svg", "--style", "paper", "--output", str(tmp_path / "paper")]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert tmp_path / "paper" / "plots" / "compliance.svg" in written
    assert sorted((tmp_path / "paper" / "plots").iterdir()) == sorted(written)
    text = (tmp_path / "paper" / "plots" / "compliance.svg").read_text()
    assert "<!-- Held-out prompts" in text
    assert "learning rate" not in text, "a caption in print says it"
    assert not (evals / "a" / "plots").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["plots", "a", "--style", "nature"],
            "plot_style must be screen, paper or the path of a .mplstyle file, got 'na",
        ),
        (["plots", "a", "--style", "no.mplstyle"], "there is no style file no.mplstyle; name one"),
        (["plots", "a", "--formats", "gif"], "unknown plot_formats 'gif'; known: pdf, png, svg"),
        (["plots", "a", "b", "--output", "x"], "--output takes the plots of one run"),
    ],
)
def test_what_cannot_be_drawn_is_said_on_one_line(
    evals: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(evals.rglob("plots"))
