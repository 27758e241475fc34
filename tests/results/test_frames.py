"""Runs as frames: every number that pages draw, with its interval, and every folder, readable or not."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from claas import results
from claas.core.errors import InvalidInput, MissingExtra
from claas.core.settings import TrainingConfig
from claas.results.__main__ import main
from claas.results.columns import TABLES, Column
from claas.results.labels import change_labels
from claas.results.manifest import PlannedTrack
from claas.results.run_files import PreferenceFiles, RunFiles
from claas.results.settings import ProtocolConfig
from tests.dashboard.written_runs import EXAMPLE, Few, few, read, write_run
from tests.results.synthetic_runs import Unchanged, make_history

EXAMPLES = EXAMPLE.parent


class FewUnchanged(Unchanged, Few):
    """Nothing is learned, on few prompts."""


def one(frame: Any, **wanted: object) -> Any:
    """The only row that has these values."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds and two learning rates of one configuration, and a folder that is no run."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        for rate in (1e-3, 1e-4):
            history = few(steps=3) if rate == 1e-3 else make_history(FewUnchanged(), steps=3)
            write_run(
                folder / f"seed-{seed}-{rate:g}",
                {"concise": history},
                seed=seed,
                training=TrainingConfig(learning_rate=rate),
            )
    (folder / "plots-of-mine").mkdir()
    return folder


def test_every_frame_has_its_columns_and_kinds_with_rows_and_without(tmp_path: Path) -> None:
    write_run(tmp_path / "new", {}, summarised=False)
    for places in (EXAMPLE, tmp_path / "new"):
        for name, columns in TABLES.items():
            frame = getattr(results, name)(places)
            assert list(frame.columns) == [column.name for column in columns]
            assert [str(kind) for kind in frame.dtypes] == [column.kind for column in columns]
            assert frame.attrs == {"schema_version": 1}


def test_steps_are_the_records_with_the_baseline_as_update_0() -> None:
    steps = results.steps(EXAMPLE)
    files = PreferenceFiles(EXAMPLE / "concise")
    baseline, recorded = files.read_baseline(), files.read_steps()
    assert baseline is not None
    heldout = steps[steps.key == "heldout_compliance"]
    expected = [record.eval["heldout_compliance"] for record in (baseline, *recorded)]
    assert (list(heldout["update"]), list(heldout["value"])) == ([0, 1, 2, 3], expected)
    assert list(heldout["digest"]) == [record.adapter.digest for record in (baseline, *recorded)]
    assert pandas.isna(heldout["taught"].iloc[0])
    assert list(heldout["taught"])[1:] == ["concise"] * 3
    row = one(steps, source="sdpo_metrics", key="grad_norm", update=3)
    assert row["value"] == recorded[2].sdpo_metrics["grad_norm"]
    row = one(steps, source="counts", key="heldout.scored", update=0)
    assert row["value"] == baseline.counts["heldout"].scored == 64
    row = one(steps, source="tokens", key="prompt", update=1)
    assert row["value"] == recorded[0].tokens["prompt"]


def test_every_number_of_every_record_is_in_the_frame_once() -> None:
    steps = results.steps(EXAMPLES)
    places = ["run", "track", "update", "source", "key"]
    assert not steps.duplicated(places).any()
    rows = {tuple(row) for row in steps[places].itertuples(index=False)}
    for path in EXAMPLES.glob("*/*/steps.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            for metric, value in record["eval"].items():
                for key in [f"{metric}.{part}" for part in value] if isinstance(value, dict) else [metric]:
                    assert (path.parents[1].name, "concise", record["step"] + 1, "eval", key) in rows


def test_intervals_are_those_of_the_criteria() -> None:
    """By Wilson, of 57 of 64 held-out prompts' scores; of the criterion, and so on the pages."""
    row = one(results.steps(EXAMPLE), key="heldout_compliance", update=3, source="eval")
    ruling = one(results.criteria(EXAMPLE), criterion="heldout_compliance")
    assert (row["low"], row["high"]) == pytest.approx((ruling["low"], ruling["high"]))
    assert row["low"] < row["value"] < row["high"]


def test_a_number_relative_to_baseline_has_its_value_there_by_definition() -> None:
    row = one(results.steps(EXAMPLE), key="logprob_margin.margin_delta_from_baseline", update=0)
    assert (row["value"], row["low"], row["high"]) == (0, 0, 0)


def test_what_was_due_and_lost_is_empty_and_what_was_not_due_has_no_row(tmp_path: Path) -> None:
    history = few(steps=2)
    lost = history.steps[0].model_copy(update={"eval": {**history.steps[0].eval, "heldout_compliance": None}})
    write_run(tmp_path / "run", {"concise": replace(history, steps=(lost, history.steps[1]))})
    steps = results.steps(tmp_path)
    assert math.isnan(one(steps, key="heldout_compliance", update=1)["value"])
    assert list(steps[steps.key == "collapse.self_rouge_l"]["update"]) == [0, 1, 2]
    every_second = results.steps(EXAMPLES / "smollm2-concise")
    assert list(every_second[every_second.key == "heldout_compliance"]["update"]) == [0, 2, 4]


def test_runs_have_what_differs_between_them_and_name_what_cannot_be_read(seeds: Path) -> None:
    runs = results.runs(seeds)
    assert list(runs["run"]) == [
        "plots-of-mine", "seed-1-0.0001", "seed-1-0.001", "seed-2-0.0001", "seed-2-0.001",
    ]  # fmt: skip
    assert list(runs.columns[len(TABLES["runs"]) :]) == ["training.learning_rate"]
    odd = one(runs, run="plots-of-mine")
    assert (odd["state"], odd["problem"]) == ("unreadable", "no run: an empty folder")
    row = one(runs, run="seed-2-0.0001")
    assert (row["seed"], row["training.learning_rate"], row["state"], row["updates"]) == (2, 1e-4, "complete", 3)
    assert row["verdict"] == "fail"
    assert "num_steps" in results.runs(seeds, all_settings=True).columns


def test_a_run_has_what_a_person_noted_of_it(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=1)})
    change_labels(tmp_path / "run", ["best", "paper"], note="the one")
    row = results.runs(tmp_path).iloc[0]
    assert (row["tags"], row["note"], row["archived"]) == ("best, paper", "the one", False)


def test_learning_curves_over_seeds_take_five_lines(seeds: Path) -> None:
    with pytest.warns(UserWarning, match="plots-of-mine: no run: an empty folder"):
        steps = results.steps(seeds)
    runs = results.runs(seeds).set_index("run")
    curves = steps[steps.key == "heldout_compliance"].join(runs["training.learning_rate"], on="run")
    table = curves.pivot_table(index="update", columns="training.learning_rate", values="value", aggfunc="mean")
    assert table.loc[3].tolist() == pytest.approx([0.0, 1.0])


def test_a_run_that_was_stopped_says_so_and_shows_how_far_it_came(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=4, done=2)}, summarised=False)
    row = results.runs(tmp_path).iloc[0]
    assert (row["state"], row["updates"], row["planned_updates"]) == ("stopped", 2, 4)
    assert pandas.isna(row["verdict"])
    rulings = results.criteria(tmp_path)
    assert set(rulings["verdict"]) == {"inconclusive"}
    assert not rulings["complete"].any()


def test_a_failed_preference_says_why(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=4, done=2, failure="the engine is gone")})
    row = results.runs(tmp_path / "run").iloc[0]
    assert (row["state"], row["problem"]) == ("failed", "concise: the engine is gone")


def with_tracks(folder: Path, tracks: list[PlannedTrack]) -> None:
    files = RunFiles(folder)
    manifest = read(folder).manifest.model_copy(update={"tracks": tuple(tracks)})
    files.config.write_text(manifest.model_dump_json())


def test_what_was_taught_and_what_was_measured_are_told_apart(tmp_path: Path) -> None:
    """A flip after 2 of 3 updates, a control that is praised, and a number about the other preference."""
    flipped, praised = few(steps=3), few(steps=3)
    last = flipped.steps[2].model_copy(update={"eval": {**flipped.steps[2].eval, "across": {"no_emoji": 0.5}}})
    flipped = replace(flipped, steps=(*flipped.steps[:2], last))
    write_run(
        tmp_path / "run",
        {"concise": flipped, "concise-neutral": praised},
        preferences=["concise", "no_emoji"],
        protocol=ProtocolConfig(kind="flip"),
        summarised=False,
    )
    with_tracks(
        tmp_path / "run",
        [
            PlannedTrack(name="concise", adapter="concise", preference="concise", num_steps=3, flips_at=2),
            PlannedTrack(
                name="concise-neutral", adapter="c", preference="concise", num_steps=3, arm="neutral",
                control_of="concise",
            ),
        ],
    )  # fmt: skip
    steps = results.steps(tmp_path)
    curve = steps[(steps.key == "heldout_compliance") & (steps.arm == "feedback")]
    assert list(curve["taught"])[1:] == ["concise", "concise", "not concise"]
    control = steps[steps.arm == "neutral"]
    assert control["taught"].isna().all()
    assert set(control["control_of"]) == {"concise"}
    assert one(steps, key="across.no_emoji")["preference"] == "no_emoji"
    assert set(results.criteria(tmp_path)["track"]) == {"concise"}


def test_of_several_preferences_at_once_all_were_taught(tmp_path: Path) -> None:
    write_run(
        tmp_path / "run",
        {"mixed": few("mixed", steps=1)},
        preferences=["concise", "no_emoji"],
        protocol=ProtocolConfig(kind="mixed"),
    )
    with_tracks(tmp_path / "run", [PlannedTrack(name="mixed", adapter="mixed", preference="mixed", num_steps=1)])
    row = one(results.steps(tmp_path), key="heldout_compliance", update=1)
    assert (row["preference"], row["taught"]) == ("mixed", "concise, no_emoji")


def test_samples_are_the_transcripts_with_their_verdicts_and_feedback() -> None:
    samples = results.samples(EXAMPLE, [0, 3])
    assert set(samples["update"]) == {0, 3}
    recorded = PreferenceFiles(EXAMPLE / "concise").read_steps()[2]
    assert len(samples[samples["update"] == 3]) == len(recorded.rollouts)
    trained = samples[samples["trained"]]
    assert list(trained["response"]) == recorded.responses
    assert set(trained["feedback"]) == {recorded.feedback_given}
    heldout = samples[samples["item"].str.startswith("heldout/") & (samples.metric == "compliance")]
    by_update = heldout.groupby("update")["score"].mean()
    assert by_update[3] == pytest.approx(recorded.eval["heldout_compliance"])


def test_a_run_that_was_asked_for_and_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=1)})
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"config\.json cannot be read"):
        results.steps(tmp_path / "run")
    assert results.runs(tmp_path / "run").iloc[0]["state"] == "unreadable"
    with pytest.raises(InvalidInput, match="there is no folder"):
        results.runs(tmp_path / "nothing")


def test_damage_in_a_run_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"concise": few(steps=2)})
    steps = tmp_path / "run" / "concise" / "steps.jsonl"
    steps.write_text(steps.read_text().splitlines()[0] + "\nnonsense\n")
    with pytest.warns(UserWarning, match=r"run: .*steps.jsonl cannot be read"):
        assert set(results.steps(tmp_path)["update"]) == {0, 1}


def test_runs_of_one_name_in_several_places_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for place in ("a", "b"):
        write_run(tmp_path / place / "run", {"concise": few(steps=1)})
    names = list(results.runs([tmp_path / "a", tmp_path / "b", tmp_path / "b" / "run"])["run"])
    assert names == [str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run")]


@pytest.mark.parametrize("to", ["parquet", "csv"])
def test_tables_are_exported_as_files_that_read_back(to: str, tmp_path: Path, seeds: Path, capsys: Any) -> None:
    given = ["export", str(seeds), str(EXAMPLE), "--to", to, "--output", str(tmp_path), "--samples"]
    assert main(given) == 0
    said = capsys.readouterr()
    assert said.err.count("plots-of-mine") == 1
    assert said.out.splitlines() == [
        str(tmp_path / f"{name}.{to}") for name in ("runs", "steps", "criteria", "samples")
    ]
    for path in tmp_path.iterdir():
        back = pandas.read_parquet(path) if to == "parquet" else pandas.read_csv(path)
        assert set(back["run"]) >= {"concise-3-steps", "seed-1-0.001"}
    if to == "parquet":
        pandas.testing.assert_frame_equal(
            pandas.read_parquet(tmp_path / "runs.parquet"), results.runs([seeds, EXAMPLE])
        )


def test_a_csv_file_holds_no_formula(tmp_path: Path, capsys: Any) -> None:
    history = few(steps=1)
    rollout = history.steps[0].rollouts[0].model_copy(update={"response": "=1+1"})
    step = history.steps[0].model_copy(update={"rollouts": [rollout, *history.steps[0].rollouts[1:]]})
    write_run(tmp_path / "run", {"concise": replace(history, steps=(step,))})
    main(["export", str(tmp_path / "run"), "--to", "csv", "--output", str(tmp_path / "out"), "--samples"])
    assert "'=1+1" in (tmp_path / "out" / "samples.csv").read_text()
    assert "=1+1" in set(results.samples(tmp_path / "run")["response"])


def test_a_mistake_is_a_line(tmp_path: Path, capsys: Any) -> None:
    assert main(["export", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"claas.results: {tmp_path} is no run, and holds none: there is no config.json in or below it\n"
    )


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"pandas is not installed; install it with: pip install 'claas\[data\]'"):
        results.runs(EXAMPLE)


def test_nothing_is_loaded_before_a_frame_is_asked_for() -> None:
    code = (
        "import sys; from claas import results; print([n for n in sys.modules if n in ('pandas', 'pydantic', 'numpy')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def every_column() -> Iterator[Column]:
    for columns in TABLES.values():
        yield from columns


def test_every_column_says_what_it_means_and_one_name_is_one_kind() -> None:
    kinds: dict[str, str] = {}
    for column in every_column():
        assert column.meaning
        assert kinds.setdefault(column.name, column.kind) == column.kind
