"""A client that goes away ends what was done for it alone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import Receive

T = TypeVar("T")


class HungUp(HTTPException):
    """The client is gone; whatever is answered, nobody reads it."""

    def __init__(self) -> None:
        super().__init__(499, "the client hung up")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up; then `HungUp` is raised.

    `receive` has given the whole body already.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_hung_up(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise HungUp
    finally:
        await stopped(task, gone)


async def stopped(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until they have ended; how they ended is not asked."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
