"""The journal on damaged files and failing disks: it refuses or is unavailable, it is never silently empty."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from bs_agent.agent import app
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import database, journal
from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.state import StateError, prepare
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from tests.agent.asking import MARKER, clean, connect, refusal, report
from tests.agent.conftest import UUID, enrolled, eventually, running_agent, tree
from tests.beds import mounts
from tests.beds.agent import AgentClient

pytestmark = pytest.mark.asyncio


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a locked journal for a moment only."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.1)


@pytest_asyncio.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Journal]:
    """An open journal of its own."""
    path = tmp_path / "agent.db"
    database.create(path)
    async with journal.opened(path) as opened:
        yield opened


def _insert(connection: sqlite3.Connection, number: int = 1) -> None:
    connection.execute("INSERT INTO storages (uuid, parameters) VALUES (?, '{}')", (f"{number:032x}",))


def _count(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM storages").fetchone()
    return int(count)


async def test_what_is_written_is_there(kept: Journal) -> None:
    await asyncio.gather(*(kept.write(partial(_insert, number=number)) for number in range(50)))
    assert await kept.read(_count) == 50


async def test_a_failing_work_changes_nothing(kept: Journal) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        _insert(connection)
        raise LookupError("halfway")

    with pytest.raises(LookupError):
        await kept.write(fail)
    assert await kept.read(_count) == 0


async def test_a_locked_journal_is_unavailable_and_recovers(impatient: None, kept: Journal, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(3):
            with pytest.raises(StorageProblem) as caught:
                await kept.write(_insert)
            assert caught.value.reason.code == ReasonCode.JOURNAL_UNAVAILABLE
            assert "locked" in caught.value.details
            assert await kept.read(_count) == 0
        other.execute("ROLLBACK")
    await kept.write(_insert)
    assert await kept.read(_count) == 1


@asynccontextmanager
async def _busy(kept: Journal) -> AsyncIterator[asyncio.Task[bool]]:
    """Keep the journal at a read until the end of the context."""
    begun, end = threading.Event(), threading.Event()

    def read(_: sqlite3.Connection) -> bool:
        begun.set()
        return end.wait(30)

    task = asyncio.create_task(kept.read(read))
    await eventually(begun.is_set)
    try:
        yield task
    finally:
        end.set()
        await asyncio.wait([task])


async def test_work_whose_caller_gave_up_is_not_done(kept: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "DEADLINE", 0.1)
    async with _busy(kept) as slow:
        with pytest.raises(StorageProblem, match="did not answer"):
            await kept.write(_insert)
        with pytest.raises(StorageProblem, match="did not answer"):
            await slow
    monkeypatch.setattr(journal, "DEADLINE", 10.0)
    assert await kept.read(_count) == 0


async def test_what_waits_is_bounded(kept: Journal) -> None:
    async with _busy(kept):
        waiting = [asyncio.create_task(kept.read(_count)) for _ in range(journal.MAX_WAITING + 10)]
        await eventually(lambda: sum(task.done() for task in waiting) == 10)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, StorageProblem)]
    assert len(refused) == 10
    assert {answer.reason.code for answer in refused} == {ReasonCode.JOURNAL_UNAVAILABLE}


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content), 97):
        content[place] ^= 0xFF
    path.write_bytes(content)


def _execute(statement: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)

    return run


def _lose_all_but_the_log(path: Path) -> None:
    path.with_name("agent.db-wal").write_bytes(b"x")
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncate, "damaged"),
        (_flip, "damaged"),
        (lambda path: path.write_bytes(b""), "not a journal of bs-agent"),
        (lambda path: path.write_bytes(b"not a database at all" * 1000), "damaged"),
        (_execute("PRAGMA application_id = 7"), "not a journal of bs-agent"),
        (_execute(f"PRAGMA user_version = {len(database.MIGRATIONS) + 1}"), "newer bs-agent"),
        (_execute("INSERT INTO storages VALUES ('x', 'no JSON', NULL)"), "cannot be used"),
        (_execute("INSERT INTO storages VALUES ('x', '{\"type\":\"Tape\"}', NULL)"), "cannot be used"),
        (_lose_all_but_the_log, "is missing"),
    ],
    ids=["cut", "flipped", "empty", "no-database", "foreign", "newer", "row", "kind", "log-only"],
)
async def test_a_journal_that_cannot_be_trusted_is_refused_and_left_as_it_is(
    settings: AgentSettings, damage: Callable[[Path], None], said: str
) -> None:
    kept = await prepare(settings.state.directory)
    damage(kept.database)
    before = kept.database.read_bytes() if kept.database.exists() else None
    with pytest.raises(StateError, match=said) as caught:
        async with running_agent(settings):
            pass
    assert str(kept.database) in str(caught.value)
    assert (kept.database.read_bytes() if kept.database.exists() else None) == before


async def test_an_older_schema_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
    async with journal.opened(path) as opened:
        assert await opened.read(_count) == 0


def _fill(directory: Path) -> Path:
    """Leave no room on a disk; what is free again after a failure is filled again."""
    ballast = directory / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


@pytest_asyncio.fixture
async def on_small_disk(settings: AgentSettings, tmp_path: Path, mountable: None) -> AsyncIterator[app.Agent]:
    """An agent with its state on a disk of one mebibyte."""
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(mounts.tmpfs(tmp_path / "disk", "size=1m"))
        state = settings.state.model_copy(update={"directory": disk / "state"})
        yield await stack.enter_async_context(running_agent(settings.model_copy(update={"state": state})))


async def test_a_full_state_disk_refuses_commands_and_recovers(
    on_small_disk: app.Agent, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "CHECK_EVERY", 0.0)
    disk, other = tmp_path / "disk", tmp_path / "other"
    other.mkdir()
    async with enrolled(on_small_disk) as client:
        await connect(client, directory)
        _fill(disk)
        cleanup = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32})
        assert (cleanup.status, refusal(cleanup)) == (503, "BS.JournalUnavailable")
        _fill(disk)
        assert refusal(await connect(client, other, "2" * 32)) == "BS.JournalUnavailable"
        assert tree(other) == {}
        assert len((await report(client)).storages) == 1
        _fill(disk)
        ready = await client.ask("GET", "/readyz")
        assert (ready.status, list(ready.body["failing"])) == (503, ["journal"])
        assert (await client.ask("GET", "/livez")).status == 200
        assert b"bs_agent_journal_available" in (await client.ask("GET", "/metrics")).body
        _fill(disk).unlink()
        assert (await client.ask("GET", "/readyz")).status == 200
        assert (await clean(client)).state == "done"


async def test_a_cleanup_waits_for_the_journal(
    impatient: None, agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is locked by another process after the command was accepted."""
    await connect(client, directory)
    asked = {"commandUuid": f"{1:032x}"}
    write = Journal.write
    with closing(sqlite3.connect(agent.host.settings.state.directory / "agent.db", isolation_level=None)) as other:

        async def write_and_lock(self: Journal, work: Callable[[sqlite3.Connection], object]) -> object:
            result = await write(self, work)
            other.execute("BEGIN EXCLUSIVE")
            monkeypatch.setattr(Journal, "write", write)
            return result

        monkeypatch.setattr(Journal, "write", write_and_lock)
        assert (await client.ask("POST", f"/v1/storages/{UUID}/cleanup", asked)).status == 202
        await asyncio.sleep(0.5)
        assert (await client.ask("GET", f"/v1/commands/{1:032x}")).body["state"] == "accepted"
        assert (directory / MARKER).exists()
        busy = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": f"{2:032x}"})
        assert busy.status == 503
        assert refusal(await connect(client, directory)) == "BS.StorageBusy"
        other.execute("ROLLBACK")
    assert (await clean(client)).state == "done"


async def test_a_locked_journal_does_not_hold_up_reports(
    agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connect(client, directory)
    path = agent.host.settings.state.directory / "agent.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        blocked = asyncio.create_task(client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32}))
        for _ in range(20):
            assert (await client.ask("GET", "/v1/report")).status == 200
        assert not blocked.done()
        other.execute("ROLLBACK")
    assert (await blocked).status == 202
