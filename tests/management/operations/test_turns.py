"""The turns of one node: what is its own, whatever happens between a row and the process that has written it."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import ApiError, InvalidArgument, OperationFailed, StorageProblem
from bs_agent.management.operations.turns import Operations
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.leases import Node
from bs_agent.management.store.operations import Ended, Held, OperationStore, Running
from tests.beds.fleet import until
from tests.beds.stores import LONG, Stores, nodes

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


@asynccontextmanager
async def two_nodes(database: Database) -> AsyncIterator[tuple[Stores, Stores, Operations]]:
    """Be two nodes, and the operations of the first."""
    async with nodes(database) as (one, other):
        operations = Operations(one.operations, one.node)
        yield one, other, operations
        await operations.close()


async def state(of: Stores, held: Held) -> Ended | Running | None:
    return await of.operations.ended(KEY, held.uuid)


async def test_how_an_operation_has_ended_is_told_though_the_database_was_away_then(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_nodes(database) as (_, other, operations):
        took: list[Held] = []

        async def work(held: Held) -> None:
            took.append(held)
            monkeypatch.setattr(database, "writing", away)
            raise InvalidArgument("seen")

        with pytest.raises(InvalidArgument, match="seen"):
            await operations.run(KEY, "reconnect", work)
        with suppress(DatabaseUnavailable):
            await operations.keep_house()
        monkeypatch.undo()
        assert isinstance(await state(other, took[0]), Running)
        await operations.keep_house()
        assert await state(other, took[0]) == Ended(InvalidArgument("seen").shown())


@asynccontextmanager
async def away() -> AsyncIterator[AsyncConnection]:
    raise DatabaseUnavailable("away")
    yield


async def test_a_lease_may_be_lost_again_while_operations_still_take_back_what_they_did(database: Database) -> None:
    async with two_nodes(database) as (_, _, operations):
        undoing, undone = asyncio.Event(), asyncio.Event()
        begun = asyncio.Event()

        async def work(_: Held) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                undoing.set()
                await undone.wait()

        running = asyncio.create_task(operations.run(KEY, "change", work))
        await begun.wait()
        operations.stop()
        await undoing.wait()
        second = asyncio.create_task(hold(operations, "storage:" + "2" * 32))
        await until(lambda: is_busy(operations, "2" * 32))
        operations.stop()
        with pytest.raises(StorageProblem, match="has lost its lease"):
            await second
        assert not running.done()
        undone.set()
        with pytest.raises(StorageProblem, match="has lost its lease"):
            await running


async def hold(operations: Operations, key: str) -> None:
    async with operations.holding(key, "change"):
        await asyncio.Event().wait()


async def is_busy(operations: Operations, storage_uuid: str) -> bool:
    return operations.is_busy(storage_uuid)


async def test_a_key_is_busy_until_the_last_of_its_operations_here_is_over(database: Database) -> None:
    async with two_nodes(database) as (one, other, operations):
        undone, begun = asyncio.Event(), asyncio.Event()

        async def work(_: Held) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await undone.wait()

        first = asyncio.create_task(operations.run(KEY, "change", work))
        await begun.wait()
        await one.lives(0)
        operations.stop()
        async with other.turn(KEY):
            pass
        await one.lives()
        async with operations.holding(KEY, "change") as held:
            undone.set()
            with suppress(ApiError):
                await first
            assert operations.is_busy("1" * 32), "the second goes on"
        assert not operations.is_busy("1" * 32)
        assert await state(other, held) == Ended(None)


async def test_nobody_is_told_of_an_operation_that_ends_by_itself_when_its_caller_is_gone(
    database: Database,
) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with turns(database) as (operations, store):
        store.go.set()
        begun = asyncio.Event()

        async def work(_: Held) -> None:
            begun.set()
            await asyncio.Event().wait()

        call = asyncio.create_task(operations.run(KEY, "change", work))
        await begun.wait()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        operations.stop()
        await until(lambda: is_free(operations))
        gc.collect()
        assert told == []


async def is_free(operations: Operations) -> bool:
    return not operations._tasks
