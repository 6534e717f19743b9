"""Deadlines for what cannot be interrupted: a thread that waits for a lock of SQLite, or for a disk."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. After so many seconds it is cancelled, and its end is not waited for.

    `asyncio.timeout` waits until what it has cancelled has ended, which a thread does in its own time.

    Raises:
        TimeoutError: the time is over.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_heard)
    if not done:
        raise TimeoutError
    return task.result()


def _heard(task: asyncio.Task[Any]) -> None:
    """Have it known how a task has ended that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
