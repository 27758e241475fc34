"""Answers through a gateway: each is looked up at the API, and what the API did not say is no answer."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from claas.api.app import create_app
from claas.core.errors import InvalidInput, StackError
from claas.eval.stacks.gateway_stack import GatewayStack, connect_through
from claas.eval.stacks.http_client import Retries
from claas.eval.stacks.stack import Answer, LostAnswer
from claas.results.records import AdapterVersion
from claas.results.settings import EvalConfig
from claas.wire.feedback import FeedbackItem, Sampling
from tests.api.client import settings
from tests.fakes.engine import BASE_MODEL, FakeEngine
from tests.fakes.gateway import ERROR_TEXTS, FAULTS, OWN_PROMPT, REFUSED, TEMPERATURE, TOKEN, FakeGateway, through

T = TypeVar("T")
LORA = "eval/calm"


def asking(
    folder: Path,
    ask: Callable[[GatewayStack, AdapterVersion], Awaitable[T]],
    *,
    engine: FakeEngine | None = None,
    token: str = TOKEN,
    **gateway: Any,
) -> T:
    """What `ask` gets from a stack with one new adapter."""

    async def run() -> T:
        config = EvalConfig(base_model=BASE_MODEL).resolved()
        fake = FakeGateway(**gateway)
        async with through(fake, engine or FakeEngine(folder), config, folder / "store", token) as stack:
            return await ask(stack, await stack.init_adapter(LORA, 0))

    return asyncio.run(run())


async def answer(stack: GatewayStack, adapter: AdapterVersion, prompt: str = "What is snow?") -> Answer:
    return await stack.answer(adapter, prompt, temperature=0.0, seed=7, max_tokens=400)


async def update(
    stack: GatewayStack, adapter: AdapterVersion, said: Answer, prompt: str = "What is snow?"
) -> AdapterVersion:
    items = [
        FeedbackItem(
            lora_id=adapter.lora_id, prompt=prompt, response=said.text, feedback="Calmer", rollout_id=said.rollout_id
        )
    ]
    return (await stack.give_feedback(adapter, items, f"key {adapter.version}")).adapter


def test_the_api_tells_what_the_gateway_drops(tmp_path: Path) -> None:
    said = asking(tmp_path, answer)
    assert said.text == "eval-calm@0 heard What is snow? under seed None"
    assert said.finish_reason == "stop"
    assert len(said.logprobs) == said.completion_tokens == 9
    assert said.mean_entropy == 1.25
    assert said.prompt_tokens == len(OWN_PROMPT.split()) + 5
    assert said.sampled_with == Sampling(temperature=TEMPERATURE, top_p=1.0, seed=None, max_tokens=24)


def test_what_was_asked_for_is_sent_in_numbers_that_javascript_has(tmp_path: Path) -> None:
    async def run() -> None:
        config, gateway = EvalConfig(base_model=BASE_MODEL).resolved(), FakeGateway()
        async with through(gateway, FakeEngine(tmp_path), config, tmp_path / "store") as stack:
            adapter = await stack.init_adapter(LORA, 0)
            await stack.answer(adapter, "What is snow?", temperature=0.7, seed=2**63 - 5, max_tokens=400)
        _, asked = gateway.asked
        assert (asked["temperature"], asked["max_tokens"]) == (0.7, 400)
        assert asked["seed"] == float(asked["seed"]) == 2**53 - 5
        assert "user" not in asked, "a user would get a session, with the answers before in it"

    asyncio.run(run())


def test_an_answer_to_a_prompt_with_the_time_before_it_is_found(tmp_path: Path) -> None:
    said = asking(tmp_path, answer, stamps=True)
    assert said.text == "eval-calm@0 heard [Fri 2026-11-20 21:58 UTC] What is snow? under seed None"


def test_of_two_that_read_alike_the_one_to_this_prompt_is_meant(tmp_path: Path) -> None:
    async def ask_both(stack: GatewayStack, adapter: AdapterVersion) -> tuple[Answer, Answer]:
        first, _, again = [await answer(stack, adapter, prompt) for prompt in ("Snow?", "Hail or snow?", "Snow?")]
        return first, again

    for stamps in (False, True):
        engine = FakeEngine(tmp_path, script=lambda *_: "Yes.")
        first, again = asking(tmp_path / str(stamps), ask_both, engine=engine, stamps=stamps)
        assert first.prompt_tokens == again.prompt_tokens
        assert first.rollout_id != again.rollout_id


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_api_did_not_say_is_lost(tmp_path: Path, fault: str) -> None:
    with pytest.raises(LostAnswer) as lost:
        asking(tmp_path, answer, faults=[fault], instead=BASE_MODEL)
    said = str(lost.value)
    if fault == REFUSED:
        assert said == "/v1/chat/completions was refused with HTTP 400: no such agent"
    elif fault in ERROR_TEXTS:
        assert said.startswith("the gateway failed, and said so in place of an answer")
        assert ERROR_TEXTS[fault][:20] in said
    else:
        assert "which http://localhost did not say with the weights asked for" in said
        assert "'claas'" in said


def test_a_model_that_says_what_openclaw_says_when_it_fails_is_heard(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path, script=lambda *_: "Connection error.")
    assert asking(tmp_path, answer, engine=engine).text == "Connection error."


def test_an_answer_that_an_older_version_gave_is_not_a_newer_ones(tmp_path: Path) -> None:
    async def ask_twice(stack: GatewayStack, adapter: AdapterVersion) -> None:
        newer = await update(stack, adapter, await answer(stack, adapter))
        await answer(stack, newer)

    engine = FakeEngine(tmp_path, script=lambda *_: "Snow is white.")
    with pytest.raises(LostAnswer, match=r"by eval-calm@1, but by eval-calm@0"):
        asking(tmp_path, ask_twice, engine=engine, faults=[None, "other weights"], instead="eval-calm@0")


def test_feedback_trains_on_the_answer_as_sampled_under_the_gateways_prompt(tmp_path: Path) -> None:
    async def ask_and_tell(stack: GatewayStack, adapter: AdapterVersion) -> AdapterVersion:
        return await update(stack, adapter, await answer(stack, adapter))

    engine = FakeEngine(tmp_path)
    assert asking(tmp_path, ask_and_tell, engine=engine, stamps=True).version == 1
    ((item,),) = [trained.items for trained in engine.trained]
    assert [turn["content"] for turn in item.messages] == [OWN_PROMPT, "[Fri 2026-11-20 21:58 UTC] What is snow?"]


def test_versions_take_turns_and_none_answers_for_another(tmp_path: Path) -> None:
    async def ask_all(stack: GatewayStack, adapter: AdapterVersion) -> list[str]:
        other = await stack.init_adapter("eval/brief", 0)
        newer = await update(stack, adapter, await answer(stack, adapter))
        asked = [(adapter, newer, other)[i % 7 % 3] for i in range(30)]
        said = await asyncio.gather(*(answer(stack, one, f"Number {i}?") for i, one in enumerate(asked)))
        heard = [f"{one.model} heard Number {i}? under seed None" for i, one in enumerate(asked)]
        assert [each.text for each in said] == heard
        return [each.text for each in said]

    assert len(asking(tmp_path, ask_all, delay_s=0.002)) == 30


def test_answers_of_one_version_are_asked_for_together(tmp_path: Path) -> None:
    under_way: list[int] = []

    class Counting(FakeGateway):
        inside = 0

        async def _asked(self, *asked: Any) -> str:
            self.inside += 1
            under_way.append(self.inside)
            try:
                return await super()._asked(*asked)
            finally:
                self.inside -= 1

    async def run() -> None:
        config, gateway = EvalConfig(base_model=BASE_MODEL).resolved(), Counting(delay_s=0.01)
        async with through(gateway, FakeEngine(tmp_path), config, tmp_path / "store") as stack:
            adapter = await stack.init_adapter(LORA, 0)
            await asyncio.gather(*(answer(stack, adapter, f"Number {i}?") for i in range(8)))

    asyncio.run(run())
    assert max(under_way) == 8


def test_a_cancelled_answer_lets_the_next_version_have_its_turn(tmp_path: Path) -> None:
    async def cancel_and_ask(stack: GatewayStack, adapter: AdapterVersion) -> str:
        other = await stack.init_adapter("eval/brief", 0)
        first = asyncio.create_task(answer(stack, adapter))
        second = asyncio.create_task(answer(stack, other))
        await asyncio.sleep(0.05)
        first.cancel()
        return (await asyncio.wait_for(second, 10)).text

    assert asking(tmp_path, cancel_and_ask, delay_s=0.2).startswith("eval-brief@0")


def test_the_wrong_token_is_told_by_the_variable_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="http://gateway wants a key: set OPENCLAW_GATEWAY_TOKEN"):
        asking(tmp_path, answer, token="a guess")


def test_an_alias_that_is_an_adapters_name_is_refused(tmp_path: Path) -> None:
    async def ask(stack: GatewayStack, adapter: AdapterVersion) -> None:
        await stack.init_adapter("claas", 0)
        await answer(stack, adapter)

    with pytest.raises(InvalidInput, match="choose another alias"):
        asking(tmp_path, ask)


def test_without_a_gateway_the_command_that_starts_one_is_named(tmp_path: Path) -> None:
    async def run() -> None:
        config, app = EvalConfig(base_model=BASE_MODEL).resolved(), create_app(FakeEngine(tmp_path), settings(tmp_path))
        api = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            connect_through(
                "http://127.0.0.1:9", TOKEN, "http://localhost", config, api_transport=api, retries=Retries(for_s=0)
            ),
        ):
            pass

    with pytest.raises(StackError, match=r"nothing answers at .*; start it with: python -m claas\.openclaw"):
        asyncio.run(run())


def test_what_is_no_gateway_is_told_apart_from_one(tmp_path: Path) -> None:
    async def run() -> None:
        config, app = EvalConfig(base_model=BASE_MODEL).resolved(), create_app(FakeEngine(tmp_path), settings(tmp_path))
        api = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            connect_through(
                "http://localhost", TOKEN, "http://localhost", config, gateway_transport=api, api_transport=api
            ),
        ):
            pass

    with pytest.raises(InvalidInput, match="http://localhost is not an OpenClaw gateway"):
        asyncio.run(run())
