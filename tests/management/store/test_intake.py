"""The queue of news: which measurement counts, what the database refuses, what survives one that is away."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
from sqlalchemy import text, update

from bs_agent.contract.errors import InternalError
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.management.model.health import Health
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.intake import Intake
from bs_agent.management.store.tables import agent
from tests.beds.fleet import until
from tests.beds.stores import Stores, stores
from tests.management.store.known import Known, errors, known, pool_report, read_only, refusing, report, run

pytestmark = pytest.mark.asyncio

WELL = Health("Connected", fresh=True)
GONE = Health("Disconnected", Reason(code=ReasonCode.AGENT_TIMEOUT, details="seen"))
TOO_BIG = 2**63


@pytest_asyncio.fixture
async def mine(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stores]:
    monkeypatch.setattr("bs_agent.management.store.intake._RETRY", 0.05)
    async with stores(database) as made:
        yield made


@asynccontextmanager
async def writing(of: Stores) -> AsyncIterator[Intake]:
    intake = Intake(of.database, of.fence)
    writer = asyncio.create_task(intake.run())
    try:
        yield intake
    finally:
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer


@pytest_asyncio.fixture
async def intake(mine: Stores) -> AsyncIterator[Intake]:
    async with writing(mine) as made:
        yield made


async def says(intake: Intake, of: Known, available: int, age: float = 0.0, *, which: int = 0) -> int:
    """Let a host say what is available, and return what is known then."""
    intake.capacity(of.uuid, of.mons[which], report(available, age))
    await intake.flush(of.uuid)
    return await of.available()


async def refused(intake: Intake, of: Known) -> None:
    """Wait until the first host of a storage has the reason that the database refuses what it says."""

    async def has_reason() -> bool:
        reason = (await of.health()).reason
        return reason is not None and reason.code == ReasonCode.REPORT_INVALID

    await until(has_reason)


async def test_the_newest_measurement_counts_whoever_says_it_first(mine: Stores, intake: Intake) -> None:
    pool = await known(mine, hosts=2)
    assert await says(intake, pool, 500, 30) == 500
    assert await says(intake, pool, 600, 90, which=1) == 500, "it was measured before"
    assert await says(intake, pool, 400, 10, which=1) == 400
    intake.capacity(pool.uuid, pool.mons[0], report(300, 1))
    intake.capacity(pool.uuid, pool.mons[1], report(200, 5))
    await intake.flush(pool.uuid)
    assert await pool.available() == 300


async def test_what_one_process_remembers_decides_nothing(mine: Stores) -> None:
    pool = await known(mine, hosts=2)
    async with writing(mine) as first, writing(mine) as second:
        assert await says(first, pool, 700) == 700
        assert await says(second, pool, 300, which=1) == 300
        assert await says(first, pool, 700) == 700


async def test_a_date_in_the_future_freezes_nothing(mine: Stores, intake: Intake) -> None:
    of = await known(mine)
    await of.set(capacityDate=int(await of.now()) + 10**6)
    assert await says(intake, of, 400, 20) == 400
    (date,) = await of.row("capacityDate")
    assert 0 <= await of.now() - date - 20 < 60
    assert await says(intake, of, 300, 10) == 300


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("leap", [-86400.0, 86400.0], ids=["set back", "set forward"])
async def test_a_clock_that_is_set_freezes_nothing(mine: Stores, intake: Intake, leap: float) -> None:
    of, clock = await known(mine), mine.database.clock
    assert await says(intake, of, 400) == 400
    mine.database.clock = lambda: clock() + leap
    assert await says(intake, of, 300) == 300
    assert await says(intake, of, 200) == 200


async def test_the_clock_of_a_host_counts_for_nothing(mine: Stores, intake: Intake) -> None:
    of = await known(mine)
    for available, collected in ((400, time.time() + 10**6), (300, 0.0)):
        intake.capacity(of.uuid, of.mons[0], report(available, collected=collected))
        await intake.flush(of.uuid)
        assert await of.available() == available
        (date,) = await of.row("capacityDate")
        assert abs(await of.now() - date) < 60


async def test_what_says_nothing_new_is_written_once_its_date_is_old(mine: Stores, intake: Intake) -> None:
    of = await known(mine)
    assert await says(intake, of, 400, 100) == 400
    (date,) = await of.row("capacityDate")
    await of.set(lastOpDate=7)
    await says(intake, of, 400, 99)
    assert await of.row("lastOpDate", "capacityDate") == (7, date)
    await says(intake, of, 400, 50)
    assert (await of.row("capacityDate"))[0] >= date + 50
    assert await says(intake, of, 300, 80) == 400, "it was measured before the last one, which said nothing new"


async def test_old_numbers_of_one_host_do_not_replace_fresh_ones_of_another(mine: Stores, intake: Intake) -> None:
    pool = await known(mine, hosts=2)
    assert await says(intake, pool, 400, which=1) == 400
    for stale in range(2):  # the other mon host goes on to see a mgr, then it does not either
        intake.capacity(pool.uuid, pool.mons[stale], report(300 - stale, stale=True))
        intake.health(pool.uuid, pool.mons[stale], Health("Connected"))
        await intake.flush(pool.uuid)
        assert await pool.row("availableCapacity", "capacityStale") == ((400, False), (299, True))[stale]


async def test_the_numbers_of_a_pool_have_a_date_of_their_own(mine: Stores, intake: Intake) -> None:
    pool = await known(mine, hosts=2)
    for cluster_age, pools_age, stored in ((0, 0, 50), (0, 500, 40), (500, 0, 30)):
        intake.capacity(pool.uuid, pool.mons[0], pool_report(500 + stored, stored, cluster_age, pools_age))
        await intake.flush(pool.uuid)
    assert await pool.row("availableCapacity", "poolStored") == (540, 30)


async def test_a_number_that_no_database_holds_stays_alone(
    mine: Stores, intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    poison, others = await known(mine), [await known(mine) for _ in range(7)]
    before = await poison.row("availableCapacity", "status")
    for of in (poison, *others):
        intake.capacity(of.uuid, of.mons[0], report(TOO_BIG if of is poison else 400))
        intake.health(of.uuid, of.mons[0], WELL)
    for of in others:
        await intake.flush(of.uuid)
        assert (await of.available(), await of.health()) == (400, WELL)
    await refused(intake, poison)
    health = await poison.health()
    assert (health.status, health.fresh) == ("Connected", False)
    assert await poison.row("availableCapacity", "status", "capacityStale") == (*before, True)
    assert len(errors(caplog)) == 1
    assert poison.mons[0] in errors(caplog)[0]


async def test_what_was_refused_is_named_once_and_heard_again_when_it_is_well(
    mine: Stores, intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    of = await known(mine)
    for _ in range(3):
        intake.capacity(of.uuid, of.mons[0], report(TOO_BIG))
        intake.health(of.uuid, of.mons[0], WELL)
        await intake.flush(of.uuid)
        await refused(intake, of)
    assert len(errors(caplog)) == 1
    assert await says(intake, of, 300) == 300
    intake.health(of.uuid, of.mons[0], WELL)
    await intake.flush(of.uuid)
    assert await of.health() == WELL
    assert await of.row("capacityStale") == (False,)


async def test_the_health_of_a_host_that_is_refused_stays_alone(
    mine: Stores, intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    poison, others = await known(mine), [await known(mine) for _ in range(3)]
    async with refusing(mine.database, "host", "statusReason", "%poison%"):
        for of in (others[0], poison, *others[1:]):
            details = "poison" if of is poison else "seen"
            reason = Reason(code=ReasonCode.MARKER_MISSING, details=details)
            intake.health(of.uuid, of.mons[0], Health("Disconnected", reason))
        for of in (poison, *others):
            await intake.flush(of.uuid)
            assert await of.row("status") == ("Disconnected",)
    reason_shown = (await poison.health()).reason
    assert reason_shown is not None
    assert reason_shown.code == ReasonCode.REPORT_INVALID
    assert len(errors(caplog)) == 1


async def test_what_is_refused_in_every_form_is_left_out(mine: Stores, intake: Intake) -> None:
    poison, other = await known(mine), await known(mine)
    async with refusing(mine.database, "host", "monUuid", poison.mons[0]):
        for of in (poison, other):
            intake.health(of.uuid, of.mons[0], GONE)
        for of in (poison, other):
            await intake.flush(of.uuid)
        assert [(await of.health()).status for of in (poison, other)] == ["Connected", "Disconnected"]
        await intake.check()
    intake.health(poison.uuid, poison.mons[0], GONE)
    await intake.flush(poison.uuid)
    assert await poison.health() == GONE


async def test_news_outlive_a_database_that_fails(
    mine: Stores, intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    of = await known(mine)
    await run(mine.database, "ALTER TABLE backup_storage RENAME TO hidden")
    intake.health(of.uuid, of.mons[0], WELL)
    intake.capacity(of.uuid, of.mons[0], report(500))
    with pytest.raises(DatabaseUnavailable):
        await intake.flush(of.uuid)
    with pytest.raises(InternalError, match=r"has not been able to write for \d+ s: .*backup_storage"):
        await intake.check()
    intake.health(of.uuid, of.mons[0], GONE)
    intake.capacity(of.uuid, of.mons[0], report(300))
    await run(mine.database, "ALTER TABLE hidden RENAME TO backup_storage")

    async def is_written() -> bool:
        return not intake._pending

    await until(is_written)
    assert await of.row("availableCapacity", "status", "capacityStale") == (300, "Disconnected", True)
    assert await of.health() == GONE
    await intake.check()
    assert errors(caplog) == []
    assert caplog.text.count("cannot write the news") == 1


async def test_a_database_that_is_read_only_is_told(mine: Stores, intake: Intake) -> None:
    await intake.check()
    async with read_only(mine.database):
        with pytest.raises(InternalError, match="has not been able to write for"):
            await intake.check()
    await intake.check()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_rows_that_somebody_holds_on_to_keep_no_others_waiting(
    mine: Stores, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, others = await known(mine), [await known(mine) for _ in range(3)]
    async with mine.database.writing() as connection:
        statement = text("SELECT 1 FROM backup_storage WHERE uuid = :uuid FOR UPDATE")
        await connection.execute(statement, {"uuid": held.uuid})
        for of in (held, *others):
            intake.health(of.uuid, of.mons[0], GONE)

        async def others_are_written() -> bool:
            return all([await of.health() == GONE for of in others])

        await until(others_are_written)
        with monkeypatch.context() as patch:
            patch.setattr("bs_agent.management.store.intake._FLUSH", 0.2)
            with pytest.raises(DatabaseUnavailable, match="not written within"):
                await intake.flush(held.uuid)
        await intake.check()
    await intake.flush(held.uuid)
    assert await held.health() == GONE


async def test_news_that_are_not_ours_to_write_are_asked_for_again(mine: Stores, intake: Intake) -> None:
    of, again = await known(mine), list[str]()
    intake.again = again.extend
    async with mine.turn(f"storage:{of.uuid}"):
        assert await says(intake, of, 400) == 5
    assert again == of.mons
    async with mine.database.writing() as connection:
        await connection.execute(update(agent).values(leaseOwner=None))
    intake.health(of.uuid, of.mons[0], GONE)
    await intake.flush(of.uuid)
    assert await of.health() != GONE


async def test_what_was_forgotten_is_not_written(mine: Stores, intake: Intake) -> None:
    of = await known(mine)
    intake.capacity(of.uuid, of.mons[0], report(400))
    intake.forget(of.uuid)
    await intake.flush(of.uuid)
    assert await of.available() == 5
