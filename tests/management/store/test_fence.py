"""Who may write what is heard of a storage: its operation, or the node that polls; never one that was asleep."""

import asyncio
import time

import pytest
from sqlalchemy import select, text, update

from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CEPH
from bs_agent.management.model.capacity import measured
from bs_agent.management.model.health import Health
from bs_agent.management.model.records import HostRecord
from bs_agent.management.store import changes
from bs_agent.management.store.changes import CapacityChange, HostChange, apply
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import Held, storage_key
from bs_agent.management.store.tables import agent as agent_table
from bs_agent.management.store.watched import claim
from tests.beds.fleet import until
from tests.beds.stores import LONG, Stores, agent, nodes, slept, storage, stores
from tests.management.store.known import known, report

pytestmark = pytest.mark.asyncio

GONE = Health("Disconnected", Reason(code=ReasonCode.AGENT_UNREACHABLE, details="seen"))
WELL = Health("Connected")
CONNECTING = Health("Connecting")


async def tells(by: Stores, of: HostRecord, health: Health, held: Held | None = None) -> bool:
    """Write what a node has to say of a host; tell whether it was taken."""
    await apply(by.database, by.fence, [HostChange(of.monUuid, of.backupStorageUuid, health, held)])
    there = await by.hosts.find(of.monUuid)
    assert there is not None
    return there.health == health


async def test_news_of_polls_are_written_by_the_node_that_polls(database: Database) -> None:
    async with nodes(database) as (one, other):
        (there,) = await one.put(storage(), [agent()])
        assert not await tells(other, there, GONE)
        assert await tells(one, there, GONE)
        await one.lives(0)
        await claim(database, other.node.uuid)
        await one.lives()
        assert not await tells(one, there, WELL), "it slept, and another node polls by now"
        assert await tells(other, there, WELL)


async def test_of_several_news_those_are_written_that_may_be(database: Database) -> None:
    new, agents = storage(CEPH), [agent(), agent(), agent()]
    async with nodes(database) as (one, other):
        mine, others, nobodys = await one.put(new, agents)
        await other.put(storage(url="/other"), [agents[1]])
        async with database.writing() as connection:
            nobody = update(agent_table).where(agent_table.c.uuid == agents[2].uuid)
            await connection.execute(nobody.values(leaseOwner=None))
        changes = [HostChange(each.monUuid, new.uuid, GONE) for each in (mine, others, nobodys)]
        await apply(database, one.fence, changes)
        status = {each.monUuid: each.status for each in await one.hosts.of(new.uuid)}
        assert status == {mine.monUuid: "Disconnected", others.monUuid: "Connected", nobodys.monUuid: "Connected"}


async def test_an_operation_goes_before_the_polls(database: Database) -> None:
    new, another, at = storage(), storage(url="/another"), agent()
    async with nodes(database) as (one, other):
        (there,), (beside,) = await one.put(new, [at]), await one.put(another, [at])
        for worker in (one, other):  # on whichever node it runs
            async with worker.turn(storage_key(new.uuid), "reconnect") as held:
                assert not await tells(one, there, GONE)
                assert await tells(one, beside, GONE), "that one is free"
                assert await tells(worker, there, GONE, held)
                assert await tells(worker, there, WELL, held)
            assert await tells(one, there, GONE)
            assert await tells(one, there, WELL)
            assert await tells(one, beside, WELL)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_an_operation_says_is_not_overwritten_by_a_poll_that_was_before_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, at = storage(), agent()
    monkeypatch.setattr(changes, "_LOCKED", text("SET LOCAL lock_timeout = '60s'"))
    async with nodes(database) as (one, other):
        (there,) = await one.put(new, [at])

        async def operate() -> None:
            async with other.turn(storage_key(new.uuid), "reconnect") as held:
                assert await tells(other, there, CONNECTING, held)

        async with database.engine.begin() as busy:
            await busy.execute(select(agent_table).where(agent_table.c.uuid == at.uuid).with_for_update())
            poll = asyncio.create_task(tells(one, there, GONE))
            await until(lambda: waits(database, 1))
            operation = asyncio.create_task(operate())
            await until(lambda: waits(database, 2, operation))
        await asyncio.gather(poll, operation)
        shown = await one.hosts.find(there.monUuid)
        assert shown is not None
        assert shown.health == CONNECTING, "the operation came later"


async def waits(database: Database, count: int, done: "asyncio.Task[None] | None" = None) -> bool:
    """Tell whether so many wait for locks, or it is done what else would wait."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with database.reading() as connection:
        waiting: int = (await connection.execute(query)).scalar_one()
    return waiting >= count or bool(done and done.done())


async def test_polls_are_heard_again_when_the_node_of_an_operation_is_gone(database: Database) -> None:
    new = storage()
    async with nodes(database) as (one, other):
        (there,) = await one.put(new, [agent()])
        held = await other.operations.take(storage_key(new.uuid), "reconnect")
        assert isinstance(held, Held)
        assert not await tells(one, there, GONE)
        await other.lives(0)
        assert await tells(one, there, GONE)
        assert not await tells(other, there, WELL, held), "it has slept through its lease"


async def test_news_of_an_operation_that_was_taken_over_are_void(database: Database) -> None:
    new = storage()
    async with nodes(database) as (one, other):
        (there,) = await one.put(new, [agent()])
        held = await slept(one, other, storage_key(new.uuid))
        assert not await tells(one, there, GONE, held)
        taken = await other.operations.take(storage_key(new.uuid), "change")
        assert not isinstance(taken, Held)
        await other.operations.end(Held(storage_key(new.uuid), taken.uuid, 0), None)
        assert not await tells(one, there, GONE, held), "it has ended by now"
        assert await tells(one, there, GONE)


async def test_a_poll_that_may_be_written_carries_nothing_of_a_lost_operation_with_it(database: Database) -> None:
    async with nodes(database) as (one, other):
        there = await known(one)
        key = storage_key(there.uuid)
        held = await slept(one, other, key)
        taken = await other.operations.take(key, "change")
        await other.operations.end(Held(key, taken.uuid, 0), None)
        (mon,) = there.mons
        said = CapacityChange(mon, there.uuid, measured(report(7)), time.monotonic())
        lost = HostChange(mon, there.uuid, GONE, held)
        applied = await apply(database, one.fence, [lost, said])
        assert applied.not_ours == [lost]
        assert (await there.health()).status == "Connected"
        assert await there.available() == 7


async def test_an_operation_tells_of_hosts_whose_agent_another_node_polls(database: Database) -> None:
    new = storage()
    async with nodes(database) as (one, other):
        (there,) = await one.put(new, [agent()])
        async with other.turn(storage_key(new.uuid), "add") as held:
            assert await tells(other, there, GONE, held)


async def test_more_news_than_fit_into_one_statement(database: Database) -> None:
    at = agent()
    async with stores(database, LONG) as one:
        hosts = [(await one.put(storage(url=f"/{number}"), [at]))[0] for number in range(3)]
        changes = [HostChange(each.monUuid, each.backupStorageUuid, GONE) for each in hosts]
        unknown = [HostChange(f"{number:032x}", f"{number:032x}", GONE) for number in range(1200)]
        await apply(database, one.fence, [*unknown, *changes])
        for each in hosts:
            there = await one.hosts.find(each.monUuid)
            assert there is not None
            assert there.status == "Disconnected"
