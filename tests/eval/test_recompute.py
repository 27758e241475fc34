"""Whether recomputing a run finds what it should: nothing in an honest record, everything in one that was changed."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claas.core.errors import StackError
from claas.eval.recompute.__main__ import main
from claas.eval.recompute.measurements import Agreement
from tests.documents import document
from tests.eval.every_metric import harness
from tests.eval.record_files import at, baseline, change, derived, edit_response, numbers, put, read, steps, write
from tests.eval.scripted_run import Halting, talkative


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder around a finished run in which some answers were lost and some cut off."""
    folder = tmp_path_factory.mktemp("finished")
    harness(folder, talkative(lost={"What is ice?", "Number?"}, cut_off={"What is fog?", "What is hail?"}))
    return folder


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to be changed; its preferences and metrics are where they were."""
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


def version(number: int) -> dict[str, Any]:
    return {"lora_id": "eval/calm-run", "version": number, "digest": "x"}


def test_an_honest_record_agrees_and_says_how_much_was_checked(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_dir)]) == 0
    where, calm, summary = capsys.readouterr().out.splitlines()
    assert where == str(run_dir)
    records = [baseline(run_dir), *steps(run_dir)]
    transcripts = sum(len(record["rollouts"]) for record in records)
    assert calm.startswith("  calm: ")
    assert calm.endswith(f" numbers recomputed from {transcripts} transcripts: all agree")
    in_eval = sum(len(list(numbers(record["eval"]))) for record in records)
    assert int(calm.split()[1]) > in_eval > 40
    assert summary.endswith("numbers recomputed: all agree")
    assert main([str(run_dir), "--json"]) == 0
    parts = document(capsys.readouterr())["result"]["runs"][str(run_dir)]
    assert [(part["part"], part["transcripts"], part["disagreements"]) for part in parts] == [
        ("calm", transcripts, []),
        ("summary.json", 0, []),
    ]


def test_every_number_that_was_changed_is_found_and_named(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [
        (name, line, path)
        for name in ("baseline.json", "steps.jsonl")
        for line, record in enumerate(read(run_dir / "calm" / name))
        for path in derived(record)
    ] + [
        ("../summary.json", 0, path)
        for path, _ in numbers(read(run_dir / "summary.json")[0])
        if path != ("schema_version",) and path[-1] != "steps_planned"  # what a summary was told, by which it is judged
    ]
    kinds = {path[-1] for _, _, path in places}
    assert {
        "margin",
        "heldout_compliance",
        "kl_k3",
        "mean_entropy",
        "scored",
        "completion",
        "score",
        "letters",
    } <= kinds

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(places), st.sampled_from([-1.0, 1e-6, 0.5, 3.0]))
    def changed(place: tuple[str, int, tuple[Any, ...]], by: float) -> None:
        name, line, path = place
        file = run_dir / "calm" / name
        honest = file.read_text()
        records = read(file)
        value = at(records[line], path)
        put(records[line], path, value + by if isinstance(value, float) else value + math.ceil(abs(by)))
        write(file, records)
        code, told = main([str(run_dir)]), capsys.readouterr().out
        file.write_text(honest)
        assert code == 1
        assert any(str(path[-1]) in each and "recorded" in each for each in told.splitlines()), told

    changed()


def test_a_verdict_that_its_answer_does_not_earn_is_found(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(run_dir / "calm" / "steps.jsonl", 1, edit_response("heldout/0", lambda text: f"{text} 🌧"))
    assert main([str(run_dir)]) == 1
    told = capsys.readouterr().out
    assert "steps.jsonl step 1: eval.heldout_compliance: recorded 1.0, recomputed 0.0" in told
    assert "steps.jsonl step 1: rollouts.compliance/heldout/0.verdict.passed: recorded True, recomputed False" in told


def test_a_canary_of_other_weights_is_found(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    canary = baseline(run_dir)["canary"]
    change(run_dir / "calm" / "steps.jsonl", 2, lambda record: record.update(canary={**canary, "base": None}))
    assert main([str(run_dir)]) == 1
    assert "steps.jsonl step 2: canary: recorded the right weights, recomputed eval-calm-run@3 scores" in (
        capsys.readouterr().out
    )


def test_an_answer_that_its_version_did_not_give_is_found(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def other_scores(record: dict[str, Any]) -> None:
        (model,) = (name for name in record["canary"]["chat"]["scores"] if name.endswith("@3"))
        record["canary"]["chat"]["scores"][model] = [-9.0] * len(record["canary"]["chat"]["scores"][model])

    def other_seed(record: dict[str, Any]) -> None:
        record["canary"]["chat"]["answers"][0]["seed"] = 7

    change(run_dir / "calm" / "steps.jsonl", 2, other_scores)
    change(run_dir / "calm" / "steps.jsonl", 1, other_seed)
    change(run_dir / "calm" / "steps.jsonl", 0, lambda record: record["canary"].update(text="Another text."))
    assert main([str(run_dir)]) == 1
    said = capsys.readouterr().out
    assert "steps.jsonl step 2: canary: recorded the right weights, recomputed what eval-calm-run@3 answered" in said
    assert "steps.jsonl step 1: rollouts.canary/chat/0.seed: recorded" in said
    assert "steps.jsonl step 0: canary.text: recorded Another text." in said


def test_a_transcript_that_is_gone_is_found(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def drop(record: dict[str, Any]) -> None:
        record["rollouts"] = [each for each in record["rollouts"] if each["item"] != "heldout/0"]

    change(run_dir / "calm" / "steps.jsonl", 0, drop)
    assert main([str(run_dir)]) == 1
    told = capsys.readouterr().out
    assert "rollouts.compliance/heldout/0: recorded no transcript, recomputed a transcript" in told
    assert "counts.heldout.scored: recorded 1, recomputed 0" in told


@pytest.mark.parametrize(
    ("line", "key", "value", "said"),
    [
        (0, "responses", ["made up", "made up too"], "trained on: recorded ('What is"),
        (0, "feedback", "Say nothing", "feedback: recorded Say nothing, recomputed Please be calm"),
        (2, "key", "run/calm/7", "is damaged at line 4"),
        (3, "adapter", version(3), "receipt.adapter.version: recorded 3"),
        (4, "adapter", version(1), "adapter.version: recorded 1"),
        (5, "adapter", version(3), "recomputed x"),
        (1, "sdpo_metrics", {"total_loss": 7.0}, "sdpo_metrics.total_loss: recorded 1.0, recomputed 7.0"),
    ],
    ids=["not sampled", "other feedback", "other key", "skips a version", "other weights", "digest", "metrics"],
)
def test_an_update_that_does_not_follow_from_the_record_is_found(
    run_dir: Path, capsys: pytest.CaptureFixture[str], line: int, key: str, value: Any, said: str
) -> None:
    change(run_dir / "calm" / "ledger.jsonl", line, lambda entry: entry.update({key: value}))
    assert main([str(run_dir)]) == 1
    assert said in capsys.readouterr().out


def test_training_on_a_lost_answer_is_found(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def lose(record: dict[str, Any]) -> None:
        record["rollouts"][0].update(error="timed out", response=None)

    change(run_dir / "calm" / "steps.jsonl", 0, lose)
    assert main([str(run_dir)]) == 1
    assert "ledger.jsonl step 0: trained on: recorded ('What is" in capsys.readouterr().out


def test_a_second_copy_of_what_was_sampled_must_be_the_same(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = run_dir / "calm" / "sampled" / "2.json"
    change(waiting, 0, lambda batch: batch["transcripts"][1].update(seed=7))
    assert main([str(run_dir)]) == 1
    assert "steps.jsonl step 2: rollouts.sample/1.seed: recorded " in capsys.readouterr().out
    waiting.unlink()
    assert main([str(run_dir)]) == 0, "the step on record has them"


def test_what_was_sampled_for_a_step_that_is_not_on_record_must_be_there(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, waiting = run_dir / "calm" / "steps.jsonl", run_dir / "calm" / "sampled" / "2.json"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    (run_dir / "summary.json").unlink()
    assert main([str(run_dir)]) == 0
    change(waiting, 0, lambda batch: batch["transcripts"][0].update(response="made up"))
    assert main([str(run_dir)]) == 1
    assert "ledger.jsonl step 2: trained on: recorded (" in capsys.readouterr().out
    waiting.unlink()
    assert main([str(run_dir)]) == 1
    assert "ledger.jsonl step 2: sampled answers: recorded neither in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "kept", "said"),
    [
        ("ledger.jsonl", slice(1, None), "ledger.jsonl is damaged at line 1"),
        ("ledger.jsonl", slice(0, 4), "steps.jsonl step 2: update: recorded on record, recomputed not in ledger.jsonl"),
        ("steps.jsonl", slice(1, None), "steps.jsonl is damaged: line 1 is of step 1, not 0"),
        ("baseline.json", slice(0, 0), "baseline.json"),
    ],
    ids=["no intent", "no update", "no first step", "empty baseline"],
)
def test_a_record_with_parts_missing_is_found(
    run_dir: Path, capsys: pytest.CaptureFixture[str], file: str, kept: slice, said: str
) -> None:
    path = run_dir / "calm" / file
    path.write_text("".join(path.read_text().splitlines(keepends=True)[kept]))
    assert main([str(run_dir)]) == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("halt_at", [1, 20, 70, 100, 140])
def test_a_run_that_was_killed_agrees_as_far_as_it_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], halt_at: int
) -> None:
    harness(tmp_path, Halting(talkative(), halt_at=halt_at))
    assert main([str(tmp_path / "run")]) == 0
    measured = (tmp_path / "run" / "calm" / "baseline.json").exists()
    assert measured == ("nothing measured yet" not in capsys.readouterr().out) == (halt_at > 20)


def test_a_summary_that_is_behind_its_run_is_held_against_what_it_was_made_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = talkative()
    stack.broken = StackError("no memory")
    harness(tmp_path, Halting(stack))
    harness(tmp_path, Halting(stack, halt_at=70))
    assert steps(tmp_path / "run")
    assert main([str(tmp_path / "run")]) == 0
    assert "written before the last steps of calm" in capsys.readouterr().out


@pytest.mark.parametrize("settings", [{"entropy": None}, {"entropy": None, "top": ()}], ids=["a bound", "no bound"])
def test_entropies_from_the_likeliest_tokens_are_recomputed_from_them(tmp_path: Path, settings: dict[str, Any]) -> None:
    run_dir = harness(tmp_path, talkative(**settings))
    assert main([str(run_dir)]) == 0
    assert baseline(run_dir)["eval"]["collapse"]["entropy_is_lower_bound"] == 1.0


def test_a_folder_of_preferences_may_have_moved(
    run_dir: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run_dir / "config.json", 0, lambda manifest: manifest["config"].update(config_dir="/nowhere"))
    assert main([str(run_dir)]) == 2
    assert "/nowhere" in capsys.readouterr().err
    assert main([str(run_dir), "--config-dir", str(finished / "mine")]) == 0


def test_one_run_that_disagrees_is_enough(run_dir: Path, finished: Path) -> None:
    change(run_dir / "calm" / "baseline.json", 0, lambda record: record["eval"].update(heldout_compliance=0.3))
    assert main([str(run_dir), str(finished / "run")]) == 1
    assert main([str(finished / "run"), str(run_dir)]) == 1


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda run: shutil.rmtree(run), "there is no folder"),
        (lambda run: (run / "config.json").unlink(), "is not a run's folder: it holds no config.json"),
        (lambda run: (run / "config.json").write_text("{}"), "config.json cannot be read"),
        (lambda run: put_folder(run / "config.json"), "config.json cannot be read: it is not a file"),
        (lambda run: forget_preference(run), "unknown preference 'calm'"),
        (lambda run: change_preference(run), "the preference 'calm' has changed since"),
        (lambda run: change_metrics(run), "(metrics.yaml, capability/*.yaml) has changed since"),
    ],
    ids=["no folder", "no run", "no manifest", "a folder", "no preference", "another preference", "other metrics"],
)
def test_a_mistake_exits_with_2_and_one_line(
    tmp_path: Path,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Path], object],
    said: str,
) -> None:
    copied = Path(shutil.copytree(finished, tmp_path / "copy"))
    change(copied / "run" / "config.json", 0, lambda known: known["config"].update(config_dir=str(copied / "mine")))
    prepare(copied / "run")
    assert main([str(copied / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("claas.eval.recompute: ")
    assert said in line


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["metadata.json", "baseline.json", "ledger.jsonl", "steps.jsonl", "../summary.json"])
def test_a_record_that_is_no_file_agrees_with_nothing(
    run_dir: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    put_folder(run_dir / "calm" / name)
    assert main([str(run_dir)]) == 1
    assert "it is not a file" in capsys.readouterr().out


def test_a_sampled_batch_that_is_no_file_agrees_with_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [newest] = (run_dir / "calm" / "sampled").glob("*.json")
    put_folder(newest)
    assert main([str(run_dir)]) == 1
    assert f"{newest.name} cannot be read: it is not a file" in capsys.readouterr().out


def test_a_metric_that_goes_round_its_subject_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = harness(tmp_path, talkative(), metric="RoundTheSubject", num_steps=1, checkpoints=[])
    assert main([str(run_dir)]) == 2
    assert "let it ask through Subject.answer and Subject.score" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recorded", "recomputed", "agree"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1e6, 1e6 + 1e-4, True),
        (1.0, 1.0 + 1e-8, False),
        (0.0, None, False),
        (1.0, True, False),
        ({"a": None}, {}, False),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
        ([1, 2], [1, 2, 3], False),
        ("1", 1, False),
    ],
)
def test_what_counts_as_agreement(recorded: Any, recomputed: Any, agree: bool) -> None:
    found = Agreement("x")
    found.compare("here", "key", recorded, recomputed)
    assert (not found.disagreements) == agree


def forget_preference(run: Path) -> None:
    (run.parent / "mine" / "preference" / "calm.yaml").unlink()


def change_preference(run: Path) -> None:
    path = run.parent / "mine" / "preference" / "calm.yaml"
    path.write_text(path.read_text().replace("What is fog?", "What is smog?"))


def change_metrics(run: Path) -> None:
    path = run.parent / "mine" / "capability" / "small.yaml"
    path.write_text(path.read_text().replace("Capital?", "Which capital?"))
