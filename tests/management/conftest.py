"""What the tests of the management node share: a database of each kind."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bs_agent.management.access import sessions
from bs_agent.management.store.database import Database
from tests.beds import databases, postgresql
from tests.management.server import Server, quick_hasher, serving_node


@pytest.fixture(scope="session", autouse=True)
def _utc() -> Iterator[None]:
    """Dates are shown in the local zone, and the tests name them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """Hashing is slow on purpose, and most tests only want to be logged in; programs of their own hash as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "PasswordHasher", quick_hasher)
        yield


def _server() -> Iterator[postgresql.PostgreSQL]:
    if why := postgresql.missing():
        pytest.skip(why)
    with postgresql.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.PostgreSQL]:
    yield from _server()


@pytest.fixture(scope="module")
def own_server() -> Iterator[postgresql.PostgreSQL]:
    """A server that the tests of a module stop and freeze."""
    yield from _server()


@pytest.fixture(scope="session")
def postgresql_with_tables(postgresql_server: postgresql.PostgreSQL) -> str:
    """Return the URL of a database that others are copied from."""
    url = postgresql_server.new_database()
    databases.make_tables(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database is, once of each kind; it has our tables where the test wants it opened as `database`."""
    with_tables = "database" in request.fixturenames
    if request.param == "sqlite":
        return databases.sqlite_with_tables(tmp_path) if with_tables else f"sqlite:///{tmp_path}/{databases.FILE}"
    server: postgresql.PostgreSQL = request.getfixturevalue("postgresql_server")
    return server.new_database(request.getfixturevalue("postgresql_with_tables") if with_tables else "")


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with our tables and nothing in them, once of each kind."""
    opened = Database.connect(database_url)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A management node over SQLite."""
    opened = Database.connect(databases.sqlite_with_tables(tmp_path))
    async with serving_node(opened) as running:
        yield running
    await opened.close()
