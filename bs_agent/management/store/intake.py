"""Where news of hosts become rows: queued, the newer in the place of the older, written together by one writer.

Everything that changes the health of a host goes through here, in order: polls, pushes, reconnects. What the database
refuses is left out, and shown as the reason of the host that said it; it holds up no other. While the database is away
nothing is lost.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from bs_agent.contract.errors import InternalError
from bs_agent.contract.reasons import REASONS, Reason, ReasonCode
from bs_agent.contract.report import StorageReport
from bs_agent.management.model.capacity import measured
from bs_agent.management.model.health import Health
from bs_agent.management.store.changes import (
    Applied,
    CapacityChange,
    HostChange,
    News,
    Refusal,
    Turn,
    apply,
    check_writable,
    shortly,
)
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.fence import Fence
from bs_agent.management.store.operations import Held
from bs_agent.management.store.rows import batched

log = logging.getLogger(__name__)

_RETRY = 1.0
_GATHERING = 0.25
"""Seconds for which news wait for more of their kind, unless somebody waits for them."""
_FLUSH = 30.0
_LOOK = 0.1
_ORDER = (HostChange, Refusal, CapacityChange)


class Key(NamedTuple):
    """What news are about: newer ones take the place of older ones."""

    kind: type[News]
    mon_uuid: str


class Intake:
    """The queue and its writer; `run` is the writer. `again` is told whose news this node may not write now."""

    def __init__(self, database: Database, fence: Fence) -> None:
        self.again: Callable[[Collection[str]], None] = lambda _: None
        self._database = database
        self._fence = fence
        self._pending: dict[Key, News] = {}
        self._refused: dict[Key, Reason] = {}
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._failing_since: float | None = None
        self._failure = ""

    @property
    def waiting(self) -> int:
        """How many news wait to be written."""
        return len(self._pending)

    def health(self, storage_uuid: str, mon_uuid: str, health: Health, held: Held | None = None) -> None:
        """Take the new health of a host: from an operation under way, or from a poll."""
        refused = self._refused.get(Key(CapacityChange, mon_uuid))
        if refused and health.status == "Connected":
            health = Health(health.status, refused, fresh=False)
        self._put(HostChange(mon_uuid, storage_uuid, health, held))

    def capacity(self, storage_uuid: str, mon_uuid: str, report: StorageReport, held: Held | None = None) -> None:
        """Take what a host that sees the storage reports of the capacity; the newest measurement counts."""
        if said := measured(report):
            self._put(CapacityChange(mon_uuid, storage_uuid, said, time.monotonic(), held))

    def forget(self, storage_uuid: str) -> None:
        """Drop what is known of a deleted storage."""
        for key in self._keys(storage_uuid):
            del self._pending[key]

    async def flush(self, storage_uuid: str) -> None:
        """Write what was taken of a storage so far.

        Raises:
            DatabaseUnavailable: it cannot be written now; it stays queued.
        """
        try:
            async with asyncio.timeout(_FLUSH):
                while keys := self._keys(storage_uuid):
                    if await self._write(keys):
                        await asyncio.sleep(_LOOK)
        except TimeoutError:
            details = f"the news of backup storage[uuid:{storage_uuid}] were not written within {_FLUSH:g} s"
            raise DatabaseUnavailable(details) from None

    async def check(self) -> None:
        """See that news can be written.

        Raises:
            InternalError: they cannot, and for how long that has been so.
        """
        try:
            await check_writable(self._database)
        except DatabaseUnavailable as error:
            self._fails(error.details)
        else:
            if not self._pending:
                self._works()
        if self._failing_since is not None:
            seconds = time.monotonic() - self._failing_since
            raise InternalError(f"this node has not been able to write for {seconds:.0f} s: {self._failure}")

    async def run(self) -> None:
        """Write what comes, as long as the process lives."""
        while True:
            await self._news.wait()
            await asyncio.sleep(_GATHERING)
            self._news.clear()
            left: list[Key] = []
            try:
                for some in batched(self._keys()):
                    left += await self._write(some)
            except DatabaseUnavailable as error:
                self._fails(error.details)
                left = self._keys()
            else:
                self._works()
            if left:
                await asyncio.sleep(_RETRY)
                self._news.set()

    def _put(self, news: News) -> None:
        self._pending[Key(type(news), news.mon_uuid)] = news
        self._news.set()

    def _keys(self, storage_uuid: str = "") -> list[Key]:
        """Name what waits, of one storage or of all, in the order in which it is written."""
        found = [key for key, news in self._pending.items() if storage_uuid in {"", news.storage_uuid}]
        return sorted(found, key=lambda key: (self._pending[key].storage_uuid, _ORDER.index(key.kind), key.mon_uuid))

    async def _write(self, keys: Sequence[Key]) -> list[Key]:
        """Write some of what waits; return what cannot be written now because somebody holds on to its rows.

        Raises:
            DatabaseUnavailable: nothing can be written now.
        """
        async with self._turn:
            news = {key: self._pending[key] for key in keys if key in self._pending}
            if not news:
                return []
            try:
                done = await apply(self._database, self._fence, list(news.values()))
            except Exception as error:  # noqa: BLE001  refused for whatever reason, or away: told apart below
                failure = error
            else:
                self._written(news, done)
                return []
        await check_writable(self._database)
        if len(news) > 1:
            names = list(news)
            half = len(names) // 2
            return [*await self._write(names[:half]), *await self._write(names[half:])]
        if isinstance(failure, DatabaseUnavailable):
            return list(news)
        for key, one in news.items():
            self._refuse(key, one, failure)
        return []

    def _written(self, news: dict[Key, News], done: Applied) -> None:
        for key, one in news.items():
            self._done(key, one)
            if self._refused.pop(key, None):
                log.info("the database takes again what host %s says", key.mon_uuid)
        for turn in done.turns:
            _log(turn)
        if done.not_ours:
            self.again({one.mon_uuid for one in done.not_ours})

    def _refuse(self, key: Key, news: News, failure: Exception) -> None:
        """Leave out what the database refuses, and have that shown as the reason of the host that said it."""
        if key not in self._refused:
            log.error(
                "the database refuses what host %s says of backup storage %s; it is left out",
                news.mon_uuid, news.storage_uuid, exc_info=failure,
            )  # fmt: skip
        details = f"the database refuses what the host says: {shortly(failure)}"
        reason = self._refused[key] = Reason(code=ReasonCode.REPORT_INVALID, details=details)
        if self._done(key, news) and not isinstance(news, Refusal):
            status = news.health.status if isinstance(news, HostChange) else None
            self._put(Refusal(news.mon_uuid, news.storage_uuid, reason, status, news.held))

    def _done(self, key: Key, news: News) -> bool:
        """Let go of news, unless newer ones have taken their place."""
        if self._pending.get(key) is not news:
            return False
        del self._pending[key]
        return True

    def _fails(self, details: str) -> None:
        self._failure = details
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            log.warning("cannot write the news of hosts, trying again: %s", details)

    def _works(self) -> None:
        if self._failing_since is not None:
            log.info("the news of hosts are written again after %.0f s", time.monotonic() - self._failing_since)
            self._failing_since = None


def _log(turn: Turn) -> None:
    why = turn.after.reason
    reason = f": {why.code}: {why.details} -> {REASONS[why.code].cure}" if why else ""
    level = logging.WARNING if turn.after.status == "Disconnected" else logging.INFO
    log.log(level, "backup storage %s [%s] is %s%s", turn.name, turn.uuid, turn.after.status, reason)
