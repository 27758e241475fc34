"""The canary: base at version 0, the same when asked twice, another after each update; no right run is refused."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from claas.core.errors import StackError
from claas.core.settings import TrainingConfig
from claas.eval.run.canaries import ROUNDING, Canaries
from claas.eval.run.canary import EARLIER_TEXT, canary_text, readable
from claas.eval.runner import run_harness
from claas.eval.stacks.stack import Answer, CompletionScore, LostAnswer, WrongWeights
from claas.results.records import AdapterVersion, Canary
from claas.results.settings import EvalConfig
from tests.eval.record_files import change
from tests.eval.scripted_run import Halting, outcome, run, settings, talkative
from tests.eval.small_preferences import small_preferences
from tests.fakes.stack import is_canary

SCORE = [-2.0, -1.0, -4.0]
NOISE = ROUNDING * 7.0
"""Nats by which two scores of `SCORE` may differ in all: 2^-5 of 2 + 1 + 4."""


def version(number: int, name: str = "calm", digest: str | None = None) -> AdapterVersion:
    return AdapterVersion(lora_id=f"eval/{name}", version=number, digest=digest or f"{name} {number}")


def score(*logprobs: float, repeat: Sequence[float] | None = None, base: Sequence[float] | None = None) -> Canary:
    given = list(logprobs)
    return Canary(logprobs=given, repeat=given if repeat is None else list(repeat), base=base and list(base))


def shifted(by: float) -> list[float]:
    """`SCORE` with one token's log probability changed."""
    return [SCORE[0] + by, *SCORE[1:]]


def canaries_of(*entries: tuple[AdapterVersion, Canary]) -> Canaries:
    canaries = Canaries()
    for adapter, canary in entries:
        canaries.add(adapter, canary)
    return canaries


BASELINE = (version(0), score(*SCORE, base=SCORE))


def test_versions_that_differ_and_score_differently_are_taken() -> None:
    canaries_of(BASELINE, (version(1), score(*shifted(1e-9))), (version(2), score(*shifted(-3.0))))


def test_an_update_that_changed_nothing_must_leave_the_score_as_it_was() -> None:
    unchanged = version(2, digest="calm 1")
    canaries_of(BASELINE, (version(1), score(*shifted(1.0))), (unchanged, score(*shifted(1.0))))
    with pytest.raises(WrongWeights, match=r"eval-calm@2 .* and eval-calm@1, whose weights are the same"):
        canaries_of(BASELINE, (version(1), score(*shifted(1.0))), (unchanged, score(*shifted(2.0))))


def test_adapters_that_no_update_has_changed_are_all_the_base_model() -> None:
    untrained = (version(1, "brief", digest="brief 0"), score(*SCORE))
    canaries_of(BASELINE, (version(0, "brief"), score(*SCORE, base=SCORE)), untrained)


def test_a_score_that_was_lost_says_nothing_and_stops_nothing() -> None:
    lost = Canary(logprobs=None, repeat=None, error="HTTP 500")
    canaries_of(BASELINE, (version(1), lost), (version(2), score(*shifted(1.0))))
    with pytest.raises(WrongWeights, match=r"@2 .* exactly as eval-calm@0 did"):
        canaries_of(BASELINE, (version(1), lost), (version(2), score(*SCORE)))


@pytest.mark.parametrize("apart", [NOISE * 0.99, -NOISE * 0.99])
def test_rounding_that_varies_is_no_other_weights(apart: float) -> None:
    canaries_of((version(0), score(*SCORE, repeat=shifted(apart), base=shifted(-apart))))


@pytest.mark.parametrize("apart", [NOISE * 1.05, -NOISE * 1.05])
def test_more_than_rounding_is_other_weights(apart: float) -> None:
    with pytest.raises(WrongWeights, match=r"-7 nats and, asked again at the same time, .* more than one set"):
        canaries_of((version(1), score(*SCORE, repeat=shifted(apart))))
    with pytest.raises(WrongWeights, match=r"-7 nats and the base model .* a new adapter answers as its base model"):
        canaries_of((version(0), score(*SCORE, base=shifted(apart))))


def test_differences_of_opposite_sign_do_not_cancel() -> None:
    with pytest.raises(WrongWeights):
        canaries_of((version(0), score(*SCORE, base=[SCORE[0] + 1, SCORE[1] - 1, SCORE[2]])))


@hypothesis_settings(deadline=None)
@given(st.lists(st.floats(-20, -1e-6), min_size=1, max_size=20), st.floats(-1, 1))
def test_the_law_holds_for_any_score(logprobs: list[float], apart: float) -> None:
    moved = [value * (1 + apart * ROUNDING) for value in logprobs]
    canaries_of((version(0), score(*logprobs, repeat=[value * (1 + apart * ROUNDING * 0.99) for value in logprobs])))
    assume(moved != logprobs)
    canaries = canaries_of((version(0), score(*logprobs)), (version(1), score(*moved)))
    for again in (logprobs, moved):
        with pytest.raises(WrongWeights):
            canaries.add(version(2), score(*again))


def test_the_canary_is_part_of_every_step_and_costs_two_requests(tmp_path: Path) -> None:
    stack = talkative()
    asyncio.run(run(stack, settings(tmp_path / "run")))
    found = outcome(tmp_path / "run")
    at = [found["baseline"], *found["steps"]]
    assert [record["canary"]["repeat"] == record["canary"]["logprobs"] for record in at] == [True] * 4
    assert at[0]["canary"]["base"] == at[0]["canary"]["logprobs"]
    assert len({tuple(record["canary"]["logprobs"]) for record in at}) == 4
    asked = [asked.adapter.model for asked in stack.asked if is_canary(asked.text)]
    assert {model: asked.count(model) for model in asked} == {
        "claas-tiny": 1,
        **{f"eval-kuro-run@{number}": 2 for number in range(4)},
    }


def test_every_run_has_a_text_of_its_own() -> None:
    assert canary_text("one") == canary_text("one")
    texts = {canary_text(str(number)) for number in range(200)}
    assert len(texts) == 200
    assert all(is_canary(text) for text in texts)


def test_a_run_of_an_earlier_version_goes_on_with_the_text_that_it_had(tmp_path: Path) -> None:
    stack, kept = talkative(), tmp_path / "run" / "kuro"
    asyncio.run(run(stack, settings(tmp_path / "run", num_steps=1)))

    def as_it_was(record: dict[str, Any]) -> None:
        del record["canary"]["text"], record["canary"]["chat"]

    change(kept / "baseline.json", 0, as_it_was)
    change(kept / "steps.jsonl", 0, as_it_was)
    asyncio.run(run(stack, settings(tmp_path / "run", num_steps=2)))
    first, second = outcome(tmp_path / "run")["steps"]
    assert "text" not in first["canary"]
    assert second["canary"]["text"] is None
    assert second["canary"]["chat"]["scored"] == 0
    assert [asked.text for asked in stack.asked].count(EARLIER_TEXT) == 2


def test_answers_that_cannot_be_scored_token_by_token_are_said_to_be_unchecked(tmp_path: Path) -> None:
    class CutsOtherwise(Halting):
        async def score(self, adapter: Any, messages: Any, completion: str) -> CompletionScore:
            scored = await super().score(adapter, messages, completion)
            return replace(scored, tokens=tuple(f"{token}." for token in scored.tokens or ()))

    asyncio.run(run(CutsOtherwise(talkative()), settings(tmp_path / "run", num_steps=1)))
    found = outcome(tmp_path / "run")
    assert [record["canary"]["chat"]["error"] for record in (found["baseline"], *found["steps"])] == [
        "read again, the answer is made of other tokens"
    ] * 2


class SplitsEmoji(Halting):
    """Ends answers in an emoji of three tokens; reads U+FFFD, as each of them is written, as one unlikely token."""

    async def answer(self, adapter: Any, prompt: str, **how: Any) -> Answer:
        said = await super().answer(adapter, prompt, **how)
        words = (*_spaced(said.text), *["\N{REPLACEMENT CHARACTER}"] * 3)
        return replace(
            said,
            text=f"{said.text}\N{GLOWING STAR}",
            tokens=words,
            logprobs=(*said.logprobs, -1.0, -1.0, -1.0),
            completion_tokens=len(words),
        )

    async def score(self, adapter: Any, messages: Any, completion: str) -> CompletionScore:
        text, parts, _ = completion.partition("\N{REPLACEMENT CHARACTER}")
        scored = await super().score(adapter, messages, text)
        if not parts:
            return replace(scored, tokens=(*_spaced(text), "<end>"))
        size = len(completion) - len(text)
        tokens, logprobs = (*_spaced(text), *[parts] * size), (*scored.logprobs[:-1], *[-9.0] * size)
        return replace(scored, tokens=tokens, logprobs=logprobs)


def _spaced(text: str) -> list[str]:
    first, *others = text.split()
    return [first, *(f" {word}" for word in others)]


def test_an_answer_is_checked_up_to_the_first_character_that_takes_several_tokens(tmp_path: Path) -> None:
    asyncio.run(run(SplitsEmoji(talkative()), settings(tmp_path / "run", num_steps=2)))
    found = outcome(tmp_path / "run")
    for record in (found["baseline"], *found["steps"]):
        chat = record["canary"]["chat"]
        said = chat["answers"][chat["scored"]]
        assert said["tokens"][-3:] == ["\N{REPLACEMENT CHARACTER}"] * 3
        assert {len(scores) for scores in chat["scores"].values()} == {len(said["tokens"]) - 3}
        assert chat["scores"][f"eval-kuro-run@{record['adapter']['version']}"] == said["logprobs"][:-3]


def test_before_a_part_of_a_character_tokens_can_be_read_again() -> None:
    part = "\N{REPLACEMENT CHARACTER}"
    assert readable(["Well", ",", part, part, part, " yes"]) == ["Well", ","]
    assert readable([f" {part}", "yes"]) == []
    assert readable(["All", " of", " it"]) == ["All", " of", " it"]


class LosesCanaries(Halting):
    """Loses the canary of these versions."""

    versions: tuple[int, ...] = ()

    async def score(self, adapter: Any, messages: Any, completion: str) -> CompletionScore:
        if is_canary(completion) and adapter.version in self.versions:
            raise LostAnswer("HTTP 500")
        return await super().score(adapter, messages, completion)


def losing(*versions: int) -> LosesCanaries:
    stack = LosesCanaries(talkative())
    stack.versions = versions
    return stack


@pytest.mark.parametrize(("lost", "where"), [(0, "baseline"), (2, "step 1")])
def test_without_the_canary_a_version_is_not_recorded(tmp_path: Path, lost: int, where: str) -> None:
    with pytest.raises(StackError, match=f"{where}: the canary was lost, .* HTTP 500; nothing was recorded"):
        asyncio.run(run(losing(lost), settings(tmp_path / "run")))
    path = tmp_path / "run" / "kuro" / "steps.jsonl"
    assert (len(path.read_text().splitlines()) if path.exists() else 0) == max(lost - 1, 0)


def test_a_user_who_never_wants_to_stop_sees_in_the_record_what_is_missing(tmp_path: Path) -> None:
    asyncio.run(run(losing(0, 1, 3), settings(tmp_path / "run", fail_on_error=False)))
    found = outcome(tmp_path / "run")
    canaries = [record["canary"] for record in (found["baseline"], *found["steps"])]
    assert [canary["logprobs"] is None for canary in canaries] == [True, True, False, True]
    assert [canary["error"] for canary in canaries] == ["HTTP 500", "HTTP 500", None, "HTTP 500"]


def test_the_embedded_model_gives_the_same_bits_and_every_update_shows(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    config = EvalConfig(
        preferences=["calm", "brief"],
        metrics=["logprob"],
        num_steps=2,
        batch_size=1,
        max_tokens=16,
        training=TrainingConfig(steps_per_batch=1, learning_rate=1e-6),
        parallel_preferences=2,
        plots=False,
        output_dir=str(tmp_path / "run"),
        config_dir=str(small_preferences(tmp_path / "mine", "calm", "brief")),
    )
    results = asyncio.run(run_harness(config))
    assert not results.failures
    bits: set[tuple[float, ...]] = set()
    for history in results.preferences.values():
        assert history.baseline is not None
        canaries = [history.baseline.canary, *(step.canary for step in history.steps)]
        assert all(canary is not None and canary.logprobs == canary.repeat for canary in canaries)
        assert canaries[0] is not None
        assert canaries[0].base == canaries[0].logprobs
        bits |= {tuple(canary.logprobs or ()) for canary in canaries if canary is not None}
    assert len(bits) == 5, "version 0 of both is the base model; two updates of each differ, however small"
