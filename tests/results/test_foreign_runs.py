"""Runs of kfallah/CLaaS: in the frames and on pages, as their own harness computed them, and never continued."""

import json
from pathlib import Path
from typing import Any

import pytest

from claas import results
from claas.core.errors import InvalidInput
from claas.results.foreign import read_foreign_run
from claas.results.overview import State, listed
from claas.results.run_index import find_runs, read_run
from tests.api.client import serving
from tests.dashboard.written_runs import few, write_run


def rollout(score: float, passed: bool, **metadata: Any) -> dict[str, Any]:
    said = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is rain?"},
        {"role": "assistant", "content": "Water that falls."},
    ]
    return {"metric": "compliance", "messages": said, "metadata": {"score": score, "passed": passed, **metadata}}


def step(number: int, compliance: float | None, margin: float) -> dict[str, Any]:
    return {
        "preference": "concise",
        "step": number,
        "timestamp": f"2026-02-25T10:0{number}:00+00:00",
        "feedback_given": "Be brief",
        "sdpo_metrics": {"distill_loss": 0.25, "kl_reg": None, "mean_is_ratio": 1.0, "clip_fraction": 0.0},
        "eval": {
            "logprob_margin": {
                "positive_logprob": -10.0, "negative_logprob": -12.0, "margin": margin,
                "margin_delta_from_baseline": margin - 1,
            },
            "preference_compliance": compliance,
            "general": {"coding_correct": True, "general_score": 0.75},
            "collapse": None,
            "rollouts": [rollout(0.5, False)],
        },
        "prompt_used": "What is rain?",
        "response_text": "Water that falls <from> the sky.",
        "timing_s": 2.5,
        "sub_step_count": 4,
    }  # fmt: skip


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    (folder / "concise").mkdir(parents=True)
    baseline = step(0, 0.25, 1.0)["eval"] | {"logprob_margin": {"margin": 1.0, "margin_delta_from_baseline": 0.0}}
    config = {"seed": 7, "mode": "local", "base_model": "Qwen/Qwen3-8B", "num_steps": 3}
    files = {
        "summary.json": {"concise": {"lora_id": "eval/concise"}},
        "concise/metadata.json": {"config": config, "lora_id": "eval/concise-latest", "preference": "concise"},
        "concise/baseline.json": baseline,
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    lines = [step(0, 0.5, 2.0), step(1, None, 4.0)]
    (folder / "concise" / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_steps_have_the_numbers_as_they_are_and_no_version(theirs: Path) -> None:
    steps = results.steps(theirs)
    measured = steps[steps["source"] == "eval"]
    margin = measured[measured["key"] == "logprob_margin.margin"]
    assert (list(margin["update"]), list(margin["value"])) == ([0, 1, 2], [1.0, 2.0, 4.0])
    assert list(measured[measured["key"] == "preference_compliance"]["update"]) == [0, 1]
    assert measured[["low", "high", "version", "digest"]].isna().all(axis=None)
    assert set(steps["seed"]) == {7}
    assert list(steps[steps["key"] == "distill_loss"]["value"]) == [0.25, 0.25]
    assert "kl_reg" not in set(steps["key"])


def test_samples_are_their_transcripts(theirs: Path) -> None:
    samples = results.samples(theirs, [0])
    assert len(samples) == 1
    row = samples.iloc[0]
    assert (row["prompt"], row["response"], row["score"], row["passed"]) == (
        "What is rain?", "Water that falls.", 0.5, False,
    )  # fmt: skip
    assert results.criteria(theirs).empty


def test_they_are_listed_beside_ours_and_said_to_be_foreign(theirs: Path) -> None:
    write_run(theirs.parent / "ours", {"concise": few(steps=1)})
    runs = results.runs(theirs.parent).set_index("run")
    assert list(runs["state"]) == ["complete", "foreign"]
    assert "kfallah/CLaaS" in runs.loc["theirs", "problem"]
    assert (runs.loc["theirs", "base_model"], runs.loc["theirs", "updates"]) == ("Qwen/Qwen3-8B", 2)
    assert set(results.steps(theirs.parent)["run"]) == {"ours", "theirs"}


def test_one_that_is_damaged_is_shown_without_what_is_damaged(theirs: Path) -> None:
    (theirs / "other").mkdir()
    (theirs / "other" / "steps.jsonl").write_text('{"preference": "other", "step": 0}\n')
    run = read_foreign_run("theirs", theirs)
    assert list(run.histories) == ["concise"]
    assert "timestamp" in run.problems[0]
    assert "timestamp" in results.runs(theirs).iloc[0]["problem"]


def test_they_are_no_run_of_ours(theirs: Path) -> None:
    with pytest.raises(InvalidInput, match="kfallah/CLaaS: it can be looked at here, but not judged"):
        read_run("theirs", theirs)


def test_the_list_says_what_it_is(theirs: Path) -> None:
    [it] = listed(find_runs(theirs.parent), new_rows_s=1)
    assert (it.name, it.state, it.row) == ("theirs", State.FOREIGN, None)


@pytest.mark.anyio
async def test_its_page_shows_curves_and_transcripts_and_is_read_only(theirs: Path, tmp_path: Path) -> None:
    async with serving(tmp_path / "api", results_dir=str(theirs.parent)) as api:
        shown = await api.http.get("/v1/eval/run", params={"run": "theirs"})
        compared = await api.http.get("/v1/eval/compare", params={"run": ["theirs", "theirs"]})
    assert shown.status_code == 200
    page = shown.text
    assert "A run of kfallah/CLaaS, read only" in page
    assert "Water that falls &lt;from&gt; the sky." in page
    assert "Margin gain" in page
    assert "criterion" not in page
    assert "Qwen/Qwen3-8B" in page
    assert compared.status_code != 200


@pytest.mark.anyio
async def test_its_feedback_log_is_shown_too(tmp_path: Path) -> None:
    item = {"lora_id": "user/me", "prompt": "What is rain?", "response": "Water.", "feedback": "Say <more>"}
    batch = {
        "request_id": "abc",
        "timestamp_utc": "2026-02-25T10:00:00Z",
        "status": "ok",
        "phase": "done",
        "lora_id": "user/me-latest",
        "requests": [{**item, "training": {"learning_rate": 3e-5}}],
        "batch_samples": [{"prompt_token_ids": [1, 2]}],
        "distill_result": {"lora_id": "user/me", "metadata": {"total_loss": 0.5, "tinker_path": "tinker://x"}},
        "timing_ms": {"total": 12},
    }
    async with serving(tmp_path) as api:
        (tmp_path / "feedback").mkdir(exist_ok=True)
        (tmp_path / "feedback" / "20260225T100000-abc.json").write_text(json.dumps(batch))
        page = (await api.http.get("/v1/dashboard")).text
    assert "kfallah/CLaaS" in page
    assert "Say &lt;more&gt;" in page
    assert "total_loss" in page
    assert "unreadable" not in page
