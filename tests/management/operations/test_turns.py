"""The turns of one node: what is its own, whatever happens between a row and the process that has written it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from bs_agent.contract.errors import OperationFailed, StorageProblem
from bs_agent.management.operations.turns import Operations
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import Node
from bs_agent.management.store.operations import Ended, Held, OperationStore, Running
from tests.beds.stores import LONG

pytestmark = pytest.mark.asyncio

KEY = "storage:" + "1" * 32


class Slow(OperationStore):
    """Has written what it takes, and does not answer before it is let go."""

    def __init__(self, database: Database, owner: str) -> None:
        super().__init__(database, owner)
        self.written, self.go = asyncio.Event(), asyncio.Event()

    async def take(self, key: str, kind: str, variant: str = "", uuid: str = "") -> Held | Running:
        got = await super().take(key, kind, variant, uuid)
        self.written.set()
        await self.go.wait()
        return got


@asynccontextmanager
async def turns(database: Database) -> AsyncIterator[tuple[Operations, Slow]]:
    async with Node.open(database, LONG) as node:
        store = Slow(database, node.uuid)
        operations = Operations(store, node)
        yield operations, store
        await operations.close()


async def confirmed(store: OperationStore, held: Held) -> None:
    async with store.database.writing() as connection:
        await store.confirm(connection, held)


@pytest.mark.parametrize("by_call", [True, False], ids=["run", "holding"])
async def test_what_has_just_begun_is_not_ended_as_left_behind(database: Database, by_call: bool) -> None:
    done: list[Held] = []
    async with turns(database) as (operations, store):

        async def work(held: Held) -> None:
            await operations.keep_house()
            await confirmed(store, held)
            done.append(held)

        async def hold() -> None:
            async with operations.holding(KEY, "meet") as held:
                await work(held)

        running = asyncio.create_task(operations.run(KEY, "delete", work) if by_call else hold())
        await store.written.wait()
        await operations.keep_house()  # the row is there, and nobody here has been told of it yet
        store.go.set()
        await running
        assert await store.ended(KEY, done[0].uuid) == Ended(None)
        assert isinstance(await store.take(KEY, "add"), Held)


async def test_what_was_begun_for_nobody_is_ended(database: Database) -> None:
    async with turns(database) as (operations, store):

        async def work(_: Held) -> None:
            raise AssertionError("nobody waits for it")

        running = asyncio.create_task(operations.run(KEY, "reconnect", work))
        await store.written.wait()
        store.written.clear()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        store.go.set()
        joining = await store.take(KEY, "reconnect")
        assert isinstance(joining, Running)
        await operations.keep_house()
        ended = await store.ended(KEY, joining.uuid)
        assert isinstance(ended, Ended)
        assert ended.problem is not None, "nobody knows that it went well"
        assert ended.problem.code == OperationFailed.code


async def test_what_cleans_up_while_the_lease_is_lost_again_goes_on(database: Database) -> None:
    began, cleaning, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with turns(database) as (operations, store):
        store.go.set()

        async def work(_: Held) -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaning.set()
                await asyncio.shield(cleaned.wait())

        running = asyncio.create_task(operations.run(KEY, "delete", work))
        await began.wait()
        operations.stop()
        await cleaning.wait()
        operations.stop()
        cleaned.set()
        with pytest.raises(StorageProblem, match="has lost its lease"):
            await running
        operations.stop()
        assert isinstance(await store.take(KEY, "add"), Held)
