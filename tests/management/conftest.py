"""What the tests of the management node share: a database of each kind."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import migrate
from tests.beds import postgresql
from tests.management.server import Server, serving_node


@pytest.fixture(scope="session", autouse=True)
def _utc() -> Iterator[None]:
    """Dates are shown in the local zone, and the tests name them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.PostgreSQL]:
    if why := postgresql.missing():
        pytest.skip(why)
    with postgresql.postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/management.db"
    server: postgresql.PostgreSQL = request.getfixturevalue("postgresql_server")
    return server.new_database()


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated, empty database, once of each kind."""
    opened = Database.connect(database_url)
    await migrate(opened)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A management node over SQLite."""
    opened = Database.connect(f"sqlite:///{tmp_path}/management.db")
    await migrate(opened)
    async with serving_node(opened) as running:
        yield running
    await opened.close()
