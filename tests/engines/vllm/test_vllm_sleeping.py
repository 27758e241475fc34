"""A server that sleeps while somebody learns: nothing is asked meanwhile, and nothing waits for ever."""

import asyncio
from typing import Any, cast

import pytest

from claas.core.errors import InvalidInput, StackError
from claas.engines.vllm.sleeping import Sleeping

pytestmark = pytest.mark.anyio


class Server:
    """What a server was told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.fails = False

    async def pause(self, *, sleep: bool) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise StackError("it does not fall asleep")
        self.told.append("sleep" if sleep else "pause")

    async def resume(self, *, sleep: bool) -> None:
        await asyncio.sleep(0)
        self.told.append("wake" if sleep else "resume")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> Server:
    return Server()


def sleeping(server: Server, sleep_mode: bool | None = True) -> Sleeping:
    return Sleeping(cast(Any, server), sleep_mode)


async def ask(gate: Sleeping, server: Server, answered: asyncio.Event | None = None) -> None:
    async with gate.awake():
        server.told.append("ask")
        if answered is not None:
            await answered.wait()
        server.told.append("answer")


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_sleeps_once_what_was_asked_is_answered_and_what_is_asked_then_waits(server: Server) -> None:
    gate, answered = sleeping(server), asyncio.Event()
    first = asyncio.create_task(ask(gate, server, answered))
    await settled()
    asleep = asyncio.create_task(gate.sleep(1))
    await settled()
    second = asyncio.create_task(ask(gate, server))
    await settled()
    assert server.told == ["ask"]
    answered.set()
    assert await asleep
    await settled()
    assert server.told == ["ask", "answer", "sleep"]
    assert await gate.wake(True)
    await asyncio.gather(first, second)
    assert server.told == ["ask", "answer", "sleep", "wake", "ask", "answer"]


async def test_who_asks_next_wakes_what_nobody_has_woken(server: Server) -> None:
    gate = sleeping(server, sleep_mode=False)
    assert await gate.sleep(2)  # a pause forgets nothing, whatever the level
    assert not await gate.wake(False)
    assert server.told == ["pause"]
    await ask(gate, server)
    assert server.told == ["pause", "resume", "ask", "answer"]


async def test_it_is_woken_when_the_last_of_several_no_longer_needs_it_asleep(server: Server) -> None:
    gate = sleeping(server)
    assert await asyncio.gather(gate.sleep(1), gate.sleep(1)) == [True, True]
    waiting = asyncio.create_task(ask(gate, server))
    assert not await gate.wake(True)
    await settled()
    assert server.told == ["sleep"]
    assert await gate.wake(True)
    await waiting
    assert server.told == ["sleep", "wake", "ask", "answer"]


async def test_a_sleep_that_fails_or_is_given_up_keeps_nobody_waiting(server: Server) -> None:
    gate, answered = sleeping(server), asyncio.Event()
    server.fails = True
    with pytest.raises(StackError):
        await gate.sleep(1)
    first = asyncio.create_task(ask(gate, server, answered))
    await settled()
    given_up = asyncio.create_task(gate.sleep(1))
    await settled()
    given_up.cancel()
    await settled()
    await ask(gate, server)
    answered.set()
    await first
    assert server.told == ["ask", "ask", "answer", "answer"]


async def test_a_server_that_cannot_sleep_is_left_awake_and_none_forgets_its_weights(server: Server) -> None:
    assert not await sleeping(server, sleep_mode=None).sleep(1)
    with pytest.raises(InvalidInput, match="sleep_level=2"):
        await sleeping(server).sleep(2)
    assert server.told == []
