"""Who polls which agent: every agent has one node, whichever nodes start, stop and die; and what there is to know."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from bs_agent.management.model.records import Debt
from bs_agent.management.store import tables
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import storage_key
from bs_agent.management.store.watched import LOOK, ask_to_look, asked_to_look, claim, watched
from tests.beds.stores import LONG, Stores, agent, host, nodes, set_clock, shift_clock, storage, stores

pytestmark = pytest.mark.asyncio

DATE = 1e9


async def claimed(by: Stores) -> set[str]:
    return (await claim(by.database, by.node.uuid)).uuids


async def holders(database: Database) -> list[str | None]:
    async with database.reading() as connection:
        return list((await connection.execute(select(tables.agent.c.leaseOwner))).scalars())


async def test_a_node_alone_has_all_agents(database: Database) -> None:
    agents = [agent() for _ in range(3)]
    async with stores(database, LONG) as only:
        assert await claimed(only) == set()
        await only.meet(*agents)
        assert await claimed(only) == {one.uuid for one in agents}
        assert await claimed(only) == {one.uuid for one in agents}


async def test_two_nodes_come_to_a_balance(database: Database) -> None:
    agents = [agent() for _ in range(11)]
    everything = {one.uuid for one in agents}
    async with nodes(database) as (one, other):
        await one.meet(*agents)
        assert await claimed(one) == everything
        for _ in range(5):  # no agent is ever without a node or with two of them
            second, first = await claimed(other), await claimed(one)
            assert not first & second
            assert first | second == everything
        assert {len(first), len(second)} == {5, 6}


@pytest.mark.parametrize(
    ("number", "before"), [(40, (14, 14, 12)), (40, (40, 0, 0)), (41, (20, 1, 20)), (5, (5, 0, 0))]
)
async def test_three_nodes_come_to_shares_that_differ_by_one(
    database: Database, number: int, before: tuple[int, ...]
) -> None:
    agents = [agent() for _ in range(number)]
    async with nodes(database, 3) as three:
        await three[0].meet(*agents)
        owners = [node.node.uuid for node, count in zip(three, before, strict=True) for _ in range(count)]
        async with database.writing() as connection:
            for one, owner in zip(agents, owners, strict=True):
                mine = update(tables.agent).where(tables.agent.c.uuid == one.uuid)
                await connection.execute(mine.values(leaseOwner=owner))
        for _ in range(3):
            for node in three:
                await claimed(node)
        shares = [len(await claimed(node)) for node in three]
        assert sum(shares) == number
        assert max(shares) - min(shares) <= 1
        for node, share in zip(three, shares, strict=True):
            assert len(await claimed(node)) == share, "none goes to and fro"


async def test_what_a_silent_node_leaves_is_taken(database: Database) -> None:
    agents = [agent() for _ in range(4)]
    async with nodes(database) as (one, other):
        await one.meet(*agents)
        await claimed(one)
        assert len(await claimed(other)) == 2
        await other.lives(0)
        assert await claimed(one) == {each.uuid for each in agents}
        assert set(await holders(database)) == {one.node.uuid}
        await other.lives()
        assert len(await claimed(other)) == 2, "it takes its share when it lives again"


async def test_what_a_node_leaves_at_its_stop_is_free_at_once(database: Database) -> None:
    agents = [agent() for _ in range(4)]
    async with nodes(database, 1) as (one,):
        async with stores(database, LONG) as other:
            await one.lives()
            await other.meet(*agents)
            assert len(await claimed(other)) == 4
        assert await claimed(one) == {each.uuid for each in agents}


async def test_nodes_that_claim_at_once_share(database: Database) -> None:
    agents = [agent() for _ in range(20)]
    async with nodes(database, 4) as several:
        await several[0].meet(*agents)
        for _ in range(6):
            await asyncio.gather(*(claimed(each) for each in several))
            assert None not in await holders(database)
        claims = [await claimed(each) for each in several]
        held = await holders(database)
        assert min(held.count(each.node.uuid) for each in several) >= 2
        assert set().union(*claims) == {each.uuid for each in agents}


async def test_it_is_told_for_how_long_nobody_has_polled(database: Database) -> None:
    new, watched_before = agent(), agent()
    async with nodes(database) as (one, other):
        set_clock(database, DATE)
        await one.lives(15)
        await one.meet(watched_before)
        assert (await claim(database, one.node.uuid)).unwatched == {watched_before.uuid: 0}, "it is new"
        assert (await claim(database, one.node.uuid)).unwatched == {}, "it was taken before"
        set_clock(database, DATE + 115)
        await other.lives()
        await other.meet(new)
        found = await claim(database, other.node.uuid)
        assert found.unwatched == {new.uuid: 0, watched_before.uuid: 100}


@pytest.mark.parametrize("shift", [86400, -86400])
async def test_a_clock_that_is_set_lets_a_node_alone_miss_nothing(database: Database, shift: float) -> None:
    polled = [agent() for _ in range(3)]
    async with nodes(database, 1) as (one,):
        await one.meet(*polled)
        await claimed(one)
        shift_clock(database, shift)
        found = await claim(database, one.node.uuid)
        assert (found.uuids, found.unwatched) == ({each.uuid for each in polled}, {}), "it has polled them all the time"


async def test_what_another_node_hands_over_was_polled_all_the_time(database: Database) -> None:
    async with nodes(database) as (one, other):
        await one.meet(*(agent() for _ in range(4)))
        await claimed(one)
        found = await claim(database, other.node.uuid)
        assert (len(found.uuids), found.unwatched) == (2, {})


async def test_the_holder_is_asked_to_look(database: Database) -> None:
    known, another = agent(), agent()
    heard: list[str] = []
    database.wakes.listen(heard.append)
    async with nodes(database) as (one, other):
        await one.meet(known, another)
        await claimed(one)
        heard.clear()
        await ask_to_look(database, known.uuid)
        await ask_to_look(database, known.uuid)
        assert heard == [LOOK + known.uuid] * 2
        assert await asked_to_look(database, other.node.uuid) == [], "it does not hold it"
        assert await asked_to_look(database, one.node.uuid) == [known.uuid]
        assert await asked_to_look(database, one.node.uuid) == [], "it has looked"
        await ask_to_look(database, "9" * 32)
        assert await asked_to_look(database, one.node.uuid) == []


async def test_who_takes_an_agent_over_looks_in_place_of_who_was_asked(database: Database) -> None:
    known = agent()
    async with nodes(database) as (one, other):
        await one.meet(known)
        await claimed(one)
        await ask_to_look(database, known.uuid)
        await one.lives(0)
        await claimed(other)
        assert await asked_to_look(database, one.node.uuid) == []
        assert await asked_to_look(database, other.node.uuid) == [known.uuid]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_who_looks_waits_for_nobody_who_writes_of_some_of_its_agents(database: Database) -> None:
    first, second = sorted((agent(), agent()), key=lambda one: one.uuid)
    async with nodes(database, 1) as (one,):
        await one.meet(second, first)
        await claimed(one)
        for each in (second, first):
            await ask_to_look(database, each.uuid)
        async with database.writing() as connection:
            held = select(tables.agent.c.uuid).where(tables.agent.c.uuid == first.uuid)
            await connection.execute(held.with_for_update(read=True))  # as whoever writes what was heard of it
            asked = asyncio.wait_for(asked_to_look(database, one.node.uuid), 20)
            assert await asked == [second.uuid], "or each would wait for what the other has"
        assert await asked_to_look(database, one.node.uuid) == [first.uuid]


async def test_what_is_watched(database: Database) -> None:
    at, other, new = agent("here"), agent(), storage()
    async with stores(database, LONG) as one:
        (served,) = await one.put(new, [at])
        await one.meet(other, replace(at, hostname="there", port=7000))
        async with one.turn(storage_key(new.uuid)) as held:
            await one.debts.write(held, [Debt(uuid4().hex, other.uuid, held.uuid, "5" * 32)])
            seen = [found async for found in watched(database, [at.uuid, other.uuid, "unknown"])]
            assert not any(found.owed for found in seen), "its operation is under way"
        seen = [found async for found in watched(database, [at.uuid, other.uuid, "unknown"])]
    by_uuid = {found.record.uuid: found for found in seen}
    assert by_uuid.keys() == {at.uuid, other.uuid}
    here = by_uuid[at.uuid]
    assert here.record == replace(at, hostname="there", port=7000)
    assert here.places == (("here", 7765),), "where else it is reached"
    assert [(each.mon_uuid, each.storage_uuid, each.health) for each in here.hosts] == [
        (served.monUuid, new.uuid, served.health)
    ]
    assert (here.owed, by_uuid[other.uuid].owed) == (False, True)
    assert (by_uuid[other.uuid].hosts, by_uuid[other.uuid].places) == ((), ())


async def test_more_agents_are_watched_than_fit_into_one_statement(database: Database) -> None:
    agents = [agent() for _ in range(1100)]
    new = storage()
    async with stores(database, LONG) as one:
        async with database.writing() as connection:
            rows = [
                {"uuid": each.uuid, "hostname": each.hostname, "port": each.port, "fingerprint": each.fingerprint}
                | {"enrollmentId": each.enrollmentId, "tokenSecret": "secret", "leaving": False, "createDate": 1}
                for each in agents
            ]
            await connection.execute(tables.agent.insert(), rows)
        async with one.turn(storage_key(new.uuid), "add") as held:
            hosts = [host(new, each) for each in agents]
            await one.storages.add(
                held, new, hosts, agents, capacity={"totalCapacity": 1, "availableCapacity": 1}, tags={}
            )
        assert await claimed(one) == {each.uuid for each in agents}
        seen = {found.record.uuid: found async for found in watched(database, [each.uuid for each in agents])}
        assert seen.keys() == {each.uuid for each in agents}
        assert all(len(found.hosts) == 1 for found in seen.values())
