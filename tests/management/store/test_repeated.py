"""What the database gives up for the sake of others is done again, and nobody hears of it."""

import asyncio

import pytest
from sqlalchemy import select, text, update

from bs_agent.management.store.database import Database, TransactionGivenUp
from bs_agent.management.store.operations import agent_key
from bs_agent.management.store.repeated import TRIES, each_repeated, repeated
from bs_agent.management.store.tables import agent as agent_table
from bs_agent.management.store.tables import operation
from tests.beds.stores import LONG, agent, stores

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_whoever_is_in_a_deadlock_with_another_goes_on(database: Database) -> None:
    known = agent()
    async with stores(database, LONG) as one:
        await one.meet(known)
        async with one.turn(agent_key(known.uuid)) as held:
            async with database.engine.begin() as other:
                await other.execute(update(agent_table).values(leaseOwner=None))
                put = asyncio.create_task(one.agents.put(held, known))  # it has the operation, and waits for the agent
                await asyncio.sleep(0.3)
                await other.execute(select(operation).where(operation.c.key == held.key).with_for_update())
            assert await put


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_whoever_has_prepared_for_a_table_as_it_was_goes_on(database: Database) -> None:
    known = agent()
    async with stores(database, LONG) as one:
        await one.meet(known)
        assert await one.agents.find([known.uuid]) == {known.uuid: known}
        async with database.writing() as connection:
            await connection.execute(text("ALTER TABLE agent ALTER COLUMN hostname TYPE text"))
        assert await one.agents.find([known.uuid]) == {known.uuid: known}


async def test_it_is_tried_some_times_and_no_more() -> None:
    tries: list[int] = []

    @repeated
    async def fails(times: int) -> int:
        tries.append(times)
        if len(tries) <= times:
            raise TransactionGivenUp("seen")
        return len(tries)

    assert await fails(TRIES - 1) == TRIES
    tries.clear()
    with pytest.raises(TransactionGivenUp):
        await fails(TRIES)
    assert len(tries) == TRIES


async def test_of_a_store_each_public_method_is_done_again() -> None:
    @each_repeated
    class Store:
        tries = 0

        async def method(self) -> int:
            self.tries += 1
            if self.tries < 2:
                raise TransactionGivenUp("seen")
            return self.tries

    assert await Store().method() == 2
