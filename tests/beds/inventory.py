"""A database of as many backup storages as a test wants, with all that belongs to them: hosts, agents, tags, zones.

One in ten is a Ceph pool of three mons, one in twenty is away, and a hundred share a host. Each has a system tag, a
user tag that 40 of them have in common, and the row of the operation that has added it.
"""

from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from sqlalchemy import Table, insert

from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.management.store import tables
from bs_agent.management.store.database import Database

ZONES, A_RACK, A_HOST = 10, 40, 110
ZONE = f"{3:032}"
"""The uuid of one of the zones."""

Rows = list[dict[str, Any]]

_ON_SQLITE = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
_ON_POSTGRESQL = """
SELECT indexname, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = indexname)
"""
_DATES = {"createDate": 1600000000, "lastOpDate": 1600000000}


def storages(count: int) -> Rows:
    """Return the rows of so many storages."""
    fixed = {"url": "/zstack_imagestore", "state": "Enabled", "description": "images", "capacityStale": False}
    fixed |= {"totalCapacity": 9992857976832, "capacityDate": 1700000000, "lastOpDate": 1700000001}
    rows = []
    for number in range(count):
        uuid = UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).hex
        row: dict[str, Any] = fixed | {"uuid": uuid, "name": f"store-{number}", "createDate": 1600000000 + number}
        row |= {"availableCapacity": 10**12 + number, "status": "Connected" if number % 20 else "Disconnected"}
        ceph = number % 10 == 0
        row |= {"type": CEPH if ceph else IMAGESTORE, "sshPort": None if ceph else 22}
        row |= {"hostname": None if ceph else f"host-{number % max(10, count // A_HOST)}"}
        row |= {"username": None if ceph else "root", "fsid": str(UUID(uuid)) if ceph else None}
        rows.append(row | {"poolName": "bak" if ceph else None, "poolMaxAvail": number if ceph else None})
    return rows


async def fill(database: Database, rows: Rows, *, agents: bool = True) -> None:
    """Write the storages with all that belongs to them into an empty database, and let it see how they lie.

    Without `agents` nobody is there to be polled.
    """
    zone = {"description": None, "state": "Enabled", "type": "zstack", "isDefault": False} | _DATES
    zones = [zone | {"uuid": f"{number + 1:032}", "name": f"zone-{number}"} for number in range(ZONES)]
    refs = [{"backupStorageUuid": row["uuid"], "zoneUuid": f"{at % ZONES + 1:032}"} for at, row in enumerate(rows)]
    hosts = _hosts(rows)
    of_agents = _agents(sorted({row["hostname"] for row in hosts})) if agents else []
    if not agents:
        hosts = [row | {"agentUuid": None} for row in hosts]
    content: tuple[tuple[Table, Rows], ...] = (
        (tables.resource, [{"uuid": row["uuid"], "type": "ZoneVO"} for row in zones]),
        (tables.resource, [{"uuid": row["uuid"], "type": "BackupStorageVO"} for row in rows]),
        (tables.zone, zones),
        (tables.backup_storage, rows),
        (tables.backup_storage_zone, refs),
        *of_agents,
        (tables.host, hosts),
        (tables.tag, _tags(rows)),
        (tables.operation, _operations(rows)),
    )
    async with database.writing() as connection:
        # To make an index of what is there takes a third of the time of keeping it while rows come.
        found = await connection.exec_driver_sql(_ON_SQLITE if database.is_sqlite else _ON_POSTGRESQL)
        indexes = {str(name): str(made_by) for name, made_by in map(tuple, found)}
        for name in indexes:
            await connection.exec_driver_sql(f'DROP INDEX "{name}"')
        for table, entries in content:
            for start in range(0, len(entries), 5000):
                await connection.execute(insert(table), entries[start : start + 5000])
        for made_by in indexes.values():
            await connection.exec_driver_sql(made_by)
    if not database.is_sqlite:
        async with database.engine.connect() as connection:
            own = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await own.exec_driver_sql("VACUUM ANALYZE")


def agent_of(hostname: str) -> str:
    """Return the uuid of the agent on a host."""
    return uuid5(NAMESPACE_DNS, hostname).hex


def _hosts(rows: Rows) -> Rows:
    fixed = {"sshPort": 22, "sshUsername": "root", "capacityFresh": True, **_DATES}
    hosts = []
    for at, row in enumerate(rows):
        ceph = row["type"] == CEPH
        for each in range(3 if ceph else 1):
            # As the clusters of a site: each has mon hosts of its own.
            name = f"mon-{at}-{each}" if ceph else row["hostname"]
            mon = {"monAddr": f"10.0.{at // 250 % 250}.{at % 250}", "monPort": 6789} if ceph else {}
            uuids = {"monUuid": f"{at * 3 + each:032x}", "backupStorageUuid": row["uuid"], "agentUuid": agent_of(name)}
            hosts.append(
                fixed | {"monAddr": None, "monPort": None} | mon | uuids | {"hostname": name, "status": row["status"]}
            )
    return hosts


def _agents(names: list[str]) -> list[tuple[Table, Rows]]:
    fixed = {"port": 7765, "tokenSecret": "secret", "leaving": False, "createDate": 1600000000}
    agents = []
    for name in names:
        uuid = agent_of(name)
        agents.append(
            fixed | {"uuid": uuid, "hostname": name, "fingerprint": uuid, "enrollmentId": uuid, "bootId": uuid}
        )
    places = [{"hostname": row["hostname"], "port": row["port"], "agentUuid": row["uuid"]} for row in agents]
    return [(tables.agent, agents), (tables.agent_address, places)]


def _tags(rows: Rows) -> Rows:
    fixed = {"resourceType": "BackupStorageVO", **_DATES}
    shown = [("System", "sshHostKey::SHA256:{uuid}"), ("User", "rack::{rack}")]
    return [
        fixed
        | {"uuid": f"{kind == 'User':d}{at:031x}", "type": kind, "resourceUuid": row["uuid"]}
        | {"tag": text.format(uuid=row["uuid"], rack=at // A_RACK)}
        for at, row in enumerate(rows)
        for kind, text in shown
    ]


def _operations(rows: Rows) -> Rows:
    fixed = {"kind": "add", "variant": "", "leaseOwner": None, "lastOpDate": 1600000000}
    return [
        fixed | {"key": f"storage:{row['uuid']}", "uuid": f"{at:032x}", "number": at} for at, row in enumerate(rows)
    ]
