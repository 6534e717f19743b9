"""Debts belong to an operation: they are due when it is gone, and settled when what they feared did not happen."""

from dataclasses import replace
from uuid import uuid4

import pytest

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CEPH
from bs_agent.management.model.records import Debt
from bs_agent.management.operations.debts import cleanup, forgetting
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import Held, agent_key, storage_key
from tests.beds.stores import LONG, Stores, agent, host, named, nodes, set_clock, shift_clock, slept, storage, stores

pytestmark = pytest.mark.asyncio

DAY = 86400
STORAGE = "5" * 32
HUNG = Reason(code=ReasonCode.DIRECTORY_HUNG, details="seen")
KEY = storage_key(STORAGE)


async def begin(of: Stores, key: str = KEY) -> Held:
    held = await of.operations.take(key, "delete")
    assert isinstance(held, Held)
    return held


async def test_a_debt_is_due_when_its_operation_has_ended(database: Database) -> None:
    at, another = agent(), agent()
    async with nodes(database) as (one, other):
        await one.meet(at, another)
        held = await begin(one)
        debt = cleanup(held, named(STORAGE), at.uuid)
        await one.debts.write(held, [debt])
        for each in (one, other):
            assert await each.debts.due(at.uuid) == [], "its operation is under way"
        assert await one.debts.of_storage(STORAGE) == [debt]
        await one.operations.end(held, None)
        for each in (one, other):
            assert await each.debts.due(at.uuid) == [debt]
            assert await each.debts.due(another.uuid) == []
        later = await begin(other)
        assert await one.debts.due(at.uuid) == [debt], "the later operation is another one"
        await other.operations.end(later, None)


async def test_a_debt_is_due_when_the_node_of_its_operation_is_gone(database: Database) -> None:
    at = agent()
    async with nodes(database) as (one, other):
        await one.meet(at)
        held = await begin(one)
        debt = cleanup(held, named(STORAGE), at.uuid)
        await one.debts.write(held, [debt])
        await one.lives(0)
        assert await other.debts.due(at.uuid) == [debt]
        await one.lives()
        assert await other.debts.due(at.uuid) == [], "it was asleep, and nobody has taken over"
        await one.lives(0)
        await begin(other)
        await one.lives()
        assert await other.debts.due(at.uuid) == [debt], "the operation that owed it is no more"


async def test_a_debt_is_due_after_its_operation_is_forgotten(database: Database) -> None:
    at = agent()
    async with stores(database, LONG) as one:
        await one.meet(at)
        async with one.turn(KEY) as held:
            debt = cleanup(held, named(STORAGE), at.uuid)
            await one.debts.write(held, [debt])
        shift_clock(database, 30 * DAY)
        await one.lives()
        await one.operations.prune()
        assert await one.debts.due(at.uuid) == [debt]


async def test_all_of_a_debt_is_read_again_oldest_first(database: Database) -> None:
    at = agent()
    async with stores(database, LONG) as one:
        await one.meet(at)
        pool = {"poolName": "images"}
        debts = [
            Debt("7" * 32, at.uuid, "", "8" * 32, STORAGE, "a name", hostOnly=True, removePool=pool, lastReason=HUNG),
            Debt(uuid4().hex, at.uuid, "", "9" * 32, enrollmentId="e" * 32, tokenSecret="secret"),
            Debt(uuid4().hex, at.uuid, "", "9" * 32, "6" * 32),
        ]
        written = []
        for date, debt in ((3e9, debts[2]), (1e9, debts[0]), (2e9, debts[1])):
            set_clock(database, date)
            await one.lives()
            async with one.turn(KEY) as held:
                written.append(replace(debt, operationUuid=held.uuid))
                await one.debts.write(held, written[-1:])
        newest, oldest, between = written
        assert await one.debts.due(at.uuid) == [oldest, between, newest]
        assert await one.debts.find(oldest.uuid) == oldest
        assert await one.debts.find(uuid4().hex) is None
        assert await one.debts.of_storage(STORAGE) == [oldest]
        assert "secret" not in repr(between)


async def test_a_cleanup_takes_the_place_of_the_one_before(database: Database) -> None:
    at, other = agent(), agent()
    async with stores(database, LONG) as one:
        await one.meet(at, other)
        async with one.turn(KEY) as held:
            first, elsewhere = cleanup(held, named(STORAGE), at.uuid), cleanup(held, named(STORAGE), other.uuid)
            third = cleanup(held, named("6" * 32), at.uuid)
            await one.debts.write(held, [first, elsewhere, third])
        async with one.turn(KEY) as held:
            again = replace(cleanup(held, named(STORAGE), at.uuid), removePool={"poolName": "images"})
            await one.debts.write(held, [again])
            assert await one.debts.due(at.uuid) == [third], "what was due is not to be done while this is under way"
        assert sorted(await one.debts.due(at.uuid), key=lambda debt: debt.uuid) == sorted(
            [again, third], key=lambda debt: debt.uuid
        )
        assert await one.debts.due(other.uuid) == [elsewhere]


async def test_forgettings_stand_beside_each_other(database: Database) -> None:
    at = agent()
    async with stores(database, LONG) as one:
        await one.meet(at)
        async with one.turn(agent_key(at.uuid)) as held:
            both = [forgetting(held, at.uuid, uuid4().hex, "secret") for _ in range(2)]
            await one.debts.write(held, both)
        assert {debt.uuid for debt in await one.debts.due(at.uuid)} == {debt.uuid for debt in both}


async def test_what_has_arrived_is_not_owed(database: Database) -> None:
    first, second, late, new = agent(), agent(), agent(), storage(CEPH)
    async with stores(database, LONG) as one:
        await one.meet(first, second, late)
        async with one.turn(KEY) as held:
            before = cleanup(held, new, late.uuid)
            await one.debts.write(held, [before])
        async with one.turn(storage_key(new.uuid), "add") as held:
            expected = [cleanup(held, new, record.uuid) for record in (first, second)]
            another = cleanup(held, named("6" * 32), first.uuid)
            await one.debts.write(held, [*expected, another])
            hosts = [host(new, first)]
            capacity = {"totalCapacity": 1, "availableCapacity": 1}
            await one.storages.add(held, new, hosts, [first], capacity=capacity, tags={})
        assert await one.debts.due(first.uuid) == [another], "that storage has not arrived"
        assert await one.debts.due(second.uuid) == expected[1:], "it has not arrived on that host"
        assert await one.debts.due(late.uuid) == [before], "another operation owes it"
        assert await one.debts.serving(new.uuid) == {first.uuid}

        async with one.turn(storage_key(new.uuid), "change") as held:
            again = cleanup(held, new, second.uuid, host_only=True)
            await one.debts.write(held, [again])
            await one.hosts.add(held, [host(new, second)], [second], [])
        assert await one.debts.due(second.uuid) == []
        assert await one.debts.serving(new.uuid) == {first.uuid, second.uuid}


async def test_a_debt_that_could_not_be_paid_is_paid_by_another_command(database: Database) -> None:
    at, again = agent(), uuid4().hex
    async with stores(database, LONG) as one:
        await one.meet(at)
        async with one.turn(KEY) as held:
            debt = cleanup(held, named(STORAGE), at.uuid)
            await one.debts.write(held, [debt])
        await one.debts.failed(debt.uuid, HUNG, again)
        assert await one.debts.due(at.uuid) == [replace(debt, commandUuid=again, lastReason=HUNG)]
        await one.debts.failed(debt.uuid, HUNG)
        assert await one.debts.due(at.uuid) == [replace(debt, commandUuid=again, lastReason=HUNG)]
        await one.debts.settle(debt.uuid)
        assert await one.owed() == []
        await one.debts.failed(debt.uuid, HUNG, uuid4().hex)
        assert await one.owed() == []


async def test_what_is_owed_for_too_long_is_given_up_once(database: Database) -> None:
    at = agent()
    async with nodes(database) as (one, other):
        await one.meet(at)
        debts = []
        for date in (1e9, 1e9 + 10 * DAY):
            set_clock(database, date)
            await one.lives()
            async with one.turn(KEY) as held:
                debts.append(Debt(uuid4().hex, at.uuid, held.uuid, uuid4().hex))
                await one.debts.write(held, debts[-1:])
        set_clock(database, 1e9 + 12 * DAY)
        assert await other.debts.expire(12 * DAY) == []
        assert await other.debts.expire(5 * DAY) == debts[:1]
        assert await one.debts.expire(5 * DAY) == []
        assert await one.debts.due(at.uuid) == debts[1:]


async def test_a_node_that_slept_owes_nothing_new(database: Database) -> None:
    at = agent()
    async with nodes(database) as (one, other):
        await one.meet(at)
        held = await slept(one, other, KEY)
        with pytest.raises(StorageProblem, match="has lost its lease"):
            await one.debts.write(held, [cleanup(held, named(STORAGE), at.uuid)])
        assert await one.owed() == []
