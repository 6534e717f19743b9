"""What the agent keeps on disk, reached through one thread: the event loop never waits for the disk.

A failing disk makes the journal unavailable, not wrong: what was not committed was not accepted. It recovers by itself.
"""

import asyncio
import concurrent.futures
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bs_agent.agent.journal import database
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode

log = logging.getLogger(__name__)

DEADLINE = 10.0
MAX_WAITING = 256
CHECK_EVERY = 5.0

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


@dataclass
class _Job:
    work: Work[Any]
    begin: str
    result: concurrent.futures.Future[Any]
    given_up: bool = False


class Journal:
    """The database of a running agent; each `read` and `write` is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_WAITING)
        # A daemon thread: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._connection: sqlite3.Connection | None = None
        self._failing = False
        self._checking = asyncio.Lock()
        self._checked_at = -CHECK_EVERY
        self._check_failure: StorageProblem | None = None

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    async def close(self) -> None:
        """Finish what waits, and close the database; a disk that hangs is left behind."""
        try:
            self._jobs.put_nowait(None)
            async with asyncio.timeout(DEADLINE):
                await asyncio.wrap_future(self._ended)
        except (queue.Full, TimeoutError):
            log.warning("the journal's disk does not answer, it is left behind")

    async def read(self, work: Work[T]) -> T:
        """Return what `work` reads.

        Raises:
            StorageProblem: the journal is unavailable.
        """
        return await self._do(work, "BEGIN")

    async def write(self, work: Work[T]) -> T:
        """Return what `work` returns once its changes are on disk; if it raises, nothing was changed.

        Raises:
            StorageProblem: the journal is unavailable.
        """
        return await self._do(work, "BEGIN IMMEDIATE")

    async def check(self) -> None:
        """See that the journal can be written; the disk is asked every few seconds at most.

        Raises:
            StorageProblem: the journal is unavailable.
        """
        async with self._checking:
            if time.monotonic() - self._checked_at >= CHECK_EVERY:
                try:
                    await self.write(
                        lambda connection: connection.execute("REPLACE INTO checks VALUES (1, ?)", (time.time(),))
                    )
                    self._check_failure = None
                except StorageProblem as error:
                    self._check_failure = error
                self._checked_at = time.monotonic()
        if self._check_failure:
            raise self._check_failure

    async def _do(self, work: Work[T], begin: str) -> T:
        job = _Job(work, begin, concurrent.futures.Future())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise unavailable("too many requests wait for the disk") from None
        try:
            async with asyncio.timeout(DEADLINE):
                result: T = await asyncio.wrap_future(job.result)
        except TimeoutError:
            job.given_up = True
            raise unavailable(f"the disk did not answer within {DEADLINE:g} s") from None
        return result

    def _run(self) -> None:
        while job := self._jobs.get():
            # A job whose caller has given up is dropped: it was never accepted.
            if job.result.set_running_or_notify_cancel():
                try:
                    job.result.set_result(self._transact(job))
                except BaseException as error:  # noqa: BLE001  handed to the caller, whatever it is
                    job.result.set_exception(error)
        if self._connection:
            self._connection.close()
        self._ended.set_result(None)

    def _transact(self, job: _Job) -> Any:  # noqa: ANN401 RUF100  the work's own type
        try:
            if self._connection is None:
                self._connection = database.connect(self._path)
            with database.transaction(self._connection, job.begin):
                _go_on(job)
                result = job.work(self._connection)
                _go_on(job)
        except (sqlite3.Error, database.DatabaseRefusedError) as error:
            if not self._failing:
                log.error("the journal is unavailable: %s", error)  # noqa: TRY400  the cause is outside of the program
            self._failing = True
            # The next job begins with a new connection: nothing of this failure stays.
            if self._connection:
                self._connection.close()
                self._connection = None
            raise unavailable(str(error)) from error
        if self._failing:
            log.info("the journal is available again")
        self._failing = False
        return result


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    """Keep the journal open while the context is; it is read once as a whole first.

    Raises:
        StorageProblem: it cannot be used; its details are a sentence that says what to do.
    """
    journal = Journal(path)
    journal.start()
    try:
        await journal.read(lambda connection: database.verify(connection, path))
        yield journal
    finally:
        await journal.close()


def _go_on(job: _Job) -> None:
    """Roll back what nobody waits for any more: its caller was told that it did not happen."""
    if job.given_up:
        raise unavailable("the disk answered too late")


def unavailable(details: str) -> StorageProblem:
    """Say that nothing can be kept now."""
    return StorageProblem.of(ReasonCode.JOURNAL_UNAVAILABLE, details)
