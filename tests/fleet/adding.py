"""Adds the machines of a simulated site to a management node: through its database, or by a call for each."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Table, insert, select

from bs_agent.client.sdk import AddImageStoreBackupStorageAction
from bs_agent.client.wire.transport import Client
from bs_agent.contract.enrollment import enrollment_id
from bs_agent.contract.report import IMAGESTORE
from bs_agent.management.secrets import Keyring
from bs_agent.management.store import tables
from bs_agent.management.store.database import Database
from bs_agent.management.store.rows import batched
from bs_agent.management.store.schema import migrate
from tests.fleet.behaviour import URL
from tests.fleet.machines import Machine

_AT_ONCE = 8

Rows = list[dict[str, Any]]
Progress = Callable[[int], None]


async def to_database(url: str, keyring: Keyring, machines: Sequence[Machine], port: int, progress: Progress) -> int:
    """Write what is not there yet, as if each had been added; return how many that were."""
    database = Database.connect(url)
    try:
        await migrate(database)
        async with database.reading() as connection:
            known = set((await connection.execute(select(tables.backup_storage.c.uuid))).scalars())
        new = [machine for machine in machines if machine.uuid not in known]
        written = 0
        for some in batched(new):
            async with database.writing() as connection:
                now = int(await database.now(connection))
                for table, rows in _rows(keyring, some, port, now):
                    await connection.execute(insert(table), rows)
            written += len(some)
            progress(written)
        return written
    finally:
        await database.close()


async def by_api(client: Client, machines: Sequence[Machine], port: int, progress: Progress) -> int:
    """Add those that are not there yet by a call for each, some at a time; return how many could not be added."""
    turns, added = asyncio.Semaphore(_AT_ONCE), itertools.count(1)
    failed = 0

    async def add(machine: Machine) -> None:
        nonlocal failed
        async with turns:
            action = AddImageStoreBackupStorageAction(name=machine.name, hostname=machine.host, url=URL)
            action.resourceUuid = machine.uuid
            action.systemTags = [f"agentEnrollment::{machine.code(port)}"]
            action.userTags = [_rack(machine)]
            result = await action.call_async(client)
            failed += result.error is not None
            progress(next(added))

    await asyncio.gather(*(add(machine) for machine in machines))
    return failed


def _rack(machine: Machine) -> str:
    return f"rack::{machine.number // 40}"


def _rows(keyring: Keyring, machines: Sequence[Machine], port: int, now: int) -> list[tuple[Table, Rows]]:
    dates = {"createDate": now, "lastOpDate": now}
    resources: Rows = []
    agents: Rows = []
    places: Rows = []
    storages: Rows = []
    hosts: Rows = []
    tags: Rows = []
    for machine in machines:
        uuid, at = machine.uuid, {"hostname": machine.host, "port": port}
        resources.append({"uuid": uuid, "type": "BackupStorageVO"})
        agents.append(
            {"uuid": uuid, **at, "fingerprint": machine.fingerprint, "enrollmentId": enrollment_id(machine.token)}
            | {"tokenSecret": keyring.encrypt(machine.token), "leaving": False, "createDate": now}
        )
        places.append({**at, "agentUuid": uuid})
        storages.append(
            {"uuid": uuid, "name": machine.name, "url": URL, "type": IMAGESTORE, "state": "Enabled"}
            | {"status": "Connected", "totalCapacity": 0, "availableCapacity": 0, "capacityStale": True, **dates}
            | {"hostname": machine.host, "sshPort": 22}
        )
        hosts.append(
            {"monUuid": uuid, "backupStorageUuid": uuid, "agentUuid": uuid, "hostname": machine.host, "sshPort": 22}
            | {"status": "Connected", "capacityFresh": False, **dates}
        )
        tags.append(
            {"uuid": f"{machine.number:032x}", "type": "User", "resourceUuid": uuid, "resourceType": "BackupStorageVO"}
            | {"tag": _rack(machine), **dates}
        )
    return [
        (tables.resource, resources), (tables.agent, agents), (tables.agent_address, places),
        (tables.backup_storage, storages), (tables.host, hosts), (tables.tag, tags),
    ]  # fmt: skip
