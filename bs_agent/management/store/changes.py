"""Writes what reports have changed: the health of hosts, capacities, and the health of storages that follows.

The row decides: the newest measurement of a capacity stays, whichever node writes last, by the database's clock.

Many changes are one transaction, so that ten thousand agents do not mean ten thousand waits for the disk.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, false, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason
from bs_agent.management.model.capacity import COLUMNS, Measured, counts
from bs_agent.management.model.health import Health, storage_health
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.events import Event, storage_event, write_events
from bs_agent.management.store.fence import Fence, Source
from bs_agent.management.store.history import write_history
from bs_agent.management.store.operations import Held
from bs_agent.management.store.rows import batched, to_health, to_json
from bs_agent.management.store.tables import backup_storage, host

_LOCKED = text("SET LOCAL lock_timeout = '1s'")
_HEALTH: dict[str, Any] = {"status": bindparam("new"), "statusReason": bindparam("why")}

Rows = dict[str, dict[str, Any]]
"""What is known of storages, by uuid and column."""


@dataclass(frozen=True, slots=True)
class HostChange:
    """The new health of one host: from an operation, or from a poll."""

    mon_uuid: str
    storage_uuid: str
    health: Health
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class CapacityChange:
    """What a host says of its storage's capacity, at `received` of this process's monotonic clock."""

    mon_uuid: str
    storage_uuid: str
    said: Sequence[Measured]
    received: float
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """That the database refused what a host says: shown as its reason, unless it is Disconnected by its row.

    `status` is the host's new one, when that was in what was refused.
    """

    mon_uuid: str
    storage_uuid: str
    reason: Reason
    status: Status | None = None
    held: Held | None = None


News = HostChange | CapacityChange | Refusal


class Turn(NamedTuple):
    """A storage whose status has changed."""

    uuid: str
    name: str
    before: Health
    after: Health


class Applied(NamedTuple):
    """What has become of news: the storages whose status has changed, and what this node may not write now."""

    turns: list[Turn]
    not_ours: list[News]


async def apply(database: Database, fence: Fence, news: Sequence[News]) -> Applied:
    """Write news; what has been deleted meanwhile stays deleted."""
    async with database.writing() as connection:
        await _wait_shortly(database, connection)
        admitted = await fence.admitted(connection, [_source(one) for one in news])
        ours = [one for one in news if _source(one) in admitted]
        # In one order, and before the hosts are read: two nodes that watch two hosts of one storage must neither wait
        # for each other nor miss each other's change.
        rows = await _lock(connection, sorted({one.storage_uuid for one in ours}))
        now = await database.now(connection)
        await _write_hosts(connection, [one for one in ours if isinstance(one, HostChange)], int(now))
        await _write_refusals(connection, [one for one in ours if isinstance(one, Refusal)], int(now))
        was_stale = {uuid: row["capacityStale"] for uuid, row in rows.items()}
        changed = {one.storage_uuid for one in ours if not isinstance(one, CapacityChange)}
        turns = await _follow(connection, {uuid: rows[uuid] for uuid in sorted(changed & rows.keys())}, int(now))
        await write_events(connection, now, map(_event_of, turns))
        # After the health: what is old news of one host is not when no other knows better.
        said = [one for one in ours if isinstance(one, CapacityChange)]
        written = await _write_capacities(connection, rows, said, now)
        await _write_history(connection, now, rows, was_stale, written)
    return Applied(turns, [one for one in news if _source(one) not in admitted])


def _source(news: News) -> Source:
    return news.storage_uuid, news.mon_uuid, news.held


async def check_writable(database: Database) -> None:
    """See that there is nothing in the way of writing.

    Raises:
        DatabaseUnavailable: there is; its details say what.
    """
    try:
        async with database.writing() as connection:
            await _wait_shortly(database, connection)
            for table in (backup_storage, host):
                await connection.execute(update(table).where(false()).values(lastOpDate=table.c.lastOpDate))
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(f"the database cannot be written: {shortly(error)}") from error


def shortly(error: Exception) -> str:
    """Say in one line what a database has against a statement, without the statement."""
    cause = getattr(error, "orig", None) or error
    said = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    return said.removeprefix("<class 'asyncpg.exceptions.").replace("'>", "", 1)[:200]


async def _wait_shortly(database: Database, connection: AsyncConnection) -> None:
    """Do not wait for rows that somebody holds on to: those of others come first then."""
    if not database.is_sqlite:
        await connection.execute(_LOCKED)


async def _write_hosts(connection: AsyncConnection, changes: Sequence[HostChange], now: int) -> None:
    if not changes:
        return
    rows = [_health_row(change.mon_uuid, change.health) | {"fresh": change.health.fresh} for change in changes]
    statement = update(host).where(host.c.monUuid == bindparam("key"))
    await connection.execute(statement.values(**_HEALTH, capacityFresh=bindparam("fresh"), lastOpDate=now), rows)


async def _write_refusals(connection: AsyncConnection, refusals: Sequence[Refusal], now: int) -> None:
    for refusal in refusals:
        values = {"statusReason": to_json(refusal.reason), "capacityFresh": False, "lastOpDate": now}
        statement = update(host).where(host.c.monUuid == refusal.mon_uuid)
        if refusal.status:
            statement = statement.values(status=refusal.status, **values)
        else:
            statement = statement.where(host.c.status != "Disconnected").values(values)
        await connection.execute(statement)


async def _write_capacities(
    connection: AsyncConnection, rows: Rows, changes: Sequence[CapacityChange], now: float
) -> set[str]:
    """Write capacities; return of which storages."""
    clock = time.monotonic()
    said = [
        (max(0.0, now - (clock - change.received) - part.age), change.storage_uuid, part)
        for change in changes
        if change.storage_uuid in rows
        for part in change.said
    ]
    written: Rows = defaultdict(dict)
    for date, uuid, part in sorted(said, key=lambda one: one[0]):
        if counts(part, int(date), rows[uuid], now):
            columns = part.columns | {part.dated: int(date)}
            rows[uuid] |= columns
            written[uuid] |= columns
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for uuid, columns in sorted(written.items()):
        alike[tuple(sorted(columns))].append({"key": uuid} | {f"new_{name}": columns[name] for name in columns})
    statement = update(backup_storage).where(backup_storage.c.uuid == bindparam("key"))
    for names, values in alike.items():
        bound: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
        await connection.execute(statement.values(**bound, lastOpDate=int(now)), values)
    return set(written)


async def _write_history(
    connection: AsyncConnection, now: float, rows: Rows, was_stale: dict[str, bool], written: set[str]
) -> None:
    """Write how the capacities are, of storages that are seen again too, and of which nothing is known any more."""
    lost = {uuid: row for uuid, row in sorted(rows.items()) if row["capacityStale"] and not was_stale[uuid]}
    again = {uuid for uuid, row in rows.items() if was_stale[uuid] and not row["capacityStale"]} - written
    seen = {uuid: rows[uuid] for uuid in sorted(written - lost.keys())}
    found = {uuid: rows[uuid] | {"capacityDate": int(now)} for uuid in sorted(again)}
    await write_history(connection, now, seen | found, lost)


async def _follow(connection: AsyncConnection, storages: Rows, now: int) -> list[Turn]:
    """Let the storages' health follow from that of all their hosts."""
    hosts = await _hosts(connection, list(storages))
    turns: list[Turn] = []
    rows: list[dict[str, Any]] = []
    for uuid, storage in storages.items():
        before = to_health(storage["status"], storage["statusReason"], not storage["capacityStale"])
        after = storage_health(hosts[uuid])
        if after != before:
            rows.append(_health_row(uuid, after) | {"stale": not after.fresh})
            storage["capacityStale"] = not after.fresh
        if after.status != before.status:
            turns.append(Turn(uuid, storage["name"], before, after))
    if rows:
        statement = update(backup_storage).where(backup_storage.c.uuid == bindparam("key"))
        await connection.execute(statement.values(**_HEALTH, capacityStale=bindparam("stale"), lastOpDate=now), rows)
    return turns


async def _lock(connection: AsyncConnection, uuids: Sequence[str]) -> Rows:
    columns = [backup_storage.c[name] for name in ("uuid", "name", "status", "statusReason", "capacityStale", *COLUMNS)]
    query = select(*columns).order_by(backup_storage.c.uuid).with_for_update(key_share=True)
    rows: Rows = {}
    for some in batched(uuids):
        for row in await connection.execute(query.where(backup_storage.c.uuid.in_(some))):
            rows[row.uuid] = dict(row._mapping)  # noqa: SLF001  the documented way from a row to its columns
    return rows


async def _hosts(connection: AsyncConnection, uuids: Sequence[str]) -> dict[str, list[Health]]:
    query = select(host.c.backupStorageUuid, host.c.status, host.c.statusReason, host.c.capacityFresh)
    query = query.order_by(host.c.createDate, host.c.monUuid)
    hosts: dict[str, list[Health]] = defaultdict(list)
    for some in batched(uuids):
        for uuid, *columns in await connection.execute(query.where(host.c.backupStorageUuid.in_(some))):
            hosts[uuid].append(to_health(*columns))
    return hosts


def _event_of(turn: Turn) -> Event:
    why = turn.after.reason
    return Event(
        "StatusChanged",
        storage_event(turn.uuid, turn.name),
        old=turn.before.status,
        new=turn.after.status,
        code=why.code.value if why else None,
        details=why.details if why else None,
    )


def _health_row(uuid: str, health: Health) -> dict[str, Any]:
    return {"key": uuid, "new": health.status, "why": to_json(health.reason)}
