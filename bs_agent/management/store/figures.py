"""The SQL of the metrics: the storages some at a time, and counts of all else. It reads what is there, and no more.

All dates become ages here, by the database's clock.
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import is_free, living
from bs_agent.management.store.tables import (
    agent,
    backup_storage,
    backup_storage_zone,
    debt,
    hook,
    host,
    job,
    node,
    operation,
    session,
    zone,
)

_BATCH = 1000
_COLUMNS = (
    "uuid", "name", "type", "state", "status", "statusReason", "totalCapacity", "availableCapacity", "capacityDate",
    "capacityStale", "poolStored", "poolUsedCapacity", "poolAvailableCapacity", "poolMaxAvail",
)  # fmt: skip


class StorageFigures(NamedTuple):
    """A storage; `age` is that of its capacity in seconds, `hosts` and `hosts_connected` count the hosts behind it."""

    uuid: str
    name: str
    type: str
    state: str
    status: str
    reason: str
    total: int
    available: int
    age: float | None
    stale: bool
    pool_stored: int | None
    pool_used: int | None
    pool_available: int | None
    pool_max_avail: int | None
    zones: tuple[str, ...]
    hosts: int
    hosts_connected: int


@dataclass(frozen=True, slots=True)
class Debts:
    """The debts of one kind: how many, how many were tried in vain, the age of the oldest in seconds."""

    count: int = 0
    failed: int = 0
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is, apart from the storages; `now` is the database's clock in Unix seconds, `lease` is what is left.

    `storages` counts by type, state and status, `agents` are all of them, `unheld` those that no living node polls.
    """

    now: float
    lease: float
    nodes: int
    storages: dict[tuple[str, ...], int] = field(default_factory=dict)
    agents: int = 0
    unheld: int = 0
    cleanups: Debts = Debts()
    forgettings: Debts = Debts()
    operations: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)
    hooks: int = 0
    hooks_failed: int = 0
    hook_late: float = 0.0
    sessions: int = 0


class AgentPlace(NamedTuple):
    """Where an agent is reached."""

    uuid: str
    hostname: str
    port: int


async def places(database: Database) -> list[AgentPlace]:
    """Return where each agent is reached, in the order of their uuids."""
    query = select(agent.c.uuid, agent.c.hostname, agent.c.port).order_by(agent.c.uuid)
    async with database.reading() as connection:
        return [AgentPlace(*row) for row in await connection.execute(query)]


async def storage_figures(database: Database, most: int) -> AsyncIterator[list[StorageFigures]]:
    """Read at most so many storages, some at a time, in the order of their uuids: other work goes on in between."""
    async with database.reading() as connection:
        names: dict[str, str] = dict(map(tuple, await connection.execute(select(zone.c.uuid, zone.c.name))))
    columns = [backup_storage.c[name] for name in _COLUMNS]
    last, left = "", most
    while left > 0:
        query = select(*columns).where(backup_storage.c.uuid > last).order_by(backup_storage.c.uuid)
        async with database.reading() as connection:
            now = await database.now(connection)
            rows = (await connection.execute(query.limit(min(_BATCH, left)))).all()
            if not rows:
                return
            zones = await _zones(connection, last, rows[-1].uuid)
            hosts = await _hosts(connection, last, rows[-1].uuid)
        yield [_figures(row, now, zones, hosts, names) for row in rows]
        last, left = rows[-1].uuid, left - len(rows)


async def counts(database: Database, owner: str) -> Counts:
    """Count everything, as the node `owner` sees it; all of it at one moment."""
    async with database.reading() as connection:
        now = await database.now(connection)
        alive = living(now).subquery()
        until = (await connection.execute(select(node.c.leaseDate).where(node.c.uuid == owner))).scalar()
        agents, unheld = (
            await connection.execute(
                select(func.count(), func.count(case((is_free(agent.c.leaseOwner, now), 1)))).select_from(agent)
            )
        ).one()
        late = func.min(hook.c.dueDate)
        hooks, failed, due = (
            await connection.execute(select(func.count(), func.count(case((hook.c.tries > 0, 1))), late))
        ).one()
        kinds = (backup_storage.c.type, backup_storage.c.state, backup_storage.c.status)
        storages = await connection.execute(select(*kinds, func.count()).group_by(*kinds))
        held = operation.c.leaseOwner.in_(living(now))
        operations = await connection.execute(
            select(operation.c.kind, func.count()).where(held).group_by(operation.c.kind)
        )
        jobs = await connection.execute(select(job.c.state, func.count()).group_by(job.c.state))
        sessions = select(func.count()).select_from(session).where(session.c.expiredDate > now)
        return Counts(
            now=now,
            lease=max(0.0, until - now) if until is not None else 0.0,
            nodes=(await connection.execute(select(func.count()).select_from(alive))).scalar_one(),
            storages={(kind, state, status): count for kind, state, status, count in storages},
            agents=agents,
            unheld=unheld,
            cleanups=await _debts(connection, now, forgettings=False),
            forgettings=await _debts(connection, now, forgettings=True),
            operations=dict(map(tuple, operations)),
            jobs=dict(map(tuple, jobs)),
            hooks=hooks,
            hooks_failed=failed,
            hook_late=max(0.0, now - due) if due is not None else 0.0,
            sessions=(await connection.execute(sessions)).scalar_one(),
        )


async def _debts(connection: AsyncConnection, now: float, *, forgettings: bool) -> Debts:
    is_forgetting = debt.c.enrollmentId.is_not(None)
    mine = is_forgetting if forgettings else ~is_forgetting
    query = select(func.count(), func.count(debt.c.lastReason), func.min(debt.c.createDate)).where(mine)
    count, failed, oldest = (await connection.execute(query)).one()
    return Debts(count, failed, max(0.0, now - oldest) if oldest is not None else 0.0)


async def _zones(connection: AsyncConnection, after: str, until: str) -> dict[str, list[str]]:
    """Return the zones of the storages of a range of uuids."""
    of = backup_storage_zone.c.backupStorageUuid
    found: dict[str, list[str]] = defaultdict(list)
    query = select(of, backup_storage_zone.c.zoneUuid).where(of > after, of <= until)
    for uuid, zone_uuid in await connection.execute(query):
        found[uuid].append(zone_uuid)
    return found


async def _hosts(connection: AsyncConnection, after: str, until: str) -> dict[str, tuple[int, int]]:
    """Return how many hosts the storages of a range of uuids have, and how many of them are Connected."""
    of = host.c.backupStorageUuid
    connected = func.count(case((host.c.status == "Connected", 1)))
    query = select(of, func.count(), connected).where(of > after, of <= until).group_by(of)
    return {uuid: (count, well) for uuid, count, well in await connection.execute(query)}


def _figures(
    row: Any,  # noqa: ANN401 RUF100  a row of `_COLUMNS`
    now: float,
    zones: dict[str, list[str]],
    hosts: dict[str, tuple[int, int]],
    names: dict[str, str],
) -> StorageFigures:
    uuid, name, kind, state, status, reason, total, available, dated, stale, stored, used, free, max_avail = row
    code = reason.get("code", "") if isinstance(reason, dict) else ""
    age = max(0.0, now - dated) if dated is not None else None
    mine = tuple(sorted(names[one] for one in zones.get(uuid, ()) if one in names))
    return StorageFigures(
        uuid, name, kind, state, status, code if code in _CODES else "", total, available, age, stale,
        stored, used, free, max_avail, mine, *hosts.get(uuid, (0, 0)),
    )  # fmt: skip


_CODES = frozenset(code.value for code in ReasonCode)
