"""The shell of a daemon: start, tell systemd, wait for signals, reload, stop in reverse order.

Signals only set events. What `start` enters on the exit stack is undone in reverse, each part in a guard of its own.
"""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from bs_agent.daemon.configuration import ConfigError
from bs_agent.daemon.notify import notify, watchdog_interval

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Daemon:
    """What the shell needs to know of a daemon.

    `start` returns the status line once everything serves; `reload` reads the configuration again and raises
    `ConfigError` when it keeps the old one; `progressing` tells whether the daemon still does its work, else the
    watchdog is not fed.
    """

    start: Callable[[AsyncExitStack], Awaitable[str]]
    reload: Callable[[], Awaitable[None]]
    progressing: Callable[[], bool]


async def run(daemon: Daemon) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    async with AsyncExitStack() as stack:
        status = await daemon.start(stack)
        await stack.enter_async_context(background(_feed_watchdog(daemon.progressing), "watchdog"))
        await stack.enter_async_context(background(_reload_on(reload, daemon.reload, status), "reload"))
        log.info("ready: %s", status)
        notify("READY=1", f"STATUS={status}")
        await stop.wait()
        log.info("stopping")
        notify("STOPPING=1", "STATUS=stopping")


@asynccontextmanager
async def background(work: Awaitable[None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` as a task while the context is open; it is cancelled and awaited at the end."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: _report_end(done, name))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # its end was logged by the callback
            await task


async def enter_guarded(stack: AsyncExitStack, context: AbstractAsyncContextManager[T]) -> T:
    """Enter `context` so that a failure while it is left is logged and does not keep the other parts from stopping."""
    value = await context.__aenter__()

    async def leave() -> None:
        try:
            await context.__aexit__(None, None, None)
        except Exception:  # edge: the shutdown of one part
            log.exception("stopping %s failed", type(context).__name__)

    stack.push_async_callback(leave)
    return value


def _report_end(task: asyncio.Future[None], name: str) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.critical("%s ended by itself", name, exc_info=error)


async def _feed_watchdog(progressing: Callable[[], bool]) -> None:
    interval = watchdog_interval()
    while interval:
        if progressing():
            notify("WATCHDOG=1")
        await asyncio.sleep(interval)


async def _reload_on(wanted: asyncio.Event, reload: Callable[[], Awaitable[None]], status: str) -> None:
    while True:
        await wanted.wait()
        wanted.clear()
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")
        try:
            await reload()
        except ConfigError as error:
            log.error("reload refused, the old configuration stays: %s", "; ".join(error.faults))  # noqa: TRY400  the faults say it all
            notify("READY=1", f"STATUS={status}; reload refused: {error.faults[0]}")
        else:
            log.info("reloaded")
            notify("READY=1", f"STATUS={status}")
