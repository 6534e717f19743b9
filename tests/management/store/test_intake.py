"""The queue of news: what is told apart from the known, what survives a database that is away."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import IMAGESTORE, DirectoryUsage, ImageStoreReport, Section
from bs_agent.management.model.health import Health
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.store.database import Database
from bs_agent.management.store.fleet import Fleet
from bs_agent.management.store.intake import Intake
from bs_agent.management.store.schema import migrate
from tests.beds.fleet import until

pytestmark = pytest.mark.asyncio

UUID, MON = uuid4().hex, uuid4().hex
GONE = Health("Disconnected", Reason(code=ReasonCode.AGENT_TIMEOUT, details="seen"))


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database.connect(f"sqlite:///{tmp_path}/management.db")
    await migrate(opened)
    agent = AgentRecord(uuid4().hex, "host", 1, "f" * 64, uuid4().hex, "secret")
    storage = StorageRecord(UUID, "name", "", IMAGESTORE, "/x", "Enabled", "Connected", None, "host", None, 22)
    host = HostRecord(
        MON, UUID, agent.uuid, "host", None, None, 22, None, None, None, "Connected", None, capacityFresh=True
    )
    host = replace(host, capacityFresh=True)
    capacity = {"totalCapacity": 1, "availableCapacity": 1, "capacityDate": 1}
    await Fleet(opened).add(storage, [host], [agent], capacity, {})
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def intake(database: Database) -> AsyncIterator[Intake]:
    made = Intake(database)
    writer = asyncio.create_task(made.run())
    yield made
    writer.cancel()
    with suppress(asyncio.CancelledError):
        await writer


def report(available: int, collected: float, *, stale: bool = False) -> ImageStoreReport:
    usage = DirectoryUsage(
        totalCapacity=100, availableCapacity=available, totalInodes=2, availableInodes=1, readOnly=False
    )
    return ImageStoreReport(
        uuid=UUID, url="/x", usage=Section[DirectoryUsage](value=usage, collectedAt=collected, stale=stale)
    )


async def capacity(database: Database) -> tuple[int, int, bool]:
    statement = 'SELECT "availableCapacity", "capacityDate", "capacityStale" FROM backup_storage'
    async with database.reading() as connection:
        row = (await connection.execute(text(statement))).one()
    return row[0], row[1], bool(row[2])


async def test_the_newest_measurement_counts(database: Database, intake: Intake) -> None:
    intake.capacity(UUID, report(50, 20))
    intake.capacity(UUID, report(60, 10))
    await intake.flush()
    assert await capacity(database) == (50, 20, False)
    intake.capacity(UUID, report(40, 30))
    await intake.flush()
    assert await capacity(database) == (40, 30, False)


async def test_a_clock_that_is_ahead_does_not_silence_the_others(database: Database, intake: Intake) -> None:
    intake.capacity(UUID, report(50, time.time() + 3600))
    intake.capacity(UUID, report(40, time.time()))
    await intake.flush()
    available, date, _ = await capacity(database)
    assert (available, date <= time.time()) == (40, True)


async def test_what_is_known_is_not_written_again(database: Database, intake: Intake) -> None:
    intake.capacity(UUID, report(50, 20))
    await intake.flush()
    queued = intake._queued
    intake.capacity(UUID, report(50, 30))
    assert intake._queued == queued


async def test_news_outlive_a_database_that_fails(
    database: Database, intake: Intake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bs_agent.management.store.intake._RETRY", 0.05)
    async with database.writing() as connection:
        await connection.execute(text("ALTER TABLE host RENAME TO hidden"))
    intake.health(UUID, MON, Health("Connected"))
    intake.capacity(UUID, report(50, 20))

    async def has_failed() -> bool:
        return "cannot write the news" in caplog.text

    await until(has_failed)
    intake.health(UUID, MON, GONE)
    intake.capacity(UUID, report(30, 30))
    async with database.writing() as connection:
        await connection.execute(text("ALTER TABLE hidden RENAME TO host"))
    await intake.flush()
    assert await capacity(database) == (30, 30, True)
    storage = await Fleet(database).storage(UUID)
    assert storage is not None
    assert (storage.status, storage.statusReason) == (GONE.status, GONE.reason)
