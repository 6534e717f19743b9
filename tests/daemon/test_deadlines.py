"""Deadlines that hold for what does not end when it is told to."""

import asyncio
import threading

import pytest

from bs_agent.daemon.deadlines import within

pytestmark = pytest.mark.asyncio


async def test_what_is_done_in_time_is_returned_and_what_fails_fails() -> None:
    async def works() -> int:
        return 1

    async def fails() -> int:
        raise ValueError("why")

    assert await within(60, works()) == 1
    with pytest.raises(ValueError, match="why"):
        await within(60, fails())


async def test_a_thread_that_cannot_be_interrupted_is_left_behind() -> None:
    released, ended = threading.Event(), asyncio.Event()

    async def waits() -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.shield(loop.run_in_executor(None, released.wait, 100))
        finally:
            await asyncio.shield(loop.run_in_executor(None, released.wait, 100))  # as a driver that closes
            ended.set()

    with pytest.raises(TimeoutError):
        await within(0.01, waits())
    assert not ended.is_set()
    released.set()
    await asyncio.wait_for(ended.wait(), 60)


async def test_who_is_cancelled_takes_the_work_along() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(within(60, waits()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 60)


async def test_a_fault_after_the_deadline_is_nobodys(recwarn: pytest.WarningsRecorder) -> None:
    async def fails_late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("too late")

    with pytest.raises(TimeoutError):
        await within(0.01, fails_late())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not recwarn.list
