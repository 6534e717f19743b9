"""Which enrolments know the next certificate: a rotation that they have not been told of would lock them out."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bs_agent.agent.journal.journal import Journal
from bs_agent.contract.errors import StorageProblem
from bs_agent.daemon.lifecycle import background, surviving

RETRY = 10.0


class Told:
    """Notes it in memory, and on disk when it has changed: no report waits for the disk."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._news = asyncio.Event()

    def note(self, enrollment: str, next_fingerprint: str) -> None:
        """Note that the management node of this enrolment has stored this next fingerprint."""
        if self._kept.get(enrollment) != next_fingerprint:
            self._new[enrollment] = next_fingerprint
            self._news.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep what is noted while the context is open."""
        async with background(self._keep_on(), "keeper of who was told"):
            yield

    async def _keep_on(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            with surviving("keeping who was told of the next certificate"):
                await self._keep()

    async def _keep(self) -> None:
        told = dict(self._new)
        try:
            await self._journal.write(lambda connection: _update(connection, told))
        except StorageProblem:
            await asyncio.sleep(RETRY)
            self._news.set()
            return
        self._kept |= told
        self._new = {enrollment: new for enrollment, new in self._new.items() if told.get(enrollment) != new}


def _update(connection: sqlite3.Connection, told: dict[str, str]) -> None:
    change = "UPDATE enrollments SET told = ? WHERE id = ? AND told IS NOT ?"
    connection.executemany(change, ((new, enrollment, new) for enrollment, new in told.items()))
