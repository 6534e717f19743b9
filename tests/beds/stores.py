"""The stores of management nodes on a database, and rows of storages, hosts and agents that nobody runs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.store.agents import AgentStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import DebtStore
from bs_agent.management.store.fence import Fence
from bs_agent.management.store.hosts import HostStore
from bs_agent.management.store.leases import SECONDS, Node
from bs_agent.management.store.operations import Held, OperationStore, agent_key, storage_key
from bs_agent.management.store.storages import OperatedStore
from bs_agent.management.store.tables import agent as agent_table
from bs_agent.management.store.tables import debt
from bs_agent.management.store.tables import node as node_table

LONG = 600.0
"""Seconds of a lease that no test outlives; it is renewed too seldom to disturb what a test says of it."""
CAPACITY = {"totalCapacity": 10, "availableCapacity": 5, "capacityDate": 1}


def agent(hostname: str = "", fingerprint: str = "") -> AgentRecord:
    """Return a new agent, a machine of its own."""
    machine = fingerprint or uuid4().hex * 2
    return AgentRecord(uuid4().hex, hostname or f"host-{machine[:8]}", 7765, machine, uuid4().hex, "secret")


def storage(kind: str = IMAGESTORE, url: str = "/images", service: int | None = None) -> StorageRecord:
    """Return a new ImageStore, or a new pool."""
    new = StorageRecord(uuid4().hex, "a name", "", kind, url, "Enabled", "Connected", None, servicePort=service)
    return replace(new, fsid="f", poolName="pool", url="not used") if kind == CEPH else new


def named(uuid: str) -> StorageRecord:
    """Return an ImageStore that has this uuid."""
    return replace(storage(), uuid=uuid)


def host(of: StorageRecord, on: AgentRecord) -> HostRecord:
    """Return the host that an agent is of a storage."""
    port = 6789 if of.type == CEPH else None
    return HostRecord(
        uuid4().hex, of.uuid, on.uuid, on.hostname, None, port, 22, None, None, None, "Connected", None
    )  # fmt: skip


@dataclass
class Stores:
    """What one node reads and writes."""

    database: Database
    node: Node
    operations: OperationStore
    storages: OperatedStore
    hosts: HostStore
    agents: AgentStore
    debts: DebtStore
    fence: Fence

    @asynccontextmanager
    async def turn(self, key: str, kind: str = "change") -> AsyncIterator[Held]:
        """Have the turn of a key."""
        held = await self.operations.take(key, kind)
        assert isinstance(held, Held), held
        yield held
        await self.operations.end(held, None)

    async def meet(self, *agents: AgentRecord) -> None:
        """Write agents."""
        for one in agents:
            async with self.turn(agent_key(one.uuid)) as held:
                assert await self.agents.put(held, one)

    async def put(
        self, of: StorageRecord, on: Sequence[AgentRecord], capacity: Mapping[str, Any] = CAPACITY, **of_host: Any
    ) -> list[HostRecord]:
        """Add a storage with a host on each of these agents, which this node polls then."""
        known = await self.agents.find(one.uuid for one in on)
        await self.meet(*(one for one in on if one.uuid not in known))
        hosts = [replace(host(of, one), **of_host) for one in on]
        async with self.turn(storage_key(of.uuid), "add") as held:
            tags = {"System": ["a"], "User": ["b"]}
            await self.storages.add(held, of, hosts, on, capacity=capacity, tags=tags)
        async with self.database.writing() as connection:
            mine = update(agent_table).where(agent_table.c.uuid.in_([one.uuid for one in on]))
            await connection.execute(mine.values(leaseOwner=self.node.uuid))
        return hosts

    async def lives(self, seconds: float = LONG) -> None:
        """Let the node live for so many seconds from now on in everybody's eyes; with 0 it has fallen silent."""
        async with self.database.writing() as connection:
            until = await self.database.now(connection) + seconds
            mine = update(node_table).where(node_table.c.uuid == self.node.uuid)
            await connection.execute(mine.values(leaseDate=until))

    async def owed(self) -> list[str]:
        """Return the uuids of the agents that are owed something, due or not."""
        async with self.database.reading() as connection:
            return list((await connection.execute(select(debt.c.agentUuid))).scalars())


@asynccontextmanager
async def stores(database: Database, seconds: float = SECONDS) -> AsyncIterator[Stores]:
    """Be a node while the context is open."""
    async with Node.open(database, seconds) as node:
        operations = OperationStore(database, node.uuid)
        yield Stores(
            database, node, operations, OperatedStore(database, operations), HostStore(database, operations),
            AgentStore(database, operations), DebtStore(database, operations), Fence(operations, node.uuid),
        )  # fmt: skip


@asynccontextmanager
async def nodes(database: Database, count: int = 2) -> AsyncIterator[list[Stores]]:
    """Be several nodes that all live while the context is open; on SQLite, too, which has one in earnest."""
    async with AsyncExitStack() as stack:
        several = [await stack.enter_async_context(stores(database, LONG)) for _ in range(count)]
        for one in several:
            await one.lives()
        yield several


async def slept(one: Stores, other: Stores, key: str) -> Held:
    """Return an operation of one node that the other has taken over while the one slept through its lease."""
    held = await one.operations.take(key, "change")
    assert isinstance(held, Held), held
    await one.lives(0)
    assert isinstance(await other.operations.take(key, "change"), Held)
    await one.lives()
    return held


def set_clock(database: Database, date: float) -> None:
    """Let the database's clock stand at a date, in Unix seconds."""

    async def now(_: AsyncConnection) -> float:
        return date

    database.now = now  # type: ignore[assignment, method-assign]


def shift_clock(database: Database, seconds: float) -> None:
    """Let the database's clock be ahead by so many seconds, or behind."""
    read = type(database).now

    async def now(connection: AsyncConnection) -> float:
        return await read(database, connection) + seconds

    database.now = now  # type: ignore[method-assign]
