"""How the databases read what is asked of agents, debts, jobs and events: by an index, as they read storages."""

import re
from typing import Any

import pytest
from sqlalchemy import Table, insert

from bs_agent.contract.inventory import AgentInventory, DebtInventory, EventInventory, Inventory, JobInventory
from bs_agent.management.store.database import Database
from bs_agent.management.store.past_tables import event
from bs_agent.management.store.tables import agent, debt, job
from bs_agent.management.store.upkeep import learn
from tests.management.store.test_plans import asking, plans

pytestmark = pytest.mark.asyncio

COUNT = 1000
DATE = 1_700_000_000


def _jobs() -> list[dict[str, Any]]:
    return [
        {"uuid": f"{at:032x}", "apiName": "DeleteBackupStorage", "accountUuid": f"{at % 3:032x}"}
        | {"state": "Failed" if at % 9 else "Done", "errorCode": f"SYS.{at}" if at % 9 else None}
        | {"resourceUuid": f"{at % 100:032x}", "createDate": DATE + at, "endDate": DATE + at, "lastOpDate": DATE}
        for at in range(COUNT)
    ]


def _agents() -> list[dict[str, Any]]:
    return [
        {"uuid": f"{at:032x}", "hostname": f"host-{at}", "port": 7765, "fingerprint": f"{at:064x}", "tokenSecret": "x"}
        | {"enrollmentId": f"{at:032x}", "leaving": False, "createDate": DATE + at, "version": f"0.{at % 7}"}
        | {"status": "Connected" if at % 50 else "Disconnected", "missedPolls": 0 if at % 50 else at}
        | {"certificateEndDate": DATE + at, "bootId": f"{at:036}", "lastPushDate": DATE + at}
        for at in range(COUNT)
    ]


def _debts() -> list[dict[str, Any]]:
    return [
        {"uuid": f"{at:032x}", "type": "Cleanup" if at % 9 else "Forgetting", "agentUuid": f"{at:032x}"}
        | {"operationUuid": f"{at:032x}", "commandUuid": f"{at:032x}", "backupStorageUuid": f"{at:032x}"}
        | {"backupStorageName": f"store-{at}", "hostOnly": False, "createDate": DATE + at, "nextTryDate": DATE + at}
        for at in range(COUNT)
    ]


def _events() -> list[dict[str, Any]]:
    return [
        {"uuid": f"{at:032x}", "type": "StatusChanged" if at % 9 else "LogIn", "createDate": DATE + at}
        | {"resourceUuid": f"{at % 100:032x}", "resourceName": f"store-{at % 100}", "accountName": f"account-{at % 5}"}
        | {"accountUuid": f"{at % 5:032x}", "address": f"10.0.0.{at % 5}", "newValue": "Connected"}
        | {"operation": "add", "operationUuid": f"{at:032x}", "outcome": "Failed", "code": f"Code{at % 50}"}
        for at in range(COUNT)
    ]


TABLES: dict[type[Inventory], tuple[Table, list[dict[str, Any]]]] = {
    JobInventory: (job, _jobs()),
    AgentInventory: (agent, _agents()),
    DebtInventory: (debt, _debts()),
    EventInventory: (event, _events()),
}
ASKED: dict[type[Inventory], list[str]] = {
    JobInventory: [
        f"q=uuid={7:032x}", f"q=accountUuid={7:032x}", f"q=resourceUuid={7:032x}", "q=apiName=AddBackupStorage",
        "q=state=Running", "q=errorCode=SYS.77", "q=endDate is null", "q=createDate<2001-01-01T00:00:00Z",
        "sort=-createDate", "sort=createDate", "sort=-endDate", "sort=apiName", "sort=state", "sort=resourceUuid",
        "sort=-createDate&start=900", "count=true&q=state=Running",
    ],
    AgentInventory: [
        f"q=uuid={7:032x}", "q=hostname=host-7", "q=hostnames=host-7", "q=status=Disconnected", "q=version=0.9",
        f"q=fingerprint={7:064x}", f"q=nextFingerprint={7:064x}", f"q=bootId={7:036}", "q=missedPolls>900",
        "q=certificateEndDate<2001-01-01T00:00:00Z", "q=lastPushDate<2001-01-01T00:00:00Z", "q=port=1",
        f"q=backupStorageUuids={7:032x}", "sort=hostname", "sort=-missedPolls", "sort=certificateEndDate",
        "sort=-createDate", "sort=status", "sort=version", "sort=lastPushDate",
    ],
    DebtInventory: [
        f"q=uuid={7:032x}", f"q=agentUuid={7:032x}", f"q=backupStorageUuid={7:032x}", "q=backupStorageName=store-7",
        "q=type=Forgetting", "q=agent.hostname=host-7", "q=createDate<2001-01-01T00:00:00Z",
        "q=nextTryDate<2001-01-01T00:00:00Z", "sort=createDate", "sort=-createDate", "sort=backupStorageName",
        "sort=type", "sort=nextTryDate",
    ],
    EventInventory: [
        f"q=uuid={7:032x}", "q=type=LogIn", f"q=resourceUuid={7:032x}", "q=resourceName=store-7",
        f"q=accountUuid={7:032x}", "q=accountName=nobody", "q=address=10.0.0.9", "q=newValue=Disconnected",
        "q=operation=delete", f"q=operationUuid={7:032x}", "q=outcome=Lost", "q=code=Code7",
        "q=createDate<2001-01-01T00:00:00Z", "sort=-createDate", "sort=createDate", "sort=-uuid", "sort=type",
        f"q=resourceUuid={7:032x}&sort=-createDate", "sort=resourceName",
    ],
}  # fmt: skip


@pytest.mark.parametrize("inventory", ASKED, ids=lambda inventory: inventory.__name__)
async def test_what_is_asked_of_these_is_found_by_an_index(database: Database, inventory: type[Inventory]) -> None:
    table, rows = TABLES[inventory]
    async with database.writing() as connection:
        if table is debt:
            await connection.execute(insert(agent), _agents())
        await connection.execute(insert(table), rows)
    await learn(database, -1)
    for text in ASKED[inventory]:
        first, *_ = await plans(database, asking(database, inventory, text))
        assert not re.search(rf"^\s*SCAN {table.name}$|Seq Scan on {table.name}\b", first, re.MULTILINE), (text, first)
        if text.startswith("sort=") and "start=" not in text:
            assert not re.search(r"USE TEMP B-TREE FOR (?:RIGHT PART OF )?ORDER BY|\bSort Key", first), (text, first)
