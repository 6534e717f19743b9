"""Who polls which agent, and what there is to know about it.

Every node takes the agents that nobody holds (of a node that died, or stopped), and some of the richest node's when it
has too few itself. Whoever hears of news from an agent that another node holds makes that one look.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.management.model.health import Health
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.store.agents import Place
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import is_due
from bs_agent.management.store.leases import is_free, living
from bs_agent.management.store.repeated import repeated
from bs_agent.management.store.rows import batched, columns_of, to_health, to_record
from bs_agent.management.store.tables import agent, agent_address, debt, host, node

LOOK = "look:"
"""With an agent's uuid, the topic that wakes its holder."""


@dataclass(frozen=True, slots=True)
class WatchedHost:
    """One host of one storage, behind an agent."""

    mon_uuid: str
    storage_uuid: str
    health: Health


@dataclass(frozen=True, slots=True)
class WatchedAgent:
    """An agent with the hosts behind it, where else it is reached, and whether it is owed something by now."""

    record: AgentRecord
    hosts: tuple[WatchedHost, ...]
    places: tuple[Place, ...]
    owed: bool


@dataclass(slots=True)
class Claimed:
    """The agents that a node polls; and for how many seconds nobody had polled those that it has just taken."""

    uuids: set[str] = field(default_factory=set)
    unwatched: dict[str, float] = field(default_factory=dict)


@repeated
async def claim(database: Database, owner: str) -> Claimed:
    """Return the agents that `owner` polls while its lease lasts; what is as it was costs no write."""
    async with database.reading() as connection:
        now = await database.now(connection)
        free = select(agent.c.uuid).where(is_free(agent.c.leaseOwner, now, owner)).limit(1)
        surplus = await _share_of_the_richest(connection, owner, now)
        if (await connection.execute(free)).first() is None and not surplus:
            return Claimed(await _held(connection, owner))
    claimed = Claimed()
    left = select(agent.c.uuid, node.c.leaseDate).outerjoin(node, node.c.uuid == agent.c.leaseOwner)
    async with database.writing() as connection:
        now = await database.now(connection)
        # What another node is just taking is skipped, not waited for.
        free = left.where(is_free(agent.c.leaseOwner, now, owner)).with_for_update(of=agent, skip_locked=True)
        for uuid, until in (await connection.execute(free)).all():
            # A date that is ahead was written before the clock was set back: how long it is, nobody knows.
            claimed.unwatched[uuid] = abs(now - until) if until is not None else 0.0
        taken = [*claimed.unwatched]
        if surplus:
            rich = surplus.select().with_for_update(skip_locked=True)
            taken += [uuid for (uuid,) in await connection.execute(rich)]
        for some in batched(taken):
            await connection.execute(update(agent).where(agent.c.uuid.in_(some)).values(leaseOwner=owner))
        claimed.uuids = await _held(connection, owner)
    return claimed


@repeated
async def ask_to_look(database: Database, agent_uuid: str) -> None:
    """Make the node that holds an agent look at it at once."""
    async with database.writing() as connection:
        now = await database.now(connection)
        values = {"lookDate": now, "lastPushDate": int(now)}
        await connection.execute(update(agent).where(agent.c.uuid == agent_uuid).values(**values))
        await database.wake(connection, LOOK + agent_uuid)


@repeated
async def asked_to_look(database: Database, owner: str) -> list[str]:
    """Return the agents of `owner` that it was asked to look at since the last time."""
    asked = (agent.c.leaseOwner == owner, agent.c.lookDate.is_not(None))
    async with database.reading() as connection:
        if (await connection.execute(select(agent.c.uuid).where(*asked).limit(1))).first() is None:
            return []
    # Of whom somebody writes just now, it is asked again: to wait for one while others are locked is to get in the way.
    free = select(agent.c.uuid).where(*asked).with_for_update(skip_locked=True)
    taken = update(agent).where(agent.c.uuid.in_(free)).values(lookDate=None).returning(agent.c.uuid)
    async with database.writing() as connection:
        return list((await connection.execute(taken)).scalars())


async def watched(database: Database, uuids: Iterable[str]) -> AsyncIterator[WatchedAgent]:
    """Read agents with their hosts, some at a time: other work goes on in between."""
    for some in batched(sorted(uuids)):
        behind: dict[str, list[WatchedHost]] = defaultdict(list)
        places: dict[str, list[Place]] = defaultdict(list)
        health = (host.c.status, host.c.statusReason, host.c.capacityFresh)
        async with database.reading() as connection:
            records = (await connection.execute(select(*columns_of(AgentRecord)).where(agent.c.uuid.in_(some)))).all()
            query = select(host.c.agentUuid, host.c.monUuid, host.c.backupStorageUuid, *health)
            query = query.where(host.c.agentUuid.in_(some)).order_by(host.c.monUuid)
            for agent_uuid, mon_uuid, storage_uuid, *columns in await connection.execute(query):
                behind[agent_uuid].append(WatchedHost(mon_uuid, storage_uuid, to_health(*columns)))
            address = agent_address.c
            where = select(address.agentUuid, address.hostname, address.port).where(address.agentUuid.in_(some))
            for agent_uuid, *place in await connection.execute(where.order_by(address.hostname, address.port)):
                places[agent_uuid].append((place[0], place[1]))
            due = is_due(await database.now(connection))
            owing = select(debt.c.agentUuid).where(debt.c.agentUuid.in_(some), due).distinct()
            owed = set((await connection.execute(owing)).scalars())
        for row in records:
            record = to_record(AgentRecord, row)
            others = tuple(place for place in places[record.uuid] if place != (record.hostname, record.port))
            yield WatchedAgent(record, tuple(behind[record.uuid]), others, record.uuid in owed)


async def _held(connection: AsyncConnection, owner: str) -> set[str]:
    return set((await connection.execute(select(agent.c.uuid).where(agent.c.leaseOwner == owner))).scalars())


class _Surplus(NamedTuple):
    holder: str
    agents: int

    def select(self) -> Select[str]:
        of_holder = select(agent.c.uuid).where(agent.c.leaseOwner == self.holder)
        return of_holder.order_by(agent.c.uuid).limit(self.agents)


async def _share_of_the_richest(connection: AsyncConnection, owner: str, now: float) -> _Surplus | None:
    """Return what the richest node has beyond its fair share, as far as this one lacks it, or half of the rest."""
    count = func.count().label("count")
    held = select(agent.c.leaseOwner, count).where(agent.c.leaseOwner.in_(living(now))).group_by(agent.c.leaseOwner)
    counts = dict.fromkeys((await connection.execute(living(now))).scalars(), 0) | {owner: 0}
    counts |= {holder: number for holder, number in await connection.execute(held) if holder}
    richest = max(counts, key=counts.__getitem__)
    share = sum(counts.values()) // len(counts)
    surplus = min(counts[richest] - share, share - counts[owner]) or (counts[richest] - counts[owner]) // 2
    return _Surplus(richest, surplus) if surplus > 0 else None
