"""Servers of PostgreSQL that fail over, are gone without a word, take no more connections or no writes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import InvalidatePoolError

from bs_agent.management.store import database as module
from bs_agent.management.store import servers
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.schema import migrate
from bs_agent.management.store.servers import Servers, split, without_password
from bs_agent.management.store.tables import node
from tests.beds import postgresql
from tests.beds.fleet import until

BOTH = "postgresql://postgres@{},{}/{}?target_session_attrs=read-write"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database.connect(url)
    try:
        yield database
    finally:
        await database.close()


async def write(database: Database, name: str) -> None:
    async with database.writing() as connection:
        await connection.execute(insert(node).values(uuid=name, leaseDate=0))


async def written(database: Database, name: str) -> bool:
    """Write, and tell whether that went; nothing else than that the database is away may be in the way."""
    try:
        await write(database, name)
    except DatabaseUnavailable:
        return False
    return True


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://bs@db/bs", ["postgresql://bs@db/bs"]),
        ("postgresql://b:p%40@a:1,b:2/n?x=y", ["postgresql://b:p%40@a:1/n?x=y", "postgresql://b:p%40@b:2/n?x=y"]),
        ("postgresql://b@/n?host=a:1&host=b", ["postgresql://b@a:1/n", "postgresql://b@b/n"]),
        ("postgresql://b@/n?host=a,b&port=1,2", ["postgresql://b@a:1/n", "postgresql://b@b:2/n"]),
        ("postgresql://b@/n?host=a,b&port=7", ["postgresql://b@a:7/n", "postgresql://b@b:7/n"]),
        ("postgresql://b@[::1]:5,c/n", ["postgresql://b@[::1]:5/n", "postgresql://b@c/n"]),
        ("postgresql:///n?host=/run/postgresql", ["postgresql:///n?host=%2Frun%2Fpostgresql"]),
    ],
)
def test_a_url_names_servers(url: str, named: list[str]) -> None:
    assert split(url) == named


@pytest.mark.parametrize(
    "url", ["postgresql://a:x,b:2/n", "postgresql://a:99999/n", "postgresql:///n?host=a,b,c&port=1,2"]
)
def test_what_is_no_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="ort"):
        split(url)


def test_a_password_is_not_shown() -> None:
    shown = without_password("postgresql://bs:hidden@a:1,b:2/n?target_session_attrs=read-write&password=hidden")
    assert shown == "postgresql://bs:***@a:1,b:2/n?target_session_attrs=read-write"


@pytest.mark.asyncio
async def test_a_standby_that_is_promoted_is_written_to(own_server: postgresql.PostgreSQL) -> None:
    name = own_server.new_database().rpartition("/")[2]
    with own_server.standby() as standby:
        places = [f"127.0.0.1:{server.port}" for server in (standby, own_server)]
        async with opened(BOTH.format(*places, name)) as database:
            await migrate(database)
            await write(database, "before")
            await until(lambda: asyncio.to_thread(own_server.caught_up))
            own_server.crash()
            try:
                assert not await written(database, "between")
                standby.promote()
                await until(lambda: written(database, "after"))
                async with database.reading() as connection:
                    there = set((await connection.execute(text("SELECT uuid FROM node"))).scalars())
                assert there == {"before", "after"}
            finally:
                own_server.start()


@pytest.mark.asyncio
async def test_a_server_that_is_gone_without_a_word_leaves_time_for_the_next(own_server: postgresql.PostgreSQL) -> None:
    name = own_server.new_database().rpartition("/")[2]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes connections, and nobody answers
        places = [f"127.0.0.1:{silent.getsockname()[1]}", f"127.0.0.1:{own_server.port}"]
        known = Servers(BOTH.format(*places, name), 2.0)
        for _ in range(2):
            connection = await known.connect()
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()
        assert f":{own_server.port}/" in known.urls[0], "the one that answers is asked first from now on"


async def one_more(url: str) -> Any:
    """Return a connection, or None when there can be no more."""
    try:
        return await asyncpg.connect(url)
    except asyncpg.TooManyConnectionsError:
        return None


@pytest.mark.asyncio
async def test_out_of_connections_is_said_so_and_passes(own_server: postgresql.PostgreSQL) -> None:
    url = own_server.new_database()
    async with opened(url) as database:
        await migrate(database)
        await database.engine.dispose()
        async with AsyncExitStack() as stack:
            while connection := await one_more(url):
                stack.push_async_callback(connection.close)
            with pytest.raises(DatabaseUnavailable, match="too many clients") as refused:
                await write(database, "in vain")
            assert refused.value.retry_after > 0
        await until(lambda: written(database, "after"))


@pytest.mark.asyncio
async def test_a_server_that_takes_no_writes_any_more_is_left(own_server: postgresql.PostgreSQL) -> None:
    async with opened(own_server.new_database()) as database:
        await migrate(database)
        async with database.engine.connect() as connection:
            await connection.execute(text("SET default_transaction_read_only = on"))
            await connection.commit()
        assert not await written(database, "in vain")
        assert await written(database, "by a new connection")


@pytest.mark.asyncio
async def test_a_frozen_server_does_not_hold_up_who_waits_for_the_next(
    own_server: postgresql.PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that hang are given up within the longest command, however many there are."""
    monkeypatch.setattr(module, "_BUSY_SECONDS", 2)
    monkeypatch.setattr(servers, "_PROOF", 0.5)
    name = own_server.new_database().rpartition("/")[2]
    with own_server.standby() as standby:
        places = [f"127.0.0.1:{server.port}" for server in (own_server, standby)]
        async with opened(BOTH.format(*places, name)) as database:
            await migrate(database)
            await asyncio.gather(*(database.ping() for _ in range(8)))
            await until(lambda: asyncio.to_thread(own_server.caught_up))
            with own_server.frozen():
                standby.promote()
                await until(lambda: written(database, "after"))


class Used:
    """A connection that was used before, and fails as the driver's do."""

    def __init__(self, error: Exception) -> None:
        self.info: dict[str, object] = {servers._NEW: False}
        self._error = error

    def run_async(self, _: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionResetError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_used_connection_fails_with_it_and_the_others_are_left(error: Exception) -> None:
    """A server that stops is heard of in the middle of whatever the driver does: that cannot be had on request."""
    used: Any = Used(error)
    with pytest.raises(InvalidatePoolError):
        servers.check(used, used, None)
