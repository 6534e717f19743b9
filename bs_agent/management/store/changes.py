"""Writes what reports have changed: the health of hosts, capacities, and the health of storages that follows.

The newest measurement of a capacity stays, whichever node writes last.

Many changes are one transaction, so that ten thousand agents do not mean ten thousand waits for the disk.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.management.model.health import Health, storage_health
from bs_agent.management.store.database import Database
from bs_agent.management.store.fence import Fence
from bs_agent.management.store.operations import Held
from bs_agent.management.store.rows import to_health, to_json
from bs_agent.management.store.tables import backup_storage, host

_BATCH = 500
_HEALTH: dict[str, Any] = {"status": bindparam("new"), "statusReason": bindparam("why")}

Columns = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HostChange:
    """The new health of one host: from an operation, or from a poll."""

    mon_uuid: str
    storage_uuid: str
    health: Health
    held: Held | None = None


class Turn(NamedTuple):
    """A storage whose status has changed."""

    uuid: str
    name: str
    before: Health
    after: Health


async def apply(
    database: Database, fence: Fence, hosts: Sequence[HostChange], capacities: Mapping[str, Columns]
) -> list[Turn]:
    """Write changes, capacities by storage; what has been deleted meanwhile stays deleted."""
    now = int(time.time())
    changed = {change.storage_uuid for change in hosts}
    async with database.writing() as connection:
        # In one order, and before the hosts are read: two nodes that watch two hosts of one storage must neither wait
        # for each other nor miss each other's change.
        storages = await _lock(connection, sorted(changed | capacities.keys())) if hosts else []
        admitted = await fence.admitted(
            connection, [(change.storage_uuid, change.mon_uuid, change.held) for change in hosts]
        )
        hosts = [change for change in hosts if (change.storage_uuid, change.mon_uuid) in admitted]
        await _write_capacities(connection, capacities, now)
        if not hosts:
            return []
        await connection.execute(
            update(host)
            .where(host.c.monUuid == bindparam("key"))
            .values(**_HEALTH, capacityFresh=bindparam("fresh"), lastOpDate=now),
            [_health_row(change.mon_uuid, change.health) | {"fresh": change.health.fresh} for change in hosts],
        )
        return await _follow(connection, [storage for storage in storages if storage.uuid in changed], now)


async def _write_capacities(connection: AsyncConnection, capacities: Mapping[str, Columns], now: int) -> None:
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for uuid, columns in sorted(capacities.items()):
        alike[tuple(sorted(columns))].append({"key": uuid} | {f"new_{name}": columns[name] for name in columns})
    for names, rows in alike.items():
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
        statement = update(backup_storage).where(backup_storage.c.uuid == bindparam("key"))
        if "capacityDate" in names:
            date = backup_storage.c.capacityDate
            statement = statement.where(or_(date.is_(None), date <= bindparam("new_capacityDate")))
        await connection.execute(statement.values(**values, lastOpDate=now), rows)


async def _follow(connection: AsyncConnection, storages: Sequence[Row[Any]], now: int) -> list[Turn]:
    """Let the storages' health follow from that of all their hosts."""
    hosts = await _hosts(connection, [storage.uuid for storage in storages])
    turns: list[Turn] = []
    rows: list[dict[str, Any]] = []
    for storage in storages:
        before = to_health(storage.status, storage.statusReason, not storage.capacityStale)
        after = storage_health(hosts[storage.uuid])
        if after != before:
            rows.append(_health_row(storage.uuid, after) | {"stale": not after.fresh})
        if after.status != before.status:
            turns.append(Turn(storage.uuid, storage.name, before, after))
    if rows:
        statement = update(backup_storage).where(backup_storage.c.uuid == bindparam("key"))
        await connection.execute(statement.values(**_HEALTH, capacityStale=bindparam("stale"), lastOpDate=now), rows)
    return turns


async def _lock(connection: AsyncConnection, uuids: Sequence[str]) -> list[Row[Any]]:
    columns = [backup_storage.c[name] for name in ("uuid", "name", "status", "statusReason", "capacityStale")]
    query = select(*columns).order_by(backup_storage.c.uuid).with_for_update()
    found: list[Row[Any]] = []
    for some in batched(uuids):
        found += (await connection.execute(query.where(backup_storage.c.uuid.in_(some)))).all()
    return found


async def _hosts(connection: AsyncConnection, uuids: Sequence[str]) -> dict[str, list[Health]]:
    query = select(host.c.backupStorageUuid, host.c.status, host.c.statusReason, host.c.capacityFresh)
    query = query.order_by(host.c.createDate, host.c.monUuid)
    hosts: dict[str, list[Health]] = defaultdict(list)
    for some in batched(uuids):
        for uuid, *columns in await connection.execute(query.where(host.c.backupStorageUuid.in_(some))):
            hosts[uuid].append(to_health(*columns))
    return hosts


def batched(uuids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list into pieces that fit into one statement."""
    return (uuids[start : start + _BATCH] for start in range(0, len(uuids), _BATCH))


def _health_row(uuid: str, health: Health) -> dict[str, Any]:
    return {"key": uuid, "new": health.status, "why": to_json(health.reason)}
