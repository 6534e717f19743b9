"""Wake-ups within a node and from one node to another; one that is lost costs only time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import PoolProxiedConnection

from bs_agent.contract.errors import OperationFailed
from bs_agent.daemon.lifecycle import background
from bs_agent.management.operations.turns import Operations
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.leases import Node
from bs_agent.management.store.operations import Held, OperationStore, Running
from tests.beds.fleet import until
from tests.beds.stores import LONG
from tests.management.store.known import name_of, run

pytestmark = pytest.mark.asyncio

TOPIC, JOINED = "storage:" + "1" * 32, "storage:" + "2" * 32
SECONDS = 60
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


async def call(database: Database, topic: str = TOPIC) -> None:
    async with database.writing() as connection:
        await database.wake(connection, topic)


async def call_in_vain(database: Database, topic: str) -> None:
    with suppress(ZeroDivisionError):
        async with database.writing() as connection:
            await database.wake(connection, topic)
            raise ZeroDivisionError


@asynccontextmanager
async def another(url: str, *, hears: bool = True) -> AsyncIterator[Database]:
    """Be another process on the same database, which hears the others or is deaf."""
    opened = Database.connect(url)
    try:
        async with AsyncExitStack() as stack:
            if hears:
                await stack.enter_async_context(background(opened.wakes.run(), "wake-ups"))
            yield opened
    finally:
        await opened.close()


async def heard(by: Database, of: Database) -> None:
    """Call until it is heard: nobody listens at the very beginning."""
    with by.wakes.waiting("test") as event:
        for _ in range(SECONDS * 10):
            await call(of, "test")
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), 0.1)
                return
    raise AssertionError("nothing was heard")


async def test_who_waits_here_is_woken_when_the_transaction_is_committed(database: Database) -> None:
    topics: list[str] = []
    database.wakes.listen(topics.append)
    waiting = database.wakes.waiting
    with waiting(TOPIC) as first, waiting(TOPIC) as second, waiting("another") as third:
        async with database.writing() as connection:
            await database.wake(connection, TOPIC)
            assert not first.is_set()
            assert topics == []
        assert (first.is_set(), second.is_set(), third.is_set()) == (True, True, False)
    assert topics == [TOPIC]
    await call(database)
    assert topics == [TOPIC] * 2, "a topic that nobody waits for is told to those who listen to all"


async def test_a_transaction_that_is_undone_wakes_nobody(database: Database) -> None:
    with database.wakes.waiting(TOPIC) as event:
        await call_in_vain(database, TOPIC)
        assert not event.is_set()
        await call(database)
        assert event.is_set()


@on_postgresql
async def test_a_wake_up_goes_from_one_node_to_the_other(database: Database, database_url: str) -> None:
    async with another(database_url) as other:
        await heard(other, database)
        topics: list[str] = []
        other.wakes.listen(topics.append)
        with other.wakes.waiting(TOPIC) as event:
            await call_in_vain(database, "undone")
            await call(database, "first")
            await call(database)
            await asyncio.wait_for(event.wait(), SECONDS)
        assert [topic for topic in topics if topic != "test"] == ["first", TOPIC]


@on_postgresql
async def test_a_node_hears_again_after_its_connection_was_cut(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bs_agent.management.store.wakes._AGAIN", 0.05)
    async with another(database_url) as other:
        await heard(other, database)
        for _ in range(3):
            before = await listening(database)
            assert len(before) == 1, "one connection listens"
            async with database.reading() as connection:
                await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": before[0]})
            await until(lambda before=before: hears_by_another(database, before))  # type: ignore[misc]
            await heard(other, database)
        await other.ping()
    await until(lambda: nobody_listens(database))


@on_postgresql
async def test_a_node_hears_as_soon_as_the_server_lets_it_in(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bs_agent.management.store.wakes._AGAIN", 0.05)
    role = f"{await name_of(database)}_guest"
    await run(database, f"CREATE ROLE {role} LOGIN PASSWORD 'guest' CONNECTION LIMIT 0")
    url = make_url(database_url).set(username=role, password="guest")
    async with another(url.render_as_string(hide_password=False)) as other:
        with pytest.raises(DatabaseUnavailable, match="too many connections"):
            await other.ping()
        await run(database, f"ALTER ROLE {role} CONNECTION LIMIT 9")
        await heard(other, database)


@on_postgresql
async def test_a_node_hears_again_though_its_connection_was_cut_before_it_listened(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bs_agent.management.store.wakes._AGAIN", 0.05)
    async with another(database_url, hears=False) as other:
        connect = other.engine.raw_connection
        cut: list[int] = []

        async def cut_once() -> PoolProxiedConnection:
            raw = await connect()
            if not cut:
                cut.append(raw.driver_connection.get_server_pid())  # type: ignore[union-attr]
                await run(database, f"SELECT pg_terminate_backend({cut[0]})")
                await until(lambda: is_closed(raw))
            return raw

        monkeypatch.setattr(type(other.engine), "raw_connection", lambda _: cut_once())
        async with background(other.wakes.run(), "wake-ups"):
            await heard(other, database)
        assert cut


async def is_closed(raw: PoolProxiedConnection) -> bool:
    return bool(raw.driver_connection.is_closed())  # type: ignore[union-attr]


async def listening(database: Database) -> list[int]:
    """Return the server's processes whose connection listens: they have said so last."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' ORDER BY pid"
    async with database.reading() as connection:
        return list((await connection.execute(text(query))).scalars())


async def hears_by_another(database: Database, before: list[int]) -> bool:
    return bool(now := await listening(database)) and now != before


async def nobody_listens(database: Database) -> bool:
    return await listening(database) == []


class Looking(OperationStore):
    """Tells what was found on each look at who has the turn."""

    def __init__(self, database: Database, owner: str) -> None:
        super().__init__(database, owner)
        self.found: list[Held | Running] = []

    async def take(self, key: str, kind: str, variant: str = "", uuid: str = "") -> Held | Running:
        self.found.append(await super().take(key, kind, variant, uuid))
        return self.found[-1]

    async def busy_keys(self, count: int) -> bool:
        """Tell whether so many keys were found to be another's."""
        return len({found.uuid for found in self.found if isinstance(found, Running)}) == count


@on_postgresql
@pytest.mark.parametrize("hears", [True, False], ids=["woken", "deaf"])
async def test_who_waits_for_its_turn_gets_it_though_a_wake_up_is_lost(
    database: Database, database_url: str, hears: bool
) -> None:
    async with (
        another(database_url, hears=hears) as other,
        Node.open(database, LONG) as first,
        Node.open(other, LONG) as second,
    ):
        store, looking = OperationStore(database, first.uuid), Looking(other, second.uuid)
        waits = Operations(looking, second)
        held = [await store.take(key, "reconnect") for key in (TOPIC, JOINED)]

        async def has_turn() -> int:
            async with waits.holding(TOPIC, "change", SECONDS) as got:
                return got.number

        async def never(_: Held) -> None:
            raise AssertionError("it is joined")

        waiting = asyncio.create_task(has_turn())
        joined = asyncio.create_task(waits.run(JOINED, "reconnect", never))
        await until(lambda: looking.busy_keys(2))
        assert not waiting.done()
        assert not joined.done()
        for each in held:
            assert isinstance(each, Held)
            await store.end(each, OperationFailed("seen").shown())
        assert await asyncio.wait_for(waiting, SECONDS) > 0
        with pytest.raises(OperationFailed, match="seen"):
            await asyncio.wait_for(joined, SECONDS)
