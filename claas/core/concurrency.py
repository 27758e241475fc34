"""Structured concurrency: everything at once, in order, and the first failure raised bare."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

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
    """Run two whose results are of different kinds, as `together` does."""
    waiting: list[Coroutine[Any, Any, Any]] = [first, second]
    one, other = await together(waiting)
    return one, other


def _first_of(failure: BaseException) -> BaseException:
    """The first plain exception inside a group, however deep; a plain exception is itself."""
    inside: tuple[BaseException, ...] = getattr(failure, "exceptions", ())
    return _first_of(inside[0]) if inside else failure
