"""What the use cases read and write of the mon hosts of a Ceph storage that is there already."""

import time
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import InvalidArgument, ResourceNotFound
from bs_agent.management.model.host_tags import host_key_tag
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord, Tombstone
from bs_agent.management.store.agents import put_agents
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import settle_expected, write_debts
from bs_agent.management.store.fleet import tag_rows
from bs_agent.management.store.rows import columns_of, to_record, to_values
from bs_agent.management.store.tables import agent, backup_storage, host, tag, tombstone


class Mons:
    """The mon hosts in the database. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def storages_of(self, agent_uuids: Iterable[str]) -> list[StorageRecord]:
        """Return the storages that have a host behind one of these agents."""
        behind = select(host.c.backupStorageUuid).where(host.c.agentUuid.in_(list(agent_uuids)))
        query = select(*columns_of(StorageRecord)).where(backup_storage.c.uuid.in_(behind))
        async with self._database.reading() as connection:
            return [to_record(StorageRecord, row) for row in (await connection.execute(query)).all()]

    async def owed(self, storage_uuid: str, hostnames: Iterable[str]) -> list[AgentRecord]:
        """Return the agents of these hosts that are owed a cleanup of a storage."""
        owed = select(tombstone.c.agentUuid).where(tombstone.c.backupStorageUuid == storage_uuid)
        query = select(*columns_of(AgentRecord)).where(agent.c.uuid.in_(owed), agent.c.hostname.in_(list(hostnames)))
        async with self._database.reading() as connection:
            return [to_record(AgentRecord, row) for row in (await connection.execute(query)).all()]

    async def add(
        self,
        storage_uuid: str,
        hosts: Sequence[HostRecord],
        agents: Iterable[AgentRecord],
        tags: Mapping[str, Iterable[str]],
        *,
        expected: Sequence[Tombstone] = (),
    ) -> None:
        """Add hosts to a storage, with their agents and tags; the storage was `expected` on them.

        Raises:
            ResourceNotFound: the storage has been deleted meanwhile.
            InvalidArgument: a host of this name has been added meanwhile.
            StorageProblem: StorageBusy: the storage is not expected on them any more.
        """
        now = int(time.time())
        locked = select(backup_storage.c.uuid).where(backup_storage.c.uuid == storage_uuid).with_for_update()
        async with self._database.writing() as connection:
            if not (await connection.execute(locked)).first():
                raise ResourceNotFound(f"backup storage[uuid:{storage_uuid}] has been deleted")
            taken = select(host.c.hostname).where(host.c.backupStorageUuid == storage_uuid)
            refuse_taken((await connection.execute(taken)).scalars(), [record.hostname for record in hosts])
            await put_agents(connection, agents, now)
            await connection.execute(
                insert(host), [to_values(record) | {"createDate": now, "lastOpDate": now} for record in hosts]
            )
            if rows := tag_rows(storage_uuid, tags, now):
                await connection.execute(insert(tag), rows)
            await settle_expected(connection, expected, now)

    async def remove(self, hosts: Sequence[HostRecord], owed: Sequence[Tombstone]) -> None:
        """Remove hosts of one storage and the tags that show their keys; what is owed to them is written with that."""
        now = int(time.time())
        async with self._database.writing() as connection:
            for record in hosts:
                await connection.execute(delete(host).where(host.c.monUuid == record.monUuid))
                shown = tag.c.tag.startswith(host_key_tag("", record.hostname), autoescape=True)
                await connection.execute(delete(tag).where(tag.c.resourceUuid == record.backupStorageUuid, shown))
            await write_debts(connection, owed, now)

    async def change(
        self,
        record: HostRecord,
        before: HostRecord,
        its_agent: AgentRecord,
        shown_key: str,
        *,
        owed: Sequence[Tombstone] = (),
        expected: Sequence[Tombstone] = (),
    ) -> None:
        """Write how a host is reached from now on; `shown_key` is the fingerprint of its SSH host key, if it was met.

        The storage was `expected` on it; what is `owed` for that to the agent before it is written, too.

        Raises:
            ResourceNotFound: the host has been removed meanwhile.
            StorageProblem: StorageBusy: the storage is not expected on it any more.
        """
        now = int(time.time())
        async with self._database.writing() as connection:
            await put_agents(connection, [its_agent], now)
            values = to_values(record) | {"lastOpDate": now}
            changed = await connection.execute(update(host).where(host.c.monUuid == record.monUuid).values(**values))
            if not changed.rowcount:
                raise ResourceNotFound(f"mon[uuid:{record.monUuid}] has been removed")
            await _show_key(connection, record, before, shown_key, now)
            await settle_expected(connection, expected, now)
            await write_debts(connection, owed, now)


async def _show_key(
    connection: AsyncConnection, record: HostRecord, before: HostRecord, shown_key: str, now: int
) -> None:
    """Show a host's pinned key in a tag: the one that was met now, or the known one under the host's present name."""
    was, is_now = host_key_tag("", before.hostname), host_key_tag("", record.hostname)
    of_host = (tag.c.resourceUuid == record.backupStorageUuid, tag.c.tag.startswith(was, autoescape=True))
    if shown_key:
        await connection.execute(delete(tag).where(*of_host))
        tags = {"system": [is_now + shown_key]}
        await connection.execute(insert(tag), tag_rows(record.backupStorageUuid, tags, now))
    elif was != is_now:
        await connection.execute(update(tag).where(*of_host).values(tag=func.replace(tag.c.tag, was, is_now)))


def refuse_taken(taken: Iterable[str], hostnames: Iterable[str]) -> None:
    """Refuse names of hosts that a storage has already.

    Raises:
        InvalidArgument: it has one.
    """
    if twice := sorted(set(taken) & set(hostnames)):
        raise InvalidArgument(f"the backup storage has these mon hosts already: {', '.join(twice)}")
