"""What one transaction writes of hosts and of their storage: what follows from what, and what is void."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import select, text, update

from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import StorageReport
from bs_agent.management.model.capacity import measured
from bs_agent.management.model.health import Health
from bs_agent.management.store.changes import CapacityChange, HostChange, Refusal, apply, check_writable
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.schema import migrate
from bs_agent.management.store.tables import agent, host
from tests.beds.postgresql import PostgreSQL
from tests.beds.stores import Stores, stores
from tests.management.store.known import Known, known, read_only, report

pytestmark = pytest.mark.asyncio

GONE = Health("Disconnected", Reason(code=ReasonCode.AGENT_UNREACHABLE, details="seen"))


@pytest_asyncio.fixture
async def mine(database: Database) -> AsyncIterator[Stores]:
    async with stores(database) as made:
        yield made


def gone(of: Known, which: int) -> HostChange:
    return HostChange(of.mons[which], of.uuid, GONE)


def said(of: Known, which: int, told: StorageReport) -> list[HostChange | CapacityChange | Refusal]:
    mon = of.mons[which]
    capacity = CapacityChange(mon, of.uuid, measured(told), time.monotonic())
    return [HostChange(mon, of.uuid, Health("Connected", fresh=True)), capacity]


async def test_a_storage_follows_its_hosts(mine: Stores) -> None:
    of = await known(mine, hosts=3)
    assert (await apply(mine.database, mine.fence, [gone(of, 0), gone(of, 1)])).turns == [], "one mon host is enough"
    assert await of.row("status", "capacityStale") == ("Connected", False)
    (turn,) = (await apply(mine.database, mine.fence, [gone(of, 2)])).turns
    assert (turn.uuid, turn.after) == (of.uuid, GONE)
    assert await of.row("status", "capacityStale") == ("Disconnected", True)


async def test_a_capacity_is_stale_when_no_host_has_a_fresh_one(mine: Stores) -> None:
    of = await known(mine, hosts=2)
    for fresh in ((False, True), (False, False), (True, False), (True, True)):
        for mon, its in zip(of.mons, fresh, strict=True):  # one write each, as by two nodes
            await apply(mine.database, mine.fence, [HostChange(mon, of.uuid, Health("Connected", fresh=its))])
        assert await of.row("capacityStale") == (not any(fresh),)


async def test_changes_of_many_storages_at_once(mine: Stores) -> None:
    several = [await known(mine) for _ in range(12)]
    turns = (await apply(mine.database, mine.fence, [gone(of, 0) for of in several])).turns
    assert {turn.uuid for turn in turns} == {of.uuid for of in several}
    assert (await apply(mine.database, mine.fence, [gone(of, 0) for of in several])).turns == []


async def test_changes_of_what_was_deleted_are_void(mine: Stores) -> None:
    of, other = await known(mine), await known(mine)
    async with mine.turn(f"storage:{of.uuid}") as held:
        await mine.storages.remove(held, of.uuid, [])
    news = [*said(of, 0, report(1)), gone(other, 0)]
    (turn,) = (await apply(mine.database, mine.fence, news)).turns
    assert turn.uuid == other.uuid


async def test_two_nodes_that_hear_two_hosts_of_one_storage(postgresql_server: PostgreSQL) -> None:
    url = postgresql_server.new_database()
    one, other = Database.connect(url), Database.connect(url)
    await migrate(one)
    async with stores(one) as first, stores(other) as second:
        of = await known(first, hosts=2)
        async with one.writing() as connection:
            behind = select(host.c.agentUuid).where(host.c.monUuid == of.mons[1])
            theirs = update(agent).where(agent.c.uuid == behind.scalar_subquery())
            await connection.execute(theirs.values(leaseOwner=second.node.uuid))
        for number in range(20):
            newest, older = report(700 + number, age=1000 - 10 * number), report(300, age=1005 - 10 * number)
            told = (newest, older) if number % 2 else (older, newest)
            done = await asyncio.gather(
                apply(one, first.fence, said(of, 0, told[0])), apply(other, second.fence, said(of, 1, told[1]))
            )
            assert [applied.not_ours for applied in done] == [[], []]
            assert await of.row("availableCapacity", "status") == (700 + number, "Connected")
        for health in (GONE, Health("Connected"), GONE):
            await asyncio.gather(
                apply(one, first.fence, [HostChange(of.mons[0], of.uuid, health)]),
                apply(other, second.fence, [HostChange(of.mons[1], of.uuid, health)]),
            )
            assert await of.row("status") == (health.status,), "each has seen what the other has written"
    await one.close()
    await other.close()


async def test_a_database_that_cannot_be_written_is_told_from_news_that_are_refused(mine: Stores) -> None:
    await check_writable(mine.database)
    async with read_only(mine.database):
        with pytest.raises(DatabaseUnavailable, match=r"(?i)read.?only"):
            await check_writable(mine.database)
    await check_writable(mine.database)


async def test_a_transaction_that_stands_still_gives_its_locks_back(
    postgresql_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql_server.new_database()
    patient = Database.connect(url)
    await migrate(patient)
    await patient.close()
    monkeypatch.setattr("bs_agent.management.store.database._LONGEST_PAUSE", 1)
    one, other = Database.connect(url), Database.connect(url)

    async def stand_still() -> None:
        async with one.writing() as connection:  # as a node that is stopped here
            await connection.execute(text("LOCK TABLE backup_storage"))
            async with other.writing() as others:
                await others.execute(text("LOCK TABLE backup_storage"))
            await connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        await stand_still()
    await one.ping()
    await one.close()
    await other.close()
