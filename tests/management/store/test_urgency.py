"""How much a storage wants to be looked at: the worst first, and of those that are alike the fullest."""

import pytest

from bs_agent.contract.inventory import BackupStorageInventory
from bs_agent.contract.query import Query
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import find
from tests.management.server import put_storage, storage_row

pytestmark = pytest.mark.asyncio

MOST = 2**63 - 1
REASON = {"code": "ReadOnly", "details": "mounted read-only"}
STORAGES = (
    ("gone", {"status": "Disconnected", "totalCapacity": 100, "availableCapacity": 100}, 300),
    ("gone-full", {"status": "Disconnected", "totalCapacity": 1000, "availableCapacity": 0}, 390),
    ("coming", {"status": "Connecting", "totalCapacity": 0, "availableCapacity": 0}, 200),
    ("ill", {"statusReason": REASON, "totalCapacity": 0, "availableCapacity": 0}, 100),
    ("old", {"capacityStale": True, "totalCapacity": 10000, "availableCapacity": 5000}, 149),
    ("nearly-full", {"totalCapacity": 10000, "availableCapacity": 499}, 194),
    ("well", {"totalCapacity": 10000, "availableCapacity": 500}, 94),
    ("largest", {"totalCapacity": MOST, "availableCapacity": 0}, 199),
    ("empty", {"totalCapacity": MOST, "availableCapacity": MOST}, 0),
    ("unknown", {"totalCapacity": 0, "availableCapacity": 0}, 0),
)


async def test_the_worst_and_then_the_fullest_come_first(database: Database) -> None:
    async with database.writing() as connection:
        for name, values, _ in STORAGES:
            await put_storage(connection, storage_row(name=name, **values))
    found = await find(database, BackupStorageInventory, Query(sort="urgency", descending=True))
    shown = [(item["name"], item["urgency"]) for item in found.inventories or []]
    assert dict(shown) == {name: urgency for name, _, urgency in STORAGES}
    assert [urgency for _, urgency in shown] == sorted((urgency for *_, urgency in STORAGES), reverse=True)
