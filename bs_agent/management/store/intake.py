"""Where news of hosts become rows: queued, told apart from what is known, written together by one writer.

Everything that changes the health of a host goes through here, in order: polls, pushes, reconnects. News that say
nothing new cost no write.
"""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bs_agent.contract.report import StorageReport
from bs_agent.management.model.capacity import measured
from bs_agent.management.model.health import Health
from bs_agent.management.store.changes import HostChange, Turn, apply
from bs_agent.management.store.database import Database
from bs_agent.management.store.fence import Fence
from bs_agent.management.store.operations import Held

log = logging.getLogger(__name__)

_RETRY = 1.0
_GATHERING = 0.25
"""Seconds for which news wait for more of their kind, unless somebody waits for them."""


@dataclass(slots=True)
class _Known:
    """What was last written of a storage's capacity, and when it was measured."""

    columns: dict[str, Any] = field(default_factory=dict)
    date: float = 0.0


class Intake:
    """The queue and its writer; `run` is the writer."""

    def __init__(self, database: Database, fence: Fence) -> None:
        self._database = database
        self._fence = fence
        self._hosts: dict[str, HostChange] = {}
        self._capacities: dict[str, dict[str, Any]] = {}
        self._known: dict[str, _Known] = {}
        self._news, self._urgent = asyncio.Event(), asyncio.Event()
        self._written = asyncio.Condition()
        self._queued = self._done = 0

    def health(self, storage_uuid: str, mon_uuid: str, health: Health, held: Held | None = None) -> None:
        """Take the new health of a host: from an operation under way, or from a poll."""
        self._hosts[mon_uuid] = HostChange(mon_uuid, storage_uuid, health, held)
        self._announce()

    def capacity(self, storage_uuid: str, report: StorageReport, held: Held | None = None) -> None:
        """Take what a host that sees the storage reports of the capacity; the newest measurement counts.

        A host whose clock is ahead has measured now, so that the others are heard again when it falls silent.
        """
        known, said = self._known.setdefault(storage_uuid, _Known()), measured(report)
        date = min(said.date, time.time())
        if not said.columns or date < known.date:
            return
        known.date = date
        if _differ(said.columns, known.columns):
            known.columns = known.columns | said.columns | {"capacityDate": int(date)}
            self._capacities[storage_uuid] = known.columns
            self._announce()

    def forget(self, storage_uuid: str) -> None:
        """Drop what is known of a deleted storage."""
        self._known.pop(storage_uuid, None)
        self._capacities.pop(storage_uuid, None)

    async def flush(self) -> None:
        """Wait until everything taken so far is in the database."""
        mark = self._queued
        self._urgent.set()
        async with self._written:
            await self._written.wait_for(lambda: self._done >= mark)

    async def run(self) -> None:
        """Write what comes, as long as the process lives."""
        while True:
            await self._news.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), _GATHERING)
            self._news.clear()
            self._urgent.clear()
            mark = self._queued
            hosts, self._hosts = self._hosts, {}
            capacities, self._capacities = self._capacities, {}
            try:
                turns = await apply(self._database, self._fence, list(hosts.values()), capacities)
            except Exception:  # edge: the database is away; nothing is lost, newer news win
                log.exception("cannot write the news of %d hosts; trying again", len(hosts) + len(capacities))
                self._hosts = hosts | self._hosts
                self._capacities = capacities | self._capacities
                self._news.set()
                await asyncio.sleep(_RETRY)
                continue
            for turn in turns:
                _log(turn)
            async with self._written:
                self._done = mark
                self._written.notify_all()

    def _announce(self) -> None:
        self._queued += 1
        self._news.set()


def _differ(new: dict[str, Any], old: dict[str, Any]) -> bool:
    return any(old.get(name) != value for name, value in new.items() if name != "capacityDate")


def _log(turn: Turn) -> None:
    reason = f": {turn.after.reason.code}: {turn.after.reason.details}" if turn.after.reason else ""
    level = logging.WARNING if turn.after.status == "Disconnected" else logging.INFO
    log.log(level, "backup storage %s [%s] is %s%s", turn.name, turn.uuid, turn.after.status, reason)
