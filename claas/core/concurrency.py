"""Structured concurrency that raises the first failure bare, and threads for work that would block the event loop."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once and return their results in order.

    The first failure cancels the rest and is raised as itself, not inside an exception group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failures:
        raise _first_of(failures) from None
    return [task.result() for task in tasks]


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Run two coroutines with results of different types, as `together` does."""
    waiting: list[Coroutine[Any, Any, Any]] = [first, second]
    one, other = await together(waiting)
    return one, other


def run_until_terminated(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, in a loop of its own. SIGTERM cancels it, and is raised as `asyncio.CancelledError`."""

    async def terminable() -> T:
        running = asyncio.current_task()
        assert running is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        return await work

    return asyncio.run(terminable())


def _first_of(failure: BaseException) -> BaseException:
    """The first plain exception inside a group, however deep; a plain exception is itself."""
    inside: tuple[BaseException, ...] = getattr(failure, "exceptions", ())
    return _first_of(inside[0]) if inside else failure


class Threads:
    """A few threads for one kind of work, so that no other kind waits for it."""

    def __init__(self, kind: str, most: int) -> None:
        self._executor = ThreadPoolExecutor(most, thread_name_prefix=f"claas-{kind}")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread. Once begun, it continues even if the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *args, **kwargs))

    def close(self) -> None:
        """Let what has begun and what waits be done."""
        self._executor.shutdown()


TEXT_THREADS = Threads("text", 2)
"""For work that grows with a text which a client has sent, or with an answer."""

_SMALL = 4096


async def unblocked(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` on `size` characters or tokens returns: at once where these are few, else from a thread."""
    return work(*args, **kwargs) if size <= _SMALL else await TEXT_THREADS.run(work, *args, **kwargs)
