"""Wakes whoever waits for a row to change, here and, by PostgreSQL's NOTIFY, on the other nodes.

A wake-up that is lost costs only time: who waits looks again by itself before long.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

log = logging.getLogger(__name__)

_CHANNEL = "bs_agent"
_AGAIN = 5.0
_DEADLINE = 10.0
_PROOF = 60.0
"""Seconds after which the server has to show that it is there: one that is gone without a word says nothing else."""


class Wakes:
    """Topics and who waits for them, such as `storage:<uuid>` for the end of an operation."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._across = engine.dialect.name == "postgresql"
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listeners: list[Callable[[str], None]] = []

    async def call(self, connection: AsyncConnection, topic: str) -> None:
        """Wake who waits for the topic on other nodes, once the transaction is committed; `fire` wakes those here."""
        if self._across:
            await connection.execute(select(func.pg_notify(_CHANNEL, topic)))

    def fire(self, topic: str) -> None:
        """Wake who waits for the topic in this process."""
        for event in self._waiting.get(topic, ()):
            event.set()
        for listener in self._listeners:
            listener(topic)

    @contextmanager
    def waiting(self, topic: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the topic is called; look at the row after this, not before."""
        event = asyncio.Event()
        self._waiting[topic].add(event)
        try:
            yield event
        finally:
            self._waiting[topic].discard(event)
            if not self._waiting[topic]:
                del self._waiting[topic]

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with every topic from now on."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Hear the other nodes as long as the process lives; on SQLite there are none."""
        while self._across:
            try:
                await self._hear()
            except Exception as error:  # noqa: BLE001  edge: the driver's own errors have no base in common
                log.info("the other nodes are not heard for now: %s", error)
            await asyncio.sleep(_AGAIN)

    async def _hear(self) -> None:
        gone = asyncio.Event()
        async with asyncio.timeout(_DEADLINE):
            raw = await self._engine.raw_connection()
        try:
            driver: Any = raw.driver_connection
            driver.add_termination_listener(lambda _: gone.set())
            await driver.add_listener(_CHANNEL, lambda *told: self.fire(str(told[-1])))
            while not gone.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), _PROOF)
                await driver.fetchval("SELECT 1", timeout=_DEADLINE)
        finally:
            raw.invalidate()  # a connection that listens must not go back to the pool
