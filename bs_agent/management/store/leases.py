"""Who polls which agent, and what there is to know about it.

On SQLite one process has all agents. On PostgreSQL every node holds leases: it renews its own, takes those that have
run out (of a node that died), and takes some of the richest node's when it has too few. The times of leases are
the database's own.
"""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Float, Select, cast, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.management.model.health import Health
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.store.changes import batched
from bs_agent.management.store.database import Database
from bs_agent.management.store.rows import columns_of, to_health, to_record
from bs_agent.management.store.tables import agent, host, tombstone


@dataclass(frozen=True, slots=True)
class WatchedHost:
    """One host of one storage, behind an agent."""

    mon_uuid: str
    storage_uuid: str
    health: Health


@dataclass(frozen=True, slots=True)
class WatchedAgent:
    """An agent with the hosts behind it, and whether cleanups are owed to it."""

    record: AgentRecord
    hosts: tuple[WatchedHost, ...]
    owed: bool


async def claim(database: Database, owner: str, seconds: float) -> list[str]:
    """Return the uuids of the agents that `owner` polls for the next `seconds`."""
    if database.is_sqlite:
        async with database.reading() as connection:
            return list((await connection.execute(select(agent.c.uuid))).scalars())
    now: ColumnElement[float] = cast(func.extract("epoch", func.clock_timestamp()), Float)
    mine = agent.c.leaseOwner == owner
    async with database.writing() as connection:
        await _take(connection, select(agent.c.uuid).where(mine | (agent.c.leaseDate < now)), owner, now + seconds)
        await _take(connection, await _share_of_the_richest(connection, owner, now), owner, now + seconds)
        return list((await connection.execute(select(agent.c.uuid).where(mine, agent.c.leaseDate >= now))).scalars())


async def watched(database: Database, uuids: Iterable[str]) -> AsyncIterator[WatchedAgent]:
    """Read agents with their hosts, some at a time: other work goes on in between."""
    for some in batched(sorted(uuids)):
        behind: dict[str, list[WatchedHost]] = defaultdict(list)
        health = (host.c.status, host.c.statusReason, host.c.capacityFresh)
        async with database.reading() as connection:
            records = (await connection.execute(select(*columns_of(AgentRecord)).where(agent.c.uuid.in_(some)))).all()
            query = select(host.c.agentUuid, host.c.monUuid, host.c.backupStorageUuid, *health)
            query = query.where(host.c.agentUuid.in_(some)).order_by(host.c.monUuid)
            for agent_uuid, mon_uuid, storage_uuid, *columns in await connection.execute(query):
                behind[agent_uuid].append(WatchedHost(mon_uuid, storage_uuid, to_health(*columns)))
            due = tombstone.c.dueDate <= int(time.time())
            owing = select(tombstone.c.agentUuid).where(tombstone.c.agentUuid.in_(some), due).distinct()
            owed = set((await connection.execute(owing)).scalars())
        for row in records:
            record = to_record(AgentRecord, row)
            yield WatchedAgent(record, tuple(behind[record.uuid]), record.uuid in owed)


async def _take(
    connection: AsyncConnection, which: Select[tuple[str]], owner: str, until: ColumnElement[float]
) -> None:
    # What another node is just taking is skipped, not waited for.
    taken = which.with_for_update(skip_locked=True).cte("taken")
    values = {"leaseOwner": owner, "leaseDate": until}
    await connection.execute(update(agent).where(agent.c.uuid.in_(select(taken.c.uuid))).values(values))


async def _share_of_the_richest(
    connection: AsyncConnection, owner: str, now: ColumnElement[float]
) -> Select[tuple[str]]:
    """Select half of what the richest node has more than this one."""
    count = func.count().label("count")
    held = select(agent.c.leaseOwner, count).where(agent.c.leaseDate >= now).group_by(agent.c.leaseOwner)
    counts = {holder: number for holder, number in await connection.execute(held) if holder}
    richest = max(counts, key=counts.__getitem__, default=owner)
    surplus = (counts.get(richest, 0) - counts.get(owner, 0)) // 2
    return select(agent.c.uuid).where(agent.c.leaseOwner == richest).order_by(agent.c.uuid).limit(surplus)
