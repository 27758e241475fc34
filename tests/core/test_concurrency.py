"""Everything at once, in order, and the first failure bare."""

import asyncio

import pytest

from claas.core.concurrency import both, together


def test_results_come_in_the_order_asked_whatever_finishes_first() -> None:
    async def after(delay: float, value: int) -> int:
        await asyncio.sleep(delay)
        return value

    async def run() -> list[int]:
        return await together([after(0.02, 1), after(0.0, 2), after(0.01, 3)])

    assert asyncio.run(run()) == [1, 2, 3]


def test_the_first_failure_cancels_the_rest_and_is_raised_as_itself() -> None:
    cancelled: list[bool] = []

    async def fails() -> None:
        raise KeyError("first")

    async def waits() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def nested() -> None:
        await together([waits(), fails()])

    async def run() -> None:
        await together([nested(), waits()])

    with pytest.raises(KeyError, match="first"):
        asyncio.run(run())
    assert cancelled == [True, True]


def test_two_of_different_kinds_run_at_once_and_fail_as_one() -> None:
    async def number(met: asyncio.Barrier) -> int:
        await met.wait()
        return 1

    async def text(met: asyncio.Barrier) -> str:
        await met.wait()
        return "one"

    async def fails() -> str:
        raise KeyError("second")

    async def run() -> None:
        met = asyncio.Barrier(2)
        assert await both(number(met), text(met)) == (1, "one")
        with pytest.raises(KeyError, match="second"):
            await both(number(met), fails())

    asyncio.run(run())
