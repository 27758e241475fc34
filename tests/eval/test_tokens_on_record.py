"""The texts of tokens beside their log probabilities: kept in every transcript, matched, and never made up."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claas.eval.runner import run_harness
from claas.eval.stacks.stack import Answer, CompletionScore
from claas.results.records import AdapterVersion, Transcript
from tests.eval import record_files
from tests.eval.every_metric import METRICS, every_metric, opening
from tests.eval.metrics.subjects import subject
from tests.eval.recomputing import require_recomputable
from tests.fakes.stack import FakeStack

Tokens = tuple[str, ...] | None


class Told(FakeStack):
    """Tells other texts of its tokens than they have."""

    def tell(self, tokens: Tokens) -> "Told":
        self.told = tokens
        return self

    async def answer(self, adapter: AdapterVersion, prompt: str, **asked: Any) -> Answer:
        return replace(await super().answer(adapter, prompt, **asked), tokens=self.told)

    async def score(self, adapter: AdapterVersion, messages: Any, completion: str) -> CompletionScore:
        return replace(await super().score(adapter, messages, completion), tokens=self.told)


def asked(stack: FakeStack) -> list[Transcript]:
    """An answer of two tokens, and a score of three."""

    async def both() -> list[Transcript]:
        of = subject(stack)
        answer, _ = await of.answer("m", "0", "Snow?")
        score, _ = await of.score("m", "1", ({"role": "user", "content": "Snow?"},), "Cold rain")
        return [answer, score]

    return asyncio.run(both())


def test_an_answer_and_a_score_keep_them() -> None:
    answer, score = asked(FakeStack(answers={"Snow?": "Cold rain"}))
    assert (answer.tokens, len(answer.logprobs or ())) == (["Cold", "rain"], 2)
    assert (score.tokens, len(score.logprobs or ())) == (["Cold", "rain", "<end>"], 3)


def test_a_stack_that_cannot_tell_leaves_them_unknown() -> None:
    found = asked(Told(answers={"Snow?": "Cold rain"}).tell(None))
    assert [(each.tokens, each.error) for each in found] == [(None, None)] * 2


@pytest.mark.parametrize("told", [(), ("Cold",), ("Cold", "rain", "and", "more")], ids=len)
def test_tokens_that_are_not_as_many_as_their_numbers_make_a_lost_answer(told: Tokens) -> None:
    answer, score = asked(Told(answers={"Snow?": "Cold rain"}).tell(told))
    assert answer.error == f"the reply has 2 log probabilities for {len(told or ())} tokens"
    assert score.error == f"the reply has 3 log probabilities for {len(told or ())} tokens"
    assert (answer.response, answer.tokens, answer.logprobs, score.tokens, score.logprobs) == (None,) * 5


def test_a_record_of_before_is_read_and_recomputed(tmp_path: Path) -> None:
    config = every_metric(tmp_path, num_steps=2, metrics=[each for each in METRICS if each != "eval_loss"])
    asyncio.run(run_harness(config, open_stack=opening(FakeStack(shift=0.05))))
    run = tmp_path / "run"
    assert all(each["tokens"] for each in record_files.steps(run)[1]["rollouts"])
    record_files.put_sampling_into_ledger(run / "calm")
    for file in ("baseline.json", "steps.jsonl", "ledger.jsonl"):
        path = run / "calm" / file
        path.write_text("".join(f"{json.dumps(_before(record))}\n" for record in record_files.read(path)))
    require_recomputable(run)
    asyncio.run(run_harness(replace(config, num_steps=2), open_stack=opening(FakeStack(shift=0.05))))


def _before(record: dict[str, Any]) -> dict[str, Any]:
    """As it was written before transcripts had tokens."""
    for transcript in (*record.get("rollouts", []), *record.get("sampling", [])):
        del transcript["tokens"]
    return record
