"""Operations: one at a time on a key, with a number that never goes back, and free when their node is gone."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from sqlalchemy import text

from bs_agent.contract.errors import OperationFailed, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.model.records import Debt
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import Ended, Held, Running, storage_key
from tests.beds.fleet import until
from tests.beds.stores import LONG, Stores, agent, nodes, set_clock, shift_clock, storage, stores

pytestmark = pytest.mark.asyncio

KEY = "storage:" + "1" * 32
DAY = 86400
PROBLEM = OperationFailed("seen").shown()


async def begin(of: Stores, key: str = KEY, kind: str = "change") -> Held:
    held = await of.operations.take(key, kind)
    assert isinstance(held, Held)
    return held


async def confirmed(of: Stores, held: Held) -> bool:
    with suppress(StorageProblem):
        async with of.database.writing() as connection:
            await of.operations.confirm(connection, held)
        return True
    return False


async def busy(of: Stores, *keys: str) -> set[str]:
    async with of.database.reading() as connection:
        return await of.operations.busy(connection, keys)


async def count(database: Database) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM operation"))).scalar_one())


async def test_who_comes_second_is_told_what_is_under_way(database: Database) -> None:
    async with nodes(database) as (one, other):
        held = await one.operations.take(KEY, "delete", "Enforcing")
        assert isinstance(held, Held)
        running = Running(held.uuid, "delete", "Enforcing")
        for each in (one, other):
            assert await each.operations.take(KEY, "add") == running
            assert await each.operations.ended(KEY, held.uuid) == running
            assert await busy(each, KEY, "storage:another") == {KEY}
        await begin(other, "storage:another")
        assert await busy(one, KEY, "storage:another", "storage:a third") == {KEY, "storage:another"}


async def test_how_an_operation_has_ended_is_known_until_the_next_one(database: Database) -> None:
    async with nodes(database) as (one, other):
        for problem in (PROBLEM, None):
            held = await begin(one)
            await one.operations.end(held, problem)
            assert await other.operations.ended(KEY, held.uuid) == Ended(problem)
        after = await begin(other)
        assert await one.operations.ended(KEY, held.uuid) is None
        await one.operations.end(held, PROBLEM)
        assert await one.operations.ended(KEY, after.uuid) == Running(after.uuid, "change", "")


async def test_of_many_who_come_at_once_one_has_the_turn(database: Database) -> None:
    async with nodes(database, 4) as several:
        for _ in range(5):  # the first time, there is no row yet
            got = await asyncio.gather(*(one.operations.take(KEY, "reconnect") for one in several * 4))
            held = [each for each in got if isinstance(each, Held)]
            assert len(held) == 1
            assert {each.uuid for each in got} == {held[0].uuid}
            await asyncio.gather(*(one.operations.end(held[0], None) for one in several))
            assert await busy(several[0], KEY) == set()


async def test_numbers_never_go_back_whatever_the_clock_does(database: Database) -> None:
    async with stores(database, LONG) as one:
        numbers = []
        for ahead in (0, 0, DAY, -DAY, -10 * DAY, 0, 2 * DAY, 0):
            shift_clock(database, ahead)
            await one.lives()
            async with one.turn(KEY) as held:
                numbers.append(held.number)
        assert numbers == sorted(set(numbers))


async def test_a_number_is_later_than_all_that_a_lost_database_gave(database: Database) -> None:
    async with stores(database, LONG) as one:
        for date, number in ((1e9, 10**12), (2e9, 2 * 10**12)):
            set_clock(database, date)
            await one.lives()
            assert (await begin(one)).number == number
            async with database.writing() as connection:  # a backup from before is restored
                await connection.execute(text("DELETE FROM operation"))


async def test_the_operation_of_a_node_that_is_gone_is_free(database: Database) -> None:
    async with nodes(database) as (one, other):
        held = await begin(one)
        assert await confirmed(one, held)
        assert not await confirmed(other, held), "it is not the other's"
        await one.lives(0)
        assert await other.operations.ended(KEY, held.uuid) is None, "nobody knows how it has ended"
        assert await busy(other, KEY) == set()
        assert not await confirmed(one, held), "others may take it at any moment"
        await one.lives()
        assert await confirmed(one, held), "nobody has"

        await one.lives(0)
        with pytest.raises(StorageProblem, match="has lost its lease") as problem:
            async with database.writing() as connection:
                await one.operations.confirm(connection, held)
        assert problem.value.reason.code == ReasonCode.STORAGE_BUSY
        taken = await begin(other)
        assert taken.number > held.number
        await one.lives()
        assert not await confirmed(one, held)
        await one.operations.end(held, PROBLEM)
        assert await confirmed(other, taken), "what is another's is not ended"
        assert await one.operations.ended(KEY, held.uuid) is None


async def test_a_node_whose_clock_is_set_forward_does_not_begin_what_it_does(database: Database) -> None:
    async with nodes(database, 1) as (one,):
        held = await begin(one)
        await one.lives(0)
        found = await one.operations.take(KEY, "delete")
        assert isinstance(found, Running), found
        assert found.uuid == held.uuid
        assert await busy(one, KEY) == {KEY}


async def test_a_node_that_stops_leaves_nothing_busy(database: Database) -> None:
    async with nodes(database, 1) as (one,):
        async with stores(database, LONG) as other:
            await one.lives()
            held = await begin(other)
            assert await busy(one, KEY) == {KEY}
        assert await busy(one, KEY) == set()
        assert (await begin(one)).number > held.number


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_was_confirmed_is_not_taken_before_it_is_written(database: Database) -> None:
    async with nodes(database) as (one, other):
        held = await begin(one)
        async with database.writing() as connection:
            await one.operations.confirm(connection, held)
            await one.lives(0)
            taking = asyncio.create_task(begin(other))
            await until(lambda: someone_waits(database))
            assert not taking.done()
            await connection.execute(text("UPDATE operation SET variant = 'written'"))
        assert (await taking).number > held.number
        assert not await confirmed(one, held)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_a_node_has_taken_that_has_just_started_is_not_free(database: Database) -> None:
    async with nodes(database, 1) as (one,):
        async with one.turn(KEY):
            pass
        async with database.writing() as connection:
            await connection.execute(text("SELECT * FROM operation FOR UPDATE"))
            taking = asyncio.create_task(one.operations.take(KEY, "add"))
            await until(lambda: someone_waits(database))
            async with stores(database, LONG) as new:  # it is in none of the rows that who waits has seen
                taken = text('UPDATE operation SET uuid = :uuid, "leaseOwner" = :owner')
                await connection.execute(taken, {"uuid": "7" * 32, "owner": new.node.uuid})
                await connection.commit()
                assert await taking == Running("7" * 32, "change", "")


async def someone_waits(database: Database) -> bool:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with database.reading() as connection:
        return int((await connection.execute(text(waits))).scalar_one()) > 0


async def test_a_node_ends_what_it_does_no_more(database: Database) -> None:
    async with nodes(database) as (one, other):
        keys = ["storage:kept", "storage:left", "storage:another's"]
        kept, left, others = await begin(one, keys[0]), await begin(one, keys[1]), await begin(other, keys[2])
        await one.operations.keep_only({kept.uuid}.__contains__, PROBLEM)
        assert await busy(other, *keys) == {keys[0], keys[2]}
        assert await other.operations.ended(keys[1], left.uuid) == Ended(PROBLEM)
        assert await confirmed(one, kept)
        assert await confirmed(other, others)


async def test_numbers_of_a_storage_never_go_back_after_a_wrong_clock(database: Database) -> None:
    new = storage()
    key = storage_key(new.uuid)
    async with stores(database, LONG) as one:
        await one.put(new, [agent()])
        shift_clock(database, 365 * DAY)
        await one.lives()
        async with one.turn(key) as ahead:
            pass
        shift_clock(database, 367 * DAY)
        await one.lives()
        await one.operations.prune()
        shift_clock(database, 0)
        await one.lives()
        async with one.turn(key) as after:
            assert after.number > ahead.number, "its agents would refuse all commands for a year"


async def test_old_operations_are_forgotten_unless_something_needs_them(database: Database) -> None:
    async with stores(database, LONG) as one:
        known, there = agent(), storage()
        await one.put(there, [known])
        runs = await begin(one, "storage:runs")
        async with one.turn("storage:owes") as owes:
            await one.debts.write(owes, [Debt(uuid4().hex, known.uuid, owes.uuid, "5" * 32)])
        async with one.turn("storage:over"):
            pass
        await one.operations.prune()
        assert await count(database) == 5
        shift_clock(database, DAY + 60)
        await one.lives()
        async with one.turn("storage:new"):
            pass
        await one.operations.prune()
        async with database.reading() as connection:
            left = set((await connection.execute(text("SELECT key FROM operation"))).scalars())
        assert left == {storage_key(there.uuid), runs.key, owes.key, "storage:new"}
