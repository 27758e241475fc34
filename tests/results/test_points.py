"""The index of a preference is what its records say, however they came to be there, and reads only what is new."""

import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.core.errors import InvalidInput, NotFound
from claas.results.estimates import estimate
from claas.results.keys import judged, keys_of_schema_1
from claas.results.points import Points, read_cached, read_measurement, read_points, write_cached
from claas.results.records import flat
from claas.results.run_files import PreferenceFiles, PreferenceRecords, declared_keys
from tests.dashboard.written_runs import EXAMPLE, few, lines, without_transcripts
from tests.results.synthetic_runs import make_history

HISTORY = few(steps=4)
LINES = [line + "\n" for line in lines(HISTORY)]


@pytest.fixture
def files(tmp_path: Path) -> PreferenceFiles:
    """A preference of four steps, measured on few prompts."""
    return preference(tmp_path / "concise")


def preference(root: Path, text: str = "".join(LINES)) -> PreferenceFiles:
    root.mkdir(parents=True)
    files = PreferenceFiles(root)
    assert HISTORY.baseline is not None
    files.baseline.write_text(HISTORY.baseline.model_dump_json())
    files.steps.write_text(text)
    return files


def anew(files: PreferenceFiles, confidence: float = 0.95) -> Points:
    return read_points(files, None, confidence, keys_of_schema_1())


def test_curves_and_intervals_are_those_of_the_whole_records(tmp_path: Path) -> None:
    files = PreferenceFiles(shutil.copytree(EXAMPLE / "concise", tmp_path / "concise"))
    whole = PreferenceRecords.read(files).history("concise", 3)
    points = read_points(files, None, 0.95, declared_keys(files.read_metadata()))
    light = points.history("concise", 3, None)
    assert light == without_transcripts(whole)
    assert points.damage is None
    assert {key: light.curve(key) for key in light.known_keys()} == {
        key: whole.curve(key) for key in whole.known_keys()
    }
    for updates in range(4):
        for key, criterion in judged(whole.keys):
            due = updates in whole.curve(key.key)
            found = estimate(key, whole.rollouts(updates), whole.rollouts(0), 0.0, 0.95).interval
            assert points.interval(updates, criterion.name) == (found if due else None)
    assert points.interval(4, "heldout_compliance") is None
    assert points.interval(3, "unheard_of") is None


def test_a_measurement_that_was_not_due_has_no_interval(tmp_path: Path) -> None:
    history = make_history(steps=4, preference="concise")
    files = PreferenceFiles(tmp_path)
    assert history.baseline is not None
    files.baseline.write_text(history.baseline.model_dump_json())
    files.steps.write_text("".join(line + "\n" for line in lines(history)))
    points = anew(files)
    assert history.curve("collapse.mean_entropy").keys() == {0, 1, 4}
    assert [points.interval(updates, "entropy_ratio") is not None for updates in range(5)] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_a_measurement_is_read_by_its_place_with_all_its_transcripts(files: PreferenceFiles) -> None:
    points = anew(files)
    assert read_measurement(files, points, 0) == HISTORY.baseline
    assert [read_measurement(files, points, updates) for updates in range(1, 5)] == list(HISTORY.steps)
    for updates in (-1, 5, 10**9):
        with pytest.raises(NotFound, match=f"nothing was measured after {updates} updates; the last one is after 4"):
            read_measurement(files, points, updates)
    with pytest.raises(NotFound, match="not even the baseline"):
        read_measurement(files, Points(confidence=0.95, keys=(), baseline_stamp=None, steps_stamp=None), 0)


def test_a_measurement_that_is_not_there_any_more_is_an_error_and_never_another_one(files: PreferenceFiles) -> None:
    points = anew(files)
    files.steps.write_text("".join([LINES[0], "x" * 7, *LINES[1:]]))
    with pytest.raises(InvalidInput, match=r"steps\.jsonl"):
        read_measurement(files, points, 3)
    files.steps.write_text("".join([LINES[0], LINES[1].replace('"step":1,', '"step":3,'), *LINES[2:]]))
    assert read_measurement(files, points, 1) == HISTORY.steps[0]
    with pytest.raises(InvalidInput, match=r"steps\.jsonl was changed"):
        read_measurement(files, points, 2)
    files.steps.unlink()
    with pytest.raises(InvalidInput, match=r"steps\.jsonl"):
        read_measurement(files, points, 1)


@st.composite
def growths(draw: st.DrawFn) -> list[str]:
    """What is appended to steps.jsonl, piece by piece: whole lines, parts of lines, nothing."""
    text = "".join(LINES[: draw(st.integers(0, len(LINES)))])
    ends = [0]
    for line in LINES:
        ends.append(ends[-1] + len(line))
    places = st.one_of(st.sampled_from([end for end in ends if end <= len(text)]), st.integers(0, len(text)))
    cuts = sorted(draw(st.lists(places, max_size=6)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@settings(max_examples=40)
@given(growths(), st.booleans())
def test_reading_as_the_file_grows_gives_what_reading_at_once_does(pieces: list[str], from_nothing: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = preference(Path(folder) / "concise", "")
        if from_nothing:
            files.steps.unlink()
        known = read_points(files, None, 0.95, keys_of_schema_1())
        for piece in pieces:
            with files.steps.open("a") as file:
                file.write(piece)
            known = read_points(files, known, 0.95, keys_of_schema_1())
        assert known == anew(files)
        assert len(known.points) == "".join(pieces).count("\n")


def test_the_first_step_is_seen_as_soon_as_it_is_there(files: PreferenceFiles) -> None:
    files.steps.unlink()
    known = anew(files)
    assert (known.baseline is not None, known.points) == (True, ())
    files.steps.write_text(LINES[0])
    assert len(read_points(files, known, 0.95, keys_of_schema_1()).points) == 1


def test_only_new_lines_are_read(files: PreferenceFiles) -> None:
    """An earlier line that was spoilt without a trace of it in the last one is not looked at again."""
    files.steps.write_text("".join(LINES[:2]))
    known = anew(files)
    files.steps.write_text("".join(["#" * (len(LINES[0]) - 1) + "\n", *LINES[1:]]))
    grown = read_points(files, known, 0.95, keys_of_schema_1())
    assert grown.damage is None
    assert grown.history("concise", 4, None) == without_transcripts(HISTORY)
    assert anew(files).damage is not None, "whoever reads all of it sees that"


def test_what_has_not_changed_is_not_read_at_all(files: PreferenceFiles) -> None:
    known = anew(files)
    assert read_points(files, known, 0.95, keys_of_schema_1()) is known


def rewritten(text: str) -> list[str]:
    """Other records of the same kind."""
    return [line.replace('"feedback_given":"shorter"', f'"feedback_given":"{text}"') for line in LINES]


@pytest.mark.parametrize(
    "now",
    [
        [],
        LINES[:2],
        rewritten("longer!"),
        rewritten("longest"),
        rewritten("something else altogether"),
        [*rewritten("something else altogether")[:1], *LINES[1:]],
        [*rewritten("longer!")[:1], *LINES[1:]],
    ],
)
def test_a_file_that_was_rewritten_is_read_anew(files: PreferenceFiles, now: list[str]) -> None:
    known = anew(files)
    files.steps.write_text("".join(now))
    assert read_points(files, known, 0.95, keys_of_schema_1()) == anew(files)


def test_a_file_that_was_rewritten_and_grew_is_read_anew(files: PreferenceFiles) -> None:
    files.steps.write_text("".join(LINES[:2]))
    known = anew(files)
    files.steps.write_text("".join(rewritten("longer!")))
    assert read_points(files, known, 0.95, keys_of_schema_1()) == anew(files)


def test_another_baseline_or_confidence_makes_other_intervals(files: PreferenceFiles) -> None:
    known = anew(files)
    wider = read_points(files, known, 0.99, keys_of_schema_1())
    assert wider == anew(files, 0.99)
    assert wider.points[-1].intervals != known.points[-1].intervals
    assert HISTORY.baseline is not None
    other = few(steps=4, done=0).baseline
    assert other is not None
    changed = other.model_copy(update={"rollouts": [each for each in other.rollouts if "pair/1" not in each.item]})
    files.baseline.write_text(changed.model_dump_json())
    now = read_points(files, known, 0.95, keys_of_schema_1())
    assert now == anew(files)
    assert now.points[-1].intervals["margin_gain"] != known.points[-1].intervals["margin_gain"]
    files.baseline.unlink()
    gone = read_points(files, now, 0.95, keys_of_schema_1())
    assert (gone.baseline, gone.points) == (None, ())
    assert gone.damage == f"{files.baseline} is missing, though steps were measured after it"
    assert HISTORY.baseline is not None
    files.baseline.write_text(HISTORY.baseline.model_dump_json())
    assert read_points(files, gone, 0.95, keys_of_schema_1()).points == known.points, "what is put back is read again"


def test_an_index_of_another_version_is_not_used(files: PreferenceFiles) -> None:
    older = anew(files).model_copy(update={"index_version": 0, "points": ()})
    assert read_points(files, older, 0.95, keys_of_schema_1()) == anew(files)


BROKEN = [
    (b"{}\n", "cannot be read"),
    (b"\n", "cannot be read"),
    (b"\xff\xfe\n", "is damaged at line 3: it is not UTF-8"),
    (LINES[3].encode(), "line 3 is of step 3, not 2"),
    (LINES[0].encode(), "line 3 is of step 0, not 2"),
    (LINES[2].replace('"schema_version":1', '"schema_version":2').encode(), "is of schema 2, this version"),
    (LINES[2].replace('{"schema', '{"later":0,"schema').replace(":1,", ":7,", 1).encode(), "is of schema 7"),
    (LINES[2].replace('"score":1.0', '"score":1.5').encode(), "line 3 of .* is damaged: .* a score is from 0 to 1"),
    (LINES[2].replace('"score":1.0', '"score":NaN').encode(), "cannot be read"),
    (LINES[2].replace("2026-01-01T00:00:00Z", "yesterday").encode(), "line 3 of .* is damaged: .*'yesterday'"),
    (LINES[2].replace('"logprobs":[-', '"logprobs":[1e308,-1e308,1e308,1e308,-').encode(), "line 3 of .* is damaged: "),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), BROKEN)
def test_a_damaged_line_ends_what_is_read_and_is_named(files: PreferenceFiles, line: bytes, said: str) -> None:
    assert line not in (LINES[2].encode(), b"")
    files.steps.write_bytes("".join(LINES[:2]).encode() + line + LINES[3].encode())
    points = anew(files)
    assert points.history("concise", 4, None).steps == without_transcripts(HISTORY).steps[:2]
    assert points.damage is not None
    assert str(files.steps) in points.damage
    assert re.search(said, points.damage), points.damage
    files.steps.write_text("".join(LINES))
    assert len(read_points(files, points, 0.95, keys_of_schema_1()).points) == 4, "mended, it is read again"


def test_a_damaged_baseline_is_named(files: PreferenceFiles) -> None:
    whole = files.baseline.read_text()
    for broken in ("", "{", whole.replace('"score":1.0', '"score":-1.0'), whole.replace("2026-", "20x26-")):
        assert broken != whole
        files.baseline.write_text(broken)
        points = anew(files)
        assert (points.baseline, points.points) == (None, ())
        assert str(files.baseline) in str(points.damage)


def test_a_torn_last_line_is_none_yet(files: PreferenceFiles) -> None:
    files.steps.write_text("".join(LINES)[:-1])
    points = anew(files)
    assert (len(points.points), points.damage) == (3, None)


def test_before_the_baseline_there_is_nothing_and_no_damage(tmp_path: Path) -> None:
    points = anew(PreferenceFiles(tmp_path))
    assert (points.baseline, points.points, points.damage) == (None, (), None)


def test_an_index_comes_back_as_it_was_kept_or_not_at_all(files: PreferenceFiles, tmp_path: Path) -> None:
    points, place = anew(files), tmp_path / "kept" / "concise.json"
    assert read_cached(place, Points) is None
    write_cached(place, points)
    assert read_cached(place, Points) == points
    whole = place.read_bytes()
    number = whole.index(b'"heldout_compliance":') + len(b'"heldout_compliance":')
    for spoilt in (
        b"",
        whole[:-1],
        whole[:100],
        whole[: number + 2] + b"7" + whole[number + 3 :],
        b"\xff" + whole,
        whole + b" ",
    ):
        place.write_bytes(spoilt)
        assert read_cached(place, Points) is None
    place.unlink()
    place.mkdir()
    assert read_cached(place, Points) is None
    write_cached(tmp_path / "kept" / "concise.json" / "x" / "y.json", points)
    (tmp_path / "file").touch()
    write_cached(tmp_path / "file" / "x.json", points)
    assert read_cached(tmp_path / "file" / "x.json", Points) is None


def test_planned_steps_and_failure_are_those_it_is_asked_with(files: PreferenceFiles) -> None:
    history = anew(files).history("other", 9, "gone")
    assert (history.preference, history.planned_steps, history.failure) == ("other", 9, "gone")
    assert history.baseline is not None
    assert flat(history.baseline.eval).keys() >= {key.key for key, _ in judged(history.keys)}
