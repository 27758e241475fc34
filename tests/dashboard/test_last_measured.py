"""What is said of a run in progress is what its summary would say, though few transcripts are read."""

from dataclasses import replace
from pathlib import Path

import pytest

from claas.results import summary
from claas.results.overview import last_measured, summaries
from claas.results.summary import build_summary
from tests.dashboard.written_runs import (
    Few,
    few,
    read,
    write_run,
)
from tests.results.synthetic_runs import Collapsing, Unchanged, World, make_history

WORLDS = [(World, 7), (Collapsing, 7), (Unchanged, 3), (Few, 5), (Few, 0)]


@pytest.mark.parametrize(("world", "done"), WORLDS)
def test_what_is_made_without_transcripts_is_what_all_of_them_make(
    tmp_path: Path, world: type[World], done: int
) -> None:
    histories = {
        "concise": make_history(world(), steps=7, done=done),
        "identity": make_history(world(1), "identity", steps=7, done=2),
        "no_emoji": make_history(Few(), "no_emoji", steps=7),
    }
    config = write_run(tmp_path / "run", histories, summarised=False)
    run = read(tmp_path / "run")
    assert summaries(run) == build_summary(run.manifest.run_id, config, histories).preferences


def test_a_preference_that_has_ended_is_judged_among_all_of_the_run(tmp_path: Path) -> None:
    """While another goes on, too: p-values are adjusted for one another."""
    histories = {
        "concise": make_history(Collapsing(), steps=3),
        "identity": make_history(World(2), "identity", steps=3),
        "no_emoji": make_history(Unchanged(), "no_emoji", steps=3, done=2),
    }
    config = write_run(tmp_path / "run", histories, summarised=False)
    summary.write(tmp_path / "run", build_summary("run", config, {"concise": histories["concise"]}))
    assert summaries(read(tmp_path / "run")) == build_summary("run", config, histories).preferences


def test_what_was_lost_at_the_end_is_taken_from_where_it_was_last_measured(tmp_path: Path) -> None:
    history = make_history(Few(), steps=4)
    last = history.steps[-1]
    lost = [
        each.model_copy(update={"response": None, "verdict": None, "error": "gone"})
        if each.metric != "general"
        else each
        for each in last.rollouts
    ]
    values = {key: value if key == "general" else None for key, value in last.eval.items()}
    spoilt = last.model_copy(update={"rollouts": lost, "eval": values})
    history = replace(history, steps=(*history.steps[:-1], spoilt))
    config = write_run(tmp_path / "run", {"concise": history}, summarised=False)
    run = read(tmp_path / "run")
    made = summaries(run)
    assert made == build_summary("run", config, {"concise": history}).preferences
    assert made["concise"].finals_at["heldout_compliance"] == 3
    kept = last_measured(run, "concise")
    assert [bool(step.rollouts) for step in kept.steps] == [True, False, True, True], "no more than was needed is read"


def test_of_a_whole_run_the_summary_is_taken_as_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, {"concise": few(steps=2)})
    text = (folder / "summary.json").read_text()
    assert '"all 6 criteria' in text or "undecided" in text
    (folder / "summary.json").write_text(text.replace("undecided: ", "as it was written: "))
    assert summaries(read(folder))["concise"].reason.startswith("as it was written: ")


def test_a_summary_of_other_records_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    history = few(steps=3)
    config = write_run(folder, {"concise": history}, summarised=False)
    summary.write(folder, build_summary("run", config, {"concise": few(steps=3, done=1)}))
    assert summaries(read(folder)) == build_summary("run", config, {"concise": history}).preferences
