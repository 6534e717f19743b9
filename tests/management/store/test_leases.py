"""A node's lease: renewed while it runs, given back when it stops, lost in time when it cannot be renewed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import StorageProblem
from bs_agent.management.store import tables
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.leases import Node, living
from bs_agent.management.store.operations import Held
from bs_agent.management.store.watched import claim
from tests.beds.fleet import until
from tests.beds.stores import LONG, agent, nodes, set_clock, shift_clock, storage, stores

pytestmark = pytest.mark.asyncio

DAY = 86400
QUICK = 0.4
"""Seconds of a lease that is renewed often while a test looks on."""


async def alive(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set((await connection.execute(living(await database.now(connection)))).scalars())


async def lives(node: Node, database: Database) -> bool:
    return node.uuid in await alive(database)


async def is_over(node: Node, database: Database) -> bool:
    return not await lives(node, database)


async def test_a_node_lives_from_its_start_to_its_end(database: Database) -> None:
    async with Node.open(database) as node:
        assert await alive(database) == {node.uuid}
    assert await alive(database) == set()


async def test_a_lease_is_renewed(database: Database) -> None:
    async with Node.open(database, QUICK) as node:
        first = await date_of(database, node)
        await until(lambda: later(database, node, first))
        assert await lives(node, database)


async def date_of(database: Database, node: Node) -> float:
    query = select(tables.node.c.leaseDate).where(tables.node.c.uuid == node.uuid)
    async with database.reading() as connection:
        return float((await connection.execute(query)).scalar_one())


async def later(database: Database, node: Node, than: float) -> bool:
    return await date_of(database, node) > than


async def test_a_lease_that_others_have_cleared_away_is_taken_anew(database: Database) -> None:
    async with Node.open(database, QUICK) as node:
        async with database.writing() as connection:
            await connection.execute(tables.node.delete())
        await until(lambda: lives(node, database))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_node_alone_loses_nothing_by_not_renewing_in_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stores(database, QUICK) as one:
        losses: list[bool] = []
        one.node.on_loss(lambda: losses.append(True))
        held = await one.operations.take("storage:held", "change")
        assert isinstance(held, Held)
        with monkeypatch.context() as busy:
            busy.setattr(database, "writing", hangs)
            await until(lambda: is_over(one.node, database))
            await asyncio.sleep(QUICK)
        async with database.writing() as connection:
            await one.operations.confirm(connection, held)
        assert losses == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_lease_that_cannot_be_renewed_is_lost_once_each_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node.open(database, QUICK) as node:
        losses: list[bool] = []
        node.on_loss(lambda: losses.append(True))
        for _ in range(2):
            tries: list[bool] = []
            before = len(losses)
            with monkeypatch.context() as away:
                away.setattr(database, "writing", lambda tries=tries: unavailable(tries))
                await until(lambda before=before: has(losses, before + 1))  # type: ignore[misc]
                await until(lambda: is_over(node, database))
                wanted = len(tries) + 3
                await until(lambda tries=tries, wanted=wanted: has(tries, wanted))  # type: ignore[misc]
                assert len(losses) == before + 1
            await until(lambda: lives(node, database))


@asynccontextmanager
async def unavailable(tries: list[bool]) -> AsyncIterator[AsyncConnection]:
    tries.append(True)
    raise DatabaseUnavailable("away")
    yield


async def has(what: list[bool], count: int) -> bool:
    return len(what) >= count


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_lease_is_lost_in_time_though_the_database_gives_no_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Node.open(database, QUICK) as node:
        lost = asyncio.Event()
        node.on_loss(lost.set)
        monkeypatch.setattr(database, "writing", hangs)
        await until(lambda: is_over(node, database))
        assert lost.is_set(), "others may take what it held from now on"
        monkeypatch.undo()


@asynccontextmanager
async def hangs() -> AsyncIterator[AsyncConnection]:
    await asyncio.Event().wait()
    raise AssertionError("it never comes")
    yield


@pytest.mark.parametrize("trouble", [DatabaseUnavailable("away"), TimeoutError()])
async def test_a_node_stops_without_its_database(
    database: Database, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    @asynccontextmanager
    async def away() -> AsyncIterator[AsyncConnection]:
        raise trouble
        yield

    async with Node.open(database) as node:
        monkeypatch.setattr(database, "writing", away)
    monkeypatch.undo()
    assert await alive(database) == {node.uuid}, "it could not be given back"


async def test_the_clock_decides_when_a_silent_node_is_gone(database: Database) -> None:
    async with stores(database) as silent:
        set_clock(database, 1e9)
        await silent.lives(15)
        for date, expected in ((1e9, True), (1e9 + 14.9, True), (1e9 + 15, False), (1e9 + DAY, False)):
            set_clock(database, date)
            assert (silent.node.uuid in await alive(database)) == expected


async def test_a_clock_that_is_set_back_does_not_keep_a_silent_node_alive(database: Database) -> None:
    async with nodes(database) as (one, other):
        await one.put(storage(), [agent()])
        held = await one.operations.take("storage:held", "change")
        shift_clock(database, -DAY)
        await other.lives()  # a node that lives renews its lease by the new clock
        assert await alive(database) == {other.node.uuid}
        assert len((await claim(database, other.node.uuid)).uuids) == 1
        assert await other.operations.take("storage:held", "change") != held
        assert await lives(other.node, database)


async def test_a_node_alone_goes_on_with_what_it_does_when_the_clock_is_set_forward(database: Database) -> None:
    async with stores(database) as alone:
        held = await alone.operations.take("storage:held", "change")
        assert isinstance(held, Held)
        shift_clock(database, 365 * DAY)
        async with database.writing() as connection:
            await alone.operations.confirm(connection, held)


async def test_a_node_that_is_not_alone_does_not_go_on_past_its_lease(database: Database) -> None:
    async with nodes(database) as (one, other):
        held = await one.operations.take("storage:held", "change")
        assert isinstance(held, Held)
        await one.lives(0)
        with pytest.raises(StorageProblem, match="has lost its lease"):
            async with database.writing() as connection:
                await one.operations.confirm(connection, held)
        assert await lives(other.node, database)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_node_that_starts_on_sqlite_takes_everything(database: Database) -> None:
    known = agent()
    async with stores(database, LONG) as before:
        await before.put(storage(), [known])
        held = await before.operations.take("storage:held", "change")
        async with stores(database, LONG) as after:  # the one before was killed
            assert await alive(database) == {after.node.uuid}
            claimed = await claim(database, after.node.uuid)
            assert claimed.uuids == {known.uuid}
            assert await after.operations.take("storage:held", "change") != held


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_node_that_starts_on_postgresql_takes_nothing_from_a_living_one(database: Database) -> None:
    known = agent()
    async with stores(database, LONG) as before:
        await before.put(storage(), [known])
        held = await before.operations.take("storage:held", "change")
        async with stores(database, LONG) as after:
            assert (await claim(database, after.node.uuid)).uuids == set()
            running = await after.operations.take("storage:held", "change")
            assert running.uuid == held.uuid
            await before.lives(0)
            assert (await claim(database, after.node.uuid)).uuids == {known.uuid}
            assert (await after.operations.take("storage:held", "change")).uuid != held.uuid


async def test_nodes_that_are_long_gone_are_forgotten(database: Database) -> None:
    async with stores(database, LONG) as one:
        await one.put(storage(), [agent()])
        async with database.writing() as connection:
            now = await database.now(connection)
            dates = {"old": now - 31 * DAY, "polled": now - 31 * DAY, "young": now - 29 * DAY}
            rows = [{"uuid": uuid, "leaseDate": date} for uuid, date in dates.items()]
            await connection.execute(insert(tables.node), rows)
            await connection.execute(update(tables.agent).values(leaseOwner="polled"))
        async with Node.open(database) as node, database.reading() as connection:
            left = set((await connection.execute(select(tables.node.c.uuid))).scalars())
        assert left == {"polled", "young", one.node.uuid, node.uuid}
