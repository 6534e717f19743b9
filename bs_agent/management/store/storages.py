"""The SQL of backup storages: what operations read and write of them, what is changed and summed up without them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, func, insert, or_, select, union, update
from sqlalchemy.exc import IntegrityError

from bs_agent.contract.errors import InvalidArgument
from bs_agent.management.model.records import AgentRecord, Debt, HostRecord, StorageRecord
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import settle_arrived, write_debts
from bs_agent.management.store.events import Event, storage_event, write_events
from bs_agent.management.store.history import write_history
from bs_agent.management.store.hosts import one_machine, write_hosts
from bs_agent.management.store.operations import Held, OperationStore
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.resources import claim, refuse_taken_uuid, release
from bs_agent.management.store.rows import columns_of, to_record, to_values
from bs_agent.management.store.tables import backup_storage, backup_storage_zone, host, tag
from bs_agent.management.store.tags import Tagged, put_tags

_PART = 2**30


class Capacity(NamedTuple):
    """Sums, in bytes."""

    total: int
    available: int


@each_repeated
class OperatedStore:
    """The storages as operations read and write them. Every method is one transaction."""

    def __init__(self, database: Database, operations: OperationStore) -> None:
        self._database = database
        self._operations = operations

    async def find(self, uuid: str) -> StorageRecord | None:
        """Return a storage, or None."""
        query = select(*columns_of(StorageRecord)).where(backup_storage.c.uuid == uuid)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return to_record(StorageRecord, row) if row else None

    async def behind(self, agent_uuids: Iterable[str]) -> list[StorageRecord]:
        """Return the storages that have a host behind one of these agents."""
        of_them = select(host.c.backupStorageUuid).where(host.c.agentUuid.in_(list(agent_uuids)))
        query = select(*columns_of(StorageRecord)).where(backup_storage.c.uuid.in_(of_them))
        async with self._database.reading() as connection:
            return [to_record(StorageRecord, row) for row in (await connection.execute(query)).all()]

    async def pool_owner(self, storage: StorageRecord) -> str | None:
        """Return the uuid of another storage that is the same pool of the same cluster, or None.

        That is one of the same name, or of the same number: a pool that was renamed stays the one that it was.
        """
        table = backup_storage.c
        same = (table.fsid == storage.fsid, table.uuid != storage.uuid)
        pool = table.poolName == storage.poolName
        if storage.poolId is not None:
            pool = or_(pool, table.poolId == storage.poolId)
        async with self._database.reading() as connection:
            return (await connection.execute(select(table.uuid).where(*same, pool))).scalars().first()

    async def system_tags(self, uuid: str) -> list[str]:
        """Return the system tags of a storage."""
        query = select(tag.c.tag).where(tag.c.resourceUuid == uuid, tag.c.type == "System")
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def refuse_taken(self, uuid: str | None) -> None:
        """See that nothing has the uuid that a caller wants for a new storage, if it wants one.

        Raises:
            InvalidArgument: something has it.
        """
        if uuid:
            await refuse_taken_uuid(self._database, uuid)

    async def add(
        self,
        held: Held,
        storage: StorageRecord,
        hosts: Sequence[HostRecord],
        agents: Sequence[AgentRecord],
        *,
        capacity: Mapping[str, Any],
        tags: Mapping[str, Iterable[str]],
    ) -> None:
        """Add a storage with its hosts and its tags (by kind: System, User), which it does not owe to be cleaned then.

        Raises:
            StorageProblem: StorageBusy: the operation has been taken over.
            InvalidArgument: another storage is the same pool, or has the uuid; or two of the hosts are one machine.
        """
        with one_machine():
            async with self._database.writing() as connection:
                await self._operations.confirm(connection, held)
                now = int(await self._database.now(connection))
                stale = not any(record.capacityFresh for record in hosts)
                dates = {"createDate": now, "lastOpDate": now}
                measured = {"capacityDate": now} | ({"poolCapacityDate": now} if "poolStored" in capacity else {})
                values = {**to_values(storage), **measured, **capacity, "capacityStale": stale, **dates}
                await claim(connection, "BackupStorageVO", storage.uuid)
                try:
                    await connection.execute(insert(backup_storage).values(values))
                except IntegrityError:
                    raise InvalidArgument(f"the pool {storage.poolName} of cluster {storage.fsid} is taken") from None
                await write_history(connection, now, {storage.uuid: values}, {})
                await write_hosts(connection, hosts, agents, now)
                for kind in ("System", "User"):
                    await put_tags(connection, Tagged("BackupStorageVO", storage.uuid), kind, tags.get(kind, ()))
                await settle_arrived(connection, held, storage.uuid)

    async def remove(self, held: Held, uuid: str, debts: Sequence[Debt]) -> None:
        """Remove a storage with its hosts and tags; the debts are written with that.

        Raises:
            StorageProblem: StorageBusy: the operation has been taken over.
        """
        async with self._database.writing() as connection:
            await self._operations.confirm(connection, held)
            await release(connection, "BackupStorageVO", uuid)
            await write_debts(connection, debts, int(await self._database.now(connection)))


@each_repeated
class StorageStore:
    """Changes and sums up backup storages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, uuid: str, values: Mapping[str, str]) -> bool:
        """Write columns of a storage; False when there is none."""
        mine = backup_storage.c.uuid == uuid
        before = select(backup_storage.c.name, backup_storage.c.state).where(mine).with_for_update()
        async with self._database.writing() as connection:
            row = (await connection.execute(before)).first()
            if row is None:
                return False
            now = await self._database.now(connection)
            await connection.execute(update(backup_storage).where(mine).values(**values, lastOpDate=int(now)))
            if values.get("state", row.state) != row.state:
                about = storage_event(uuid, row.name)
                await write_events(connection, now, [Event("StateChanged", about, row.state, values["state"])])
        return True

    async def capacity(self, uuids: Sequence[str] = (), zone_uuids: Sequence[str] = (), *, every: bool) -> Capacity:
        """Sum up the storages named, those of the zones, or every one; each counts once, unknown ones not at all."""
        table, attached = backup_storage.c, backup_storage_zone.c
        # Both at once by OR would read every storage.
        which = [select(table.uuid).where(table.uuid.in_(uuids))] if uuids or not zone_uuids else []
        if zone_uuids:
            which.append(select(attached.backupStorageUuid).where(attached.zoneUuid.in_(zone_uuids)))
        sums = [*_sum(backup_storage.c.totalCapacity), *_sum(backup_storage.c.availableCapacity)]
        query = select(*(func.coalesce(part, 0) for part in sums))
        async with self._database.reading() as connection:
            parts = (await connection.execute(query if every else query.where(table.uuid.in_(union(*which))))).one()
        total, total_rest, available, available_rest = (int(part) for part in parts)
        return Capacity(total * _PART + total_rest, available * _PART + available_rest)


def refuse_directory(url: str, hostname: str, owner: str | None) -> None:
    """Refuse a directory that another storage owns.

    Raises:
        InvalidArgument: there is an owner.
    """
    if owner:
        raise InvalidArgument(
            f"the directory {url} of host {hostname} is backup storage[uuid:{owner}] already; "
            "reconnect or delete that one, or name another directory"
        )


def refuse_pool(fsid: str, pool: str, owner: str | None) -> None:
    """Refuse a pool that another storage owns.

    Raises:
        InvalidArgument: there is an owner.
    """
    if owner:
        raise InvalidArgument(
            f"the pool {pool} of cluster {fsid} is backup storage[uuid:{owner}] already; "
            "reconnect or delete that one, or name another pool"
        )


def _sum(column: Column[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    # In two parts: SQLite refuses a sum of more than 2**63, which some hundred large clusters reach.
    return func.sum(column // _PART), func.sum(column % _PART)
