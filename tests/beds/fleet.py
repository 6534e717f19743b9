"""The fleet's side of a management node on a database of its own, looked at through the rows that queries read."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select

from bs_agent.contract.api import AddImageStoreParameters
from bs_agent.contract.inventory import BackupStorageInventory
from bs_agent.contract.report import Enrollment
from bs_agent.management.config import ManagementSettings
from bs_agent.management.fleet import FleetService, open_fleet
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.agents import AgentStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import Node
from bs_agent.management.store.operations import OperationStore
from bs_agent.management.store.queries import find_one
from bs_agent.management.store.schema import migrate
from bs_agent.management.store.storages import OperatedStore
from bs_agent.management.store.tables import debt
from tests.beds.databases import sqlite_with_tables

DEADLINE = 60.0
POLL = {"interval": 0.5, "timeout": 0.5}


@dataclass
class FleetBed:
    """A running fleet service."""

    service: FleetService
    database: Database
    node: Node

    async def shown(self, uuid: str) -> dict[str, Any] | None:
        """Return a storage as the public API shows it, or None."""
        found = await find_one(self.database, BackupStorageInventory, uuid)
        return found.inventories[0] if found.inventories else None

    async def status(self, uuid: str) -> tuple[str, str]:
        """Return a storage's status and the code of its reason."""
        shown = await self.shown(uuid)
        if shown is None:
            return "gone", ""
        return shown["status"], shown.get("statusReason", {}).get("code", "")

    async def owed(self) -> list[AgentRecord]:
        """Return the agents that are owed something, each as often."""
        async with self.database.reading() as connection:
            uuids = (await connection.execute(select(debt.c.agentUuid))).scalars().all()
        agents = await AgentStore(self.database, OperationStore(self.database, self.node.uuid)).find(uuids)
        return [agents[uuid] for uuid in uuids]

    async def system_tags(self, uuid: str) -> list[str]:
        """Return the system tags of a storage."""
        return await OperatedStore(self.database, OperationStore(self.database, self.node.uuid)).system_tags(uuid)

    async def reaches(self, uuid: str, *wanted: tuple[str, str]) -> None:
        """Wait until a storage has one of these statuses and reasons."""

        async def there() -> bool:
            return await self.status(uuid) in wanted

        await until(there, lambda: self.status(uuid))


async def until(
    condition: Callable[[], Awaitable[bool]],
    explain: Callable[[], Awaitable[object]] | None = None,
    seconds: float = DEADLINE,
) -> None:
    """Wait until the condition holds, or fail and say how it is instead."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still: {await explain()}" if explain else "the condition does not come true")
        await asyncio.sleep(0.02)


@asynccontextmanager
async def fleet(folder: Path, url: str = "", **settings: dict[str, Any]) -> AsyncIterator[FleetBed]:
    """Run a fleet service on the SQLite database in `folder`, or that of `url`, which several may share.

    Polls are quick unless `poll` says otherwise.
    """
    values = {"poll": POLL, **settings}
    database = Database.connect(url or sqlite_with_tables(folder))
    if url:
        await migrate(database)
    try:
        wanted = ManagementSettings.model_validate(values)
        async with (
            Node.open(database, wanted.database.lease) as node,
            open_fleet(database, Keyring.open(folder), wanted, node) as service,
        ):
            yield FleetBed(service, database, node)
    finally:
        await database.close()


def image_store(directory: Path, enrollment: Enrollment | None = None, **more: Any) -> AddImageStoreParameters:
    """Return the parameters that add a directory of this host."""
    tags = [f"agentEnrollment::{enrollment.code}"] if enrollment else []
    values: dict[str, Any] = {"name": directory.name, "hostname": "127.0.0.1", "url": str(directory)}
    return AddImageStoreParameters(**{**values, "systemTags": tags, "password": SecretStr(""), **more})
