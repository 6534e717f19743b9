"""A PostgreSQL that stops, starts or stands still: callers are told in time, and nothing of the node ends for good."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy.exc import DBAPIError

from bs_agent.management.access.sessions import Auth
from bs_agent.management.config import HookSettings, JobSettings, SessionSettings
from bs_agent.management.jobs.hooks import Hooks
from bs_agent.management.jobs.jobs import Jobs, Order
from bs_agent.management.store import database as module
from bs_agent.management.store import servers
from bs_agent.management.store.accounts import AccountStore
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.jobs import DONE
from bs_agent.management.store.leases import Node
from bs_agent.management.store.schema import migrate
from tests.beds import postgresql

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def database(own_server: postgresql.PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(module, "_BUSY_SECONDS", 1)
    monkeypatch.setattr(module, "_LONGEST_COMMAND", 1)
    monkeypatch.setattr(servers, "_PROOF", 1)
    opened = Database.connect(own_server.new_database())
    await migrate(opened)
    yield opened
    await opened.close()


async def _comes_back(database: Database) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await database.ping()
            except DatabaseUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def test_a_database_that_stands_still_is_away(own_server: postgresql.PostgreSQL, database: Database) -> None:
    await database.ping()
    with own_server.frozen():
        async with asyncio.timeout(30):
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable):
                    await database.ping()
    await _comes_back(database)


async def test_jobs_and_hooks_outlive_a_restart(
    own_server: postgresql.PostgreSQL, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bs_agent.management.jobs.jobs._HOUSEKEEPING", 0.05)
    monkeypatch.setattr("bs_agent.management.jobs.hooks._LOOK", 0.05)
    release = asyncio.Event()

    async def work() -> dict[str, object]:
        await release.wait()
        return {"done": True}

    async with (
        Node.open(database) as node,
        Hooks.open(database, node, HookSettings()) as hooks,
        Jobs.open(database, node, JobSettings(), hooks) as jobs,
    ):
        job = await jobs.start(Order(), "ReconnectBackupStorage", "a" * 32, work)
        loops = [task for task in asyncio.all_tasks() if _name(task) in {"Jobs._keep_house", "Hooks._run"}]
        assert len(loops) == 2
        for _ in range(3):
            await asyncio.to_thread(own_server.restart)
            await _comes_back(database)
        assert not any(task.done() for task in loops)
        release.set()
        assert (await jobs.wait(job)).state == DONE
        assert (found := await jobs.find(job.uuid)) is not None
        assert found.state == DONE


async def test_what_ends_and_who_logs_in_without_a_server_is_not_the_worse_for_it(
    own_server: postgresql.PostgreSQL, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bs_agent.management.jobs.jobs._HOUSEKEEPING", 0.05)
    release = asyncio.Event()

    async def work() -> dict[str, object]:
        await release.wait()
        return {"done": True}

    async with (
        Auth.open(AccountStore(database), SessionSettings()) as auth,
        Node.open(database, 600) as node,
        Hooks.open(database, node, HookSettings()) as hooks,
        Jobs.open(database, node, JobSettings(), hooks) as jobs,
    ):
        password = await auth.ensure_admin() or ""
        job = await jobs.start(Order(), "ReconnectBackupStorage", "a" * 32, work)
        with own_server.stopped():
            release.set()
            assert (await jobs.wait(job)).state == DONE
            for _ in range(40):
                with pytest.raises(DatabaseUnavailable):
                    await auth.log_in("admin", password, "127.0.0.1")
        await _comes_back(database)
        await auth.log_in("admin", password, "127.0.0.1")
        async with asyncio.timeout(60):
            while True:
                found = await jobs.find(job.uuid)
                assert found is not None
                if found.state == DONE:
                    break
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(("state", "away"), [("57P03", True), ("57P01", True), ("08006", True), ("42P01", False)])
async def test_the_state_tells_an_absent_database_from_a_wrong_statement(
    database: Database, state: str, away: bool
) -> None:
    cause = Exception("the database system is starting up")
    cause.sqlstate = state  # type: ignore[attr-defined]
    with pytest.raises(DatabaseUnavailable if away else DBAPIError):
        async with database.reading():
            raise DBAPIError("SELECT 1", {}, cause)


async def test_the_clock_is_the_databases_own(database_url: str) -> None:
    opened = Database.connect(database_url)
    opened.clock = lambda: 7.5
    async with opened.reading() as connection:
        first, second = await opened.now(connection), await opened.now(connection)
    await opened.close()
    if opened.is_sqlite:
        assert (first, second) == (7.5, 7.5)
    else:  # it goes on within a transaction, whatever this machine's clock says
        assert 1.7e9 < first < second


def _name(task: "asyncio.Task[object]") -> str:
    return getattr(task.get_coro(), "__qualname__", "")
