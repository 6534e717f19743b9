"""What the tests of the management node share: a database of each kind."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import migrate
from tests.beds import postgresql


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
