"""The loop through a real OpenClaw gateway, in front of the real API."""

import asyncio
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import InvalidInput
from claas.eval.run.reporter import Silent
from claas.eval.runner import run_harness
from claas.results.records import StepRecord, Transcript
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.live.openclaw_stack import KEY, PROMPT, TOKEN, Processes, free_port, processes

pytestmark = [pytest.mark.live, pytest.mark.slow]
pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_GATEWAY_TOKEN", TOKEN)
    monkeypatch.setenv("CLAAS_API_KEY", KEY)


@pytest.fixture(scope="module", params=["2026.2.25", "2026.9.6"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Processes]:
    with processes(tmp_path_factory.mktemp(request.param), request.param) as made:
        made.start_api()
        made.start_gateway()
        yield made


def config(live: Processes, folder: Path, **changes: Any) -> EvalConfig:
    chosen = {
        "preferences": ["calm"],
        "num_steps": 2,
        "batch_size": 2,
        "metrics": ["logprob", "compliance", "collapse"],
        "plots": False,
        "output_dir": str(folder / folder.name),
        "config_dir": str(small_preferences(folder / "mine", "calm")),
        "claas_url": live.api_url,
        "openclaw_url": live.gateway_url,
    }
    return EvalConfig(**{**chosen, **changes})


def transcripts(results: RunResults, name: str) -> list[Transcript]:
    history = results.preferences[name]
    assert history.baseline is not None
    return [*history.baseline.rollouts, *(rollout for step in history.steps for rollout in step.rollouts)]


def test_a_run_passes_through_and_every_answer_is_on_record(live: Processes, tmp_path: Path) -> None:
    results = asyncio.run(run_harness(config(live, tmp_path, preferences=["concise"], config_dir=None)))
    assert not results.failures
    require_recomputable(results.run_dir)
    answers = [each for each in transcripts(results, "concise") if each.temperature is not None]
    assert len(answers) > 3 * 74
    for said in answers:
        assert said.error is None
        assert said.response is not None
        assert said.sampled_with is not None
        assert said.logprobs
        assert said.mean_entropy is not None
    steps = results.preferences["concise"].steps
    assert [step.adapter.version for step in steps] == [1, 2]
    for step in steps:
        assert isinstance(step.eval["preference_compliance"], float)
        assert isinstance(step.eval["collapse"], dict)
        assert isinstance(step.eval["collapse"]["entropy_ratio_to_baseline"], float)
    _require_trained_as_shown(live, steps)


def _require_trained_as_shown(live: Processes, steps: tuple[StepRecord, ...]) -> None:
    """Each update was made of answers that the version before it gave, under OpenClaw's prompt."""
    log = [json.loads(path.read_text()) for path in (live.folder / "store" / "feedback").rglob("*.json")]
    trained = {entry["idempotency_key"]: entry for entry in log}
    for step in steps:
        name = f"{step.adapter.lora_id.replace('/', '-')}@{step.step}"
        entry = next(entry for key, entry in trained.items() if key.endswith(f"/concise/{step.step}"))
        assert [item["rollout_id"] for item in entry["items"]] == step.rollout_ids
        assert {item["model"] for item in entry["items"]} == {name}
        for prompt, response in zip(step.prompts, step.responses, strict=True):
            rollout = live.resolve(text=response, prompt=prompt, model=name)
            system, user = rollout.messages
            assert system["content"].startswith(PROMPT)
            assert user["content"].endswith(prompt)


def test_how_an_answer_was_sampled_is_on_record(live: Processes, tmp_path: Path) -> None:
    results = asyncio.run(run_harness(config(live, tmp_path, num_steps=1, metrics=["compliance"])))
    asked = [each for each in transcripts(results, "calm") if each.temperature is not None]
    used = {(each.temperature, each.sampled_with.temperature) for each in asked if each.sampled_with}
    assert used == ({(0.0, 0.7), (0.7, 0.7)} if live.version == "2026.2.25" else {(0.0, 0.0), (0.7, 0.7)})
    seeds = [each.sampled_with.seed for each in asked if each.sampled_with]
    assert seeds == [None if live.version == "2026.2.25" else (each.seed or 0) % 2**53 for each in asked]


def test_a_user_has_a_session_and_nobody_else(live: Processes) -> None:
    first = live.say("What is snow?", user="alice")
    second = live.say("Tell me more.", user="alice")
    third = live.say("What is rain?")
    assert [turn["role"] for turn in live.resolve(text=first).messages] == ["system", "user"]
    heard = live.resolve(text=second, prompt="Tell me more.").messages
    assert [turn["role"] for turn in heard] == ["system", "user", "assistant", "user"]
    assert heard[2]["content"] == first
    assert [turn["role"] for turn in live.resolve(text=third, prompt="What is rain?").messages] == ["system", "user"]


def test_the_wrong_token_is_refused_before_anything_is_asked(
    live: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCLAW_GATEWAY_TOKEN", "a guess")
    with pytest.raises(InvalidInput, match="set OPENCLAW_GATEWAY_TOKEN"):
        asyncio.run(run_harness(config(live, tmp_path)))


def test_no_file_of_the_gateway_or_of_a_run_holds_a_secret(live: Processes, tmp_path: Path) -> None:
    results = asyncio.run(run_harness(config(live, tmp_path, num_steps=1, metrics=["compliance"])))
    files = [path for folder in (live.gateway_files, live.folder, results.run_dir) for path in folder.rglob("*")]
    assert len(files) > 20
    for secret in (TOKEN, KEY):
        assert not [path for path in files if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_provider_that_is_gone_is_an_error_of_each_answer_and_nothing_is_trained(tmp_path: Path) -> None:
    with processes(tmp_path, "2026.2.25") as alone:
        alone.start_gateway()  # in front of nothing
        api = alone.start_api(free_port())
        asked = config(alone, tmp_path, metrics=["compliance"], claas_url=api, fail_on_error=False)
        results = asyncio.run(run_harness(asked))
    history = results.preferences["calm"]
    assert "2 of 2 sampled answers were lost" in results.failures["calm"]
    assert "said so in place of an answer: 'Connection error.'" in results.failures["calm"]
    assert history.baseline is not None
    assert {name: (each.planned, each.errored) for name, each in history.baseline.counts.items()} == {
        "compliance": (3, 3),
        "heldout": (2, 2),
    }
    assert history.baseline.eval["preference_compliance"] is None
    assert not history.steps


class KillingTheApi(Silent):
    """Kills the API as soon as a step is on record."""

    def __init__(self, live: Processes) -> None:
        self._live: Processes | None = live

    def step_finished(self, name: str, record: StepRecord, seconds: float) -> None:
        if self._live is not None:
            self._live.kill("claas.api")
            self._live = None


def test_a_run_whose_api_is_killed_continues_and_trains_every_step_once(tmp_path: Path) -> None:
    with processes(tmp_path, "2026.2.25") as live:
        live.start_api()
        live.start_gateway()
        asked = config(live, tmp_path, metrics=["compliance"], num_steps=3, retry_for_s=1.0)
        failed = asyncio.run(run_harness(asked, KillingTheApi(live)))
        assert "nothing answers at" in failed.failures["calm"]
        live.start_api()
        results = asyncio.run(run_harness(asked))
    assert not results.failures
    require_recomputable(results.run_dir)
    assert [step.adapter.version for step in results.preferences["calm"].steps] == [1, 2, 3]
    log = [json.loads(path.read_text()) for path in (tmp_path / "store" / "feedback").rglob("*.json")]
    trained = [entry["idempotency_key"] for entry in log if not entry["replayed"] and not entry["errors"]]
    assert sorted(trained) == [f"{results.run_dir.name}/calm/{step}" for step in range(3)]
