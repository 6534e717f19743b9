"""What the metrics read of the database: every storage once, whatever is counted, ages by the database's clock."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, update

from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.management.store import figures as module
from bs_agent.management.store.database import Database
from bs_agent.management.store.figures import Counts, StorageFigures, counts, places, storage_figures
from bs_agent.management.store.tables import agent, backup_storage, debt, hook, job, operation
from tests.beds.inventory import agent_of, fill, storages
from tests.management.server import living_node

pytestmark = pytest.mark.asyncio

ME, OTHER, LOST = "a" * 32, "b" * 32, "c" * 32


async def read(database: Database, most: int = 1000) -> list[StorageFigures]:
    return [one async for some in storage_figures(database, most) for one in some]


async def test_each_storage_comes_once_with_all_that_belongs_to_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await read(database) == []
    monkeypatch.setattr(module, "_BATCH", 7)
    rows = storages(30)
    await fill(database, rows)
    found = {one.uuid: one for one in await read(database)}
    assert list(found) == sorted(row["uuid"] for row in rows)
    for at, row in enumerate(rows):
        one = found[row["uuid"]]
        assert (one.name, one.type, one.state, one.status) == (row["name"], row["type"], "Enabled", row["status"])
        assert (one.total, one.available) == (row["totalCapacity"], row["availableCapacity"])
        assert one.zones == (f"zone-{at % 10}",)
        hosts = 3 if row["type"] == CEPH else 1
        assert (one.hosts, one.hosts_connected) == (hosts, hosts if row["status"] == "Connected" else 0)
        assert one.pool_max_avail == row["poolMaxAvail"]
    assert len(await read(database, 8)) == 8


async def test_ages_are_by_the_database_clock_and_reasons_of_the_vocabulary(database: Database) -> None:
    rows = storages(4)
    await fill(database, rows)
    async with database.writing() as connection:
        now = int(await database.now(connection))
        told: list[dict[str, Any]] = [
            {"capacityDate": now - 100, "statusReason": {"code": "NoQuorum", "details": "seen"}},
            {"capacityDate": now + 100, "statusReason": {"code": "anything that a row holds", "details": ""}},
            {"capacityDate": None, "statusReason": None},
        ]
        for row, values in zip(rows, told, strict=False):
            await connection.execute(update(backup_storage).where(backup_storage.c.uuid == row["uuid"]).values(values))
    found = {one.uuid: one for one in await read(database)}
    first, second, third = (found[row["uuid"]] for row in rows[:3])
    assert first.age == pytest.approx(100, abs=30)
    assert (first.reason, second.age, second.reason, third.age, third.reason) == ("NoQuorum", 0.0, "", None, "")


async def test_an_empty_database_counts_nothing(database: Database) -> None:
    found = await counts(database, ME)
    assert found == Counts(now=found.now, lease=0.0, nodes=0)
    assert await places(database) == []


async def test_everything_is_counted(database: Database) -> None:
    rows = storages(40)
    await fill(database, rows)
    await living_node(database, ME)
    await living_node(database, OTHER)
    some = [agent_of(f"host-{number}") for number in range(1, 5)]
    async with database.writing() as connection:
        now = await database.now(connection)
        for uuid, owner in zip(some, (ME, OTHER, LOST), strict=False):
            await connection.execute(update(agent).where(agent.c.uuid == uuid).values(leaseOwner=owner))
        for row, owner in zip(rows, (ME, OTHER, LOST), strict=False):
            mine = operation.c.key == f"storage:{row['uuid']}"
            await connection.execute(update(operation).where(mine).values(leaseOwner=owner))
        owed = {"operationUuid": "0" * 32, "hostOnly": False, "createDate": int(now) - 500}
        failed: dict[str, Any] = {"lastReason": {"code": "DirectoryHung", "details": "seen"}}
        kinds: tuple[dict[str, Any], ...] = ({"type": "Forgetting", "enrollmentId": "1" * 32}, failed, {})
        for at, values in enumerate(kinds):
            whole = {"type": "Cleanup", "commandUuid": uuid4().hex} | owed | values
            await connection.execute(insert(debt).values(uuid=uuid4().hex, agentUuid=some[at], **whole))
        dates = {"createDate": int(now), "lastOpDate": int(now)}
        for at, state in enumerate(("running", "done", "done", "failed")):
            new = {"uuid": f"{at:032}", "apiName": "X", "accountUuid": "", "state": state}
            await connection.execute(insert(job).values(**new, **dates))
        sent = {"url": "http://h", "receiver": "http://h", "withSchema": False}
        for at, tries in enumerate((0, 2)):
            due = {"jobUuid": f"{at:032}", "tries": tries, "dueDate": now - 60 * tries}
            await connection.execute(insert(hook).values(**due, **sent))
    found = await counts(database, ME)
    assert found.lease == pytest.approx(600, abs=60)
    assert found.nodes == 2
    assert found.agents == len(await places(database))
    assert found.unheld == found.agents - 2, "the third is held by a node that does not live"
    assert found.operations == {"add": 2}
    assert (found.cleanups.count, found.cleanups.failed, found.forgettings.count) == (2, 1, 1)
    assert found.cleanups.oldest == pytest.approx(500, abs=60)
    assert found.jobs == {"running": 1, "done": 2, "failed": 1}
    assert (found.hooks, found.hooks_failed) == (2, 1)
    assert found.hook_late == pytest.approx(120, abs=60)
    assert found.sessions == 0
    assert found.storages == {
        (CEPH, "Enabled", "Connected"): 2,
        (CEPH, "Enabled", "Disconnected"): 2,
        (IMAGESTORE, "Enabled", "Connected"): 36,
    }
