"""The shell of a daemon: start, tell systemd, wait for signals, reload, stop in reverse order.

Signals only set events. What `start` enters on the exit stack is undone in reverse, each part in a guard of its own.
"""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from bs_agent.daemon import garbage
from bs_agent.daemon.configuration import ConfigError
from bs_agent.daemon.notify import notify, watchdog_interval

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Daemon:
    """What the shell needs to know of a daemon.

    `start` returns once everything serves; `reload` reads the configuration again and raises `ConfigError` when it
    keeps the old one; `progressing` tells whether the daemon still does its work, else the watchdog is not fed;
    `status` is one line on how it is; `leave` returns when what is under way has ended, and a second signal cuts it
    short.
    """

    start: Callable[[AsyncExitStack], Awaitable[None]]
    reload: Callable[[], Awaitable[None]]
    progressing: Callable[[], bool]
    status: Callable[[], str]
    leave: Callable[[], Awaitable[None]] | None = None


async def run(daemon: Daemon) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    async with AsyncExitStack() as stack:
        await daemon.start(stack)
        garbage.look_as_a_daemon()
        report = _Report(daemon.status)
        await stack.enter_async_context(background(_feed_watchdog(daemon.progressing, report), "watchdog"))
        await stack.enter_async_context(background(_reload_on(reload, daemon.reload, report), "reload"))
        log.info("ready: %s", report.told())
        notify("READY=1", report.line())
        await stop.wait()
        log.info("stopping")
        notify("STOPPING=1", "STATUS=stopping")
        if daemon.leave:
            stop.clear()
            await _unless(stop, daemon.leave())


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


@contextmanager
def surviving(what: str) -> Iterator[None]:
    """Let a loop go on whatever one of its turns raises, which is logged; what must not be lost has to come again.

    So does a loop that nobody has cancelled, when something that it waited for was.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        log.exception("%s was cancelled from within, and goes on", what)
    except Exception:  # edge: a loop of a daemon must not end for a fault of ours
        log.exception("%s failed, and goes on", what)


def _report_end(task: asyncio.Task[None], name: str) -> None:
    if not task.cancelled():
        if error := task.exception():
            log.critical("%s ended by itself", name, exc_info=error)
    elif not task.cancelling():  # nobody asked for it: something that the task waited for was cancelled
        log.critical("%s ended by itself: it was cancelled from within", name)


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Do `work` to its end, or until `stop` is set."""
    async with background(work, "leaving") as leaving:
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait([leaving, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()


class _Report:
    """The status line: how the daemon is, and what the last reload was refused for."""

    def __init__(self, status: Callable[[], str]) -> None:
        self._status = status
        self.refused = ""

    def told(self) -> str:
        try:
            return self._status()
        except ValueError as error:  # what is to be shown cannot be; the rest must go on
            return f"the status cannot be told: {error}"

    def line(self) -> str:
        return f"STATUS={self.told()}" + (f"; reload refused: {self.refused}" if self.refused else "")


async def _feed_watchdog(progressing: Callable[[], bool], report: _Report) -> None:
    interval = watchdog_interval()
    while interval:
        with surviving("the feeding of the watchdog"):
            if progressing():
                notify("WATCHDOG=1", report.line())
        await asyncio.sleep(interval)


async def _reload_on(wanted: asyncio.Event, reload: Callable[[], Awaitable[None]], report: _Report) -> None:
    while True:
        await wanted.wait()
        wanted.clear()
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")
        report.refused = "an unexpected fault; the log has the rest"
        with surviving("the reload"):
            report.refused = await _try(reload)
        notify("READY=1", report.line())


async def _try(reload: Callable[[], Awaitable[None]]) -> str:
    """Reload, and return why that was refused, or nothing."""
    try:
        await reload()
    except ConfigError as error:
        log.error("reload refused, the old configuration stays: %s", "; ".join(error.faults))  # noqa: TRY400  the faults say it all
        return error.faults[0]
    log.info("reloaded")
    return ""
