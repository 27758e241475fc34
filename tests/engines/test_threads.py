"""No request waits for ever: whatever is raised in a thread of the engine, those who wait on it are told."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import InvalidStateError
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from claas.core.errors import StackError
from claas.engines.base import Engine
from claas.engines.local import learner
from claas.engines.local.decode import DecodeJob, Decoder
from claas.engines.local.score import Scorer
from claas.engines.local.versions import LocalStore, Staging
from claas.engines.types import AdapterSpec, Score, TokenIds
from tests.api.client import error, ok, running, settings
from tests.engines.talk import PROMPTS, ask, teach, user

pytestmark = pytest.mark.anyio

RAISED = (
    ValueError("too many values to unpack"),
    KeyError("layers"),
    MemoryError(),
    AssertionError(),
    RecursionError("deep"),
    StopIteration(),
    StopAsyncIteration(),
    OSError(5, "Input/output error"),
    InvalidStateError("RUNNING"),
    asyncio.CancelledError(),
    KeyboardInterrupt(),
    SystemExit(1),
    GeneratorExit(),
    torch.OutOfMemoryError("out of memory"),
)
SMALL = AdapterSpec("a", rank=4, alpha=8)
LONGEST_S = 60.0


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*args: object, **options: object) -> NoReturn:
        raise error

    return fail


async def sampled(engine: Engine) -> None:
    weights = await engine.resolve(None)
    await asyncio.gather(*(ask(engine, weights, prompt, max_tokens=3) for prompt in PROMPTS))


async def scored(engine: Engine) -> None:
    await engine.score(await engine.resolve(None), user("hi"), "sky")


async def read(engine: Engine) -> None:
    await engine.read(await engine.resolve(None), TokenIds((5, 6, 7)), 2)


async def loaded(engine: Engine) -> None:
    await ask(engine, await engine.resolve("a"), "hi", max_tokens=1)


async def taught(engine: Engine) -> None:
    await teach(engine, "a", "key", PROMPTS[:1], steps_per_batch=1)


async def made(engine: Engine) -> None:
    await engine.init_adapter(AdapterSpec("b", rank=4, alpha=8))


async def deleted(engine: Engine) -> None:
    await engine.delete_adapter("a")


STAGES: dict[str, tuple[object, str, Callable[[Engine], Awaitable[None]]]] = {
    "dropping": (Decoder, "drop", sampled),
    "admitting": (Decoder, "admit", sampled),
    "stepping": (Decoder, "step", sampled),
    "finishing": (DecodeJob, "sampled", sampled),
    "closing the gaps": (Decoder, "_arrange", sampled),
    "scoring": (Scorer, "_score", scored),
    "reading": (Scorer, "_score", read),
    "loading": (LocalStore, "read_adapter", loaded),
    "training": (learner, "run_update", taught),
    "writing": (Staging, "write", made),
    "committing": (LocalStore, "commit", made),
    "making": (learner, "new_tensors", made),
    "deleting": (LocalStore, "delete", deleted),
}
ENDING = {"closing the gaps"}
"""What is needed to begin anew after a failure, so that a thread in which it fails ends."""


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ENDING])
async def test_whatever_is_raised_is_told_to_those_who_wait_and_the_next_are_served(
    engine: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    await engine.init_adapter(SMALL)
    holder, name, request = STAGES[stage]
    for raised in RAISED:
        with monkeypatch.context() as patch:
            patch.setattr(holder, name, raising(raised))
            with pytest.raises(StackError, match=type(raised).__name__):
                await asyncio.wait_for(request(engine), LONGEST_S)
    assert (await engine.health()).ok
    await asyncio.wait_for(request(engine), LONGEST_S)


@pytest.mark.parametrize("raised", RAISED, ids=lambda each: type(each).__name__)
async def test_an_engine_that_cannot_begin_anew_says_why_it_ended(
    engine: Any, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    monkeypatch.setattr(Decoder, "_arrange", raising(raised))
    with pytest.raises(StackError, match=type(raised).__name__):
        await asyncio.wait_for(sampled(engine), LONGEST_S)
    await until_ended(engine)
    with pytest.raises(StackError, match=f"decoding failed: {type(raised).__name__}.*start the server again"):
        await asyncio.wait_for(sampled(engine), LONGEST_S)
    assert type(raised).__name__ in str((await engine.health()).detail["reason"])


async def until_ended(engine: Engine) -> None:
    """Wait for a thread that has told of its failure to end."""
    async with asyncio.timeout(LONGEST_S):
        while (await engine.health()).ok:  # noqa: ASYNC110  # a thread sets no event of ours
            await asyncio.sleep(0.01)


async def test_a_batch_that_fails_does_not_fail_the_next_one(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    score: Any = Scorer.__dict__["_score"]

    def fails_for_short(scorer: Scorer, forward: Any, batch: Any) -> None:
        if batch[0].length < 100:
            raise ValueError("short")
        score(scorer, forward, batch)

    monkeypatch.setattr(Scorer, "_score", fails_for_short)
    weights = await engine.resolve(None)
    answers = [engine.score(weights, user(prompt), "sky") for prompt in ("hi", "hi " * 100)]
    short, long = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(short, StackError)
    assert isinstance(long, Score)


async def test_an_update_that_could_not_be_made_durable_can_be_made_again(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.init_adapter(SMALL)
    with monkeypatch.context() as patch:
        patch.setattr("claas.engines.local.versions.sync", raising(OSError(5, "Input/output error")))
        with pytest.raises(StackError, match="cannot write"):
            await taught(engine)
    assert (await engine.resolve("a")).version == 0
    await taught(engine)
    assert (await engine.resolve("a")).version == 1


async def test_what_waits_when_an_engine_is_closed_is_told(open_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine()
    begun, may_end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    new_tensors: Any = learner.new_tensors

    def slow(*args: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result()
        return new_tensors(*args)

    monkeypatch.setattr(learner, "new_tensors", slow)
    making = [asyncio.create_task(engine.init_adapter(AdapterSpec(name, rank=4, alpha=8))) for name in "ab"]
    await begun.wait()
    closing = asyncio.create_task(engine.close())
    refused: list[asyncio.Task[bool]] = []
    while not any(each.done() for each in refused):  # until the thread takes no more
        refused.append(asyncio.create_task(engine.delete_adapter(f"c{len(refused)}")))
        await asyncio.sleep(0.01)
    may_end.set()
    await closing
    assert (await making[0]).lora_id == "a"
    for each in (making[1], *refused):
        with pytest.raises(StackError, match="closed"):
            await each


async def test_the_api_answers_503_with_the_cause_and_tells_whether_it_is_well(
    engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with running(engine, settings(tmp_path)) as api:
        await api.init()
        choice = await api.said("hi", max_tokens=4)
        about = {"lora_id": "eval/concise", "prompt": "hi", "rollout_id": None, "feedback": "Be brief."}
        item = {**about, "response": choice.message.content}
        for raised in RAISED:
            with monkeypatch.context() as patch:
                patch.setattr(Decoder, "step", raising(raised))
                patch.setattr(Scorer, "_score", raising(raised))
                patch.setattr(learner, "run_update", raising(raised))
                body = {"model": "eval-concise", "messages": list(user("hi"))}
                replies = [
                    await api.try_chat(max_tokens=4),
                    await api.http.post("/v1/score", json={**body, "completion": "sky"}),
                    await api.http.post("/v1/feedback", json={"requests": [item]}),
                ]
            for reply in replies:
                assert type(raised).__name__ in error(reply, 503)
            ok(await api.http.get("/health"))
        await api.feedback(item)
        monkeypatch.setattr(Decoder, "_arrange", raising(KeyError("slots")))
        assert "KeyError" in error(await api.try_chat(max_tokens=4), 503)
        await until_ended(engine)
        assert "start the server again" in error(await api.try_chat(max_tokens=4), 503)
        assert (await api.http.get("/health")).status_code == 503
        assert "KeyError" in (await api.http.get("/v1/health")).json()["detail"]["reason"]
