"""What the use cases read and write of the fleet: storages, their hosts, the agents there, and what is owed to them."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, exists, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import InvalidArgument
from bs_agent.management.model.host_tags import host_key_tag
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord, Tombstone
from bs_agent.management.store.agents import agents_behind, is_among, put_agents
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import settle_expected, write_debts
from bs_agent.management.store.rows import columns_of, to_record, to_values
from bs_agent.management.store.tables import agent, backup_storage, host, tag, tombstone

RESOURCE_TYPE = "BackupStorageVO"


class Fleet:
    """The fleet in the database. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def storage(self, storage_uuid: str) -> StorageRecord | None:
        """Return a storage, or None."""
        query = select(*columns_of(StorageRecord)).where(backup_storage.c.uuid == storage_uuid)
        async with self.database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return to_record(StorageRecord, row) if row else None

    async def hosts(self, storage_uuid: str) -> list[HostRecord]:
        """Return the hosts of a storage."""
        query = select(*columns_of(HostRecord)).where(host.c.backupStorageUuid == storage_uuid)
        async with self.database.reading() as connection:
            rows = (await connection.execute(query.order_by(host.c.createDate, host.c.monUuid))).all()
        return [to_record(HostRecord, row) for row in rows]

    async def host(self, mon_uuid: str) -> HostRecord | None:
        """Return one host, or None."""
        async with self.database.reading() as connection:
            row = (await connection.execute(select(*columns_of(HostRecord)).where(host.c.monUuid == mon_uuid))).first()
        return to_record(HostRecord, row) if row else None

    async def agents(self, uuids: Iterable[str | None]) -> dict[str, AgentRecord]:
        """Return agents by uuid."""
        query = select(*columns_of(AgentRecord)).where(agent.c.uuid.in_({known for known in uuids if known}))
        async with self.database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return {record.uuid: record for record in (to_record(AgentRecord, row) for row in rows)}

    async def find_agent(self, hostname: str, port: int, fingerprint: str) -> AgentRecord | None:
        """Return the agent that is known under this address and certificate, or None."""
        query = select(*columns_of(AgentRecord)).where(
            agent.c.hostname == hostname, agent.c.port == port, agent.c.fingerprint == fingerprint
        )
        async with self.database.reading() as connection:
            row = (await connection.execute(query.order_by(agent.c.createDate))).first()
        return to_record(AgentRecord, row) if row else None

    async def serves(self, record: AgentRecord, storage_uuid: str) -> bool:
        """Tell whether a storage has a host behind an agent, under whatever name the host is known."""
        async with self.database.reading() as connection:
            return is_among(record, await agents_behind(connection, storage_uuid))

    async def enrolled(self, enrollment_id: str) -> list[AgentRecord]:
        """Return the agents that are known by this enrolment: one, unless a host was added under several names."""
        query = select(*columns_of(AgentRecord)).where(agent.c.enrollmentId == enrollment_id)
        async with self.database.reading() as connection:
            return [to_record(AgentRecord, row) for row in (await connection.execute(query)).all()]

    async def directory_owner(self, agent_uuid: str, url: str) -> str | None:
        """Return the uuid of the storage that has this directory on this agent's host, or None."""
        async with self.database.reading() as connection:
            return await _directory_owner(connection, agent_uuid, url)

    async def pool_owner(self, fsid: str, pool: str, other_than: str = "") -> str | None:
        """Return the uuid of another storage that is this pool of this cluster, or None."""
        async with self.database.reading() as connection:
            return await _pool_owner(connection, fsid, pool, other_than)

    async def add(
        self,
        storage: StorageRecord,
        hosts: Sequence[HostRecord],
        agents: Iterable[AgentRecord],
        capacity: Mapping[str, Any],
        tags: Mapping[str, Iterable[str]],
        *,
        expected: Sequence[Tombstone] = (),
    ) -> None:
        """Add a storage with its hosts, their agents and its tags (by kind: system, user); it was `expected` on them.

        Raises:
            InvalidArgument: another storage has become the same directory or pool meanwhile.
            StorageProblem: StorageBusy: it is not expected any more.
        """
        now = int(time.time())
        dates = {"createDate": now, "lastOpDate": now}
        async with self.database.writing() as connection:
            if not self.database.is_sqlite:  # SQLite has one writer anyway
                await connection.execute(text("LOCK TABLE backup_storage IN SHARE ROW EXCLUSIVE MODE"))
            await _refuse_twice(connection, storage, hosts)
            await put_agents(connection, agents, now)
            await settle_expected(connection, expected, now)
            stale = not any(record.capacityFresh for record in hosts)
            values = {**to_values(storage), **capacity, "capacityStale": stale, **dates}
            await connection.execute(insert(backup_storage).values(values))
            await connection.execute(insert(host), [to_values(record) | dates for record in hosts])
            if rows := tag_rows(storage.uuid, tags, now):
                await connection.execute(insert(tag), rows)

    async def trust(self, record: AgentRecord, of: HostRecord, host_key: str, fingerprint: str) -> None:
        """Write what is trusted of a host now: its agent, and its SSH host key unless that is empty."""
        now = int(time.time())
        values: dict[str, Any] = {"agentUuid": record.uuid, "lastOpDate": now}
        async with self.database.writing() as connection:
            await put_agents(connection, [record], now)
            if host_key:
                values["sshHostKey"] = host_key
                hostname = of.hostname if of.monPort else ""
                prefix, shown = host_key_tag("", hostname), host_key_tag(fingerprint, hostname)
                shown_before = tag.c.tag.startswith(prefix, autoescape=True)
                await connection.execute(delete(tag).where(tag.c.resourceUuid == of.backupStorageUuid, shown_before))
                await connection.execute(insert(tag), tag_rows(of.backupStorageUuid, {"system": [shown]}, now))
            await connection.execute(update(host).where(host.c.monUuid == of.monUuid).values(**values))

    async def system_tags(self, storage_uuid: str) -> list[str]:
        """Return the system tags of a storage."""
        query = select(tag.c.tag).where(tag.c.resourceUuid == storage_uuid, tag.c.type == "System")
        async with self.database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def remove(self, storage_uuid: str, owe: Callable[[str], Tombstone]) -> list[str]:
        """Remove a storage with its hosts and tags; return the uuids of its agents.

        What `owe` tells for each of them is written in the same transaction.
        """
        now = int(time.time())
        locked = select(backup_storage.c.uuid).where(backup_storage.c.uuid == storage_uuid).with_for_update()
        async with self.database.writing() as connection:
            await connection.execute(locked)  # another node may just be adding a host
            agents = sorted(agent_uuid for agent_uuid, _ in await agents_behind(connection, storage_uuid))
            await connection.execute(delete(tag).where(tag.c.resourceUuid == storage_uuid))
            await connection.execute(delete(backup_storage).where(backup_storage.c.uuid == storage_uuid))
            await write_debts(connection, [owe(agent_uuid) for agent_uuid in agents], now)
        return agents

    async def unused_agents(self) -> list[AgentRecord]:
        """Return the agents that serve no storage and are owed nothing."""
        query = select(*columns_of(AgentRecord)).where(
            ~exists().where(host.c.agentUuid == agent.c.uuid), ~exists().where(tombstone.c.agentUuid == agent.c.uuid)
        )
        async with self.database.reading() as connection:
            return [to_record(AgentRecord, row) for row in (await connection.execute(query)).all()]

    async def remove_unused_agent(self, agent_uuid: str) -> bool:
        """Remove an agent unless it serves a storage or is owed something by now; tell whether it is gone."""
        statement = delete(agent).where(
            agent.c.uuid == agent_uuid,
            ~exists().where(host.c.agentUuid == agent.c.uuid),
            ~exists().where(tombstone.c.agentUuid == agent.c.uuid),
        )
        async with self.database.writing() as connection:
            return (await connection.execute(statement)).rowcount > 0


def tag_rows(storage_uuid: str, tags: Mapping[str, Iterable[str]], now: int) -> list[dict[str, Any]]:
    """Return the rows of tags, which are given by kind: system, user."""
    common = {"resourceUuid": storage_uuid, "resourceType": RESOURCE_TYPE, "createDate": now, "lastOpDate": now}
    named = [(kind, one) for kind, several in tags.items() for one in several]
    return [{"uuid": uuid.uuid4().hex, "type": kind.capitalize(), "tag": one} | common for kind, one in named]


async def _refuse_twice(connection: AsyncConnection, storage: StorageRecord, hosts: Sequence[HostRecord]) -> None:
    if storage.fsid and storage.poolName:
        owner = await _pool_owner(connection, storage.fsid, storage.poolName, storage.uuid)
        refuse_pool(storage.fsid, storage.poolName, owner)
    else:
        for record in hosts:
            if record.agentUuid:
                owner = await _directory_owner(connection, record.agentUuid, storage.url)
                refuse_directory(storage.url, record.hostname, owner)


def refuse_directory(url: str, hostname: str, owner: str | None) -> None:
    """Refuse a directory that another storage owns.

    Raises:
        InvalidArgument: there is an owner.
    """
    if owner:
        raise InvalidArgument(f"the directory {url} of host {hostname} is backup storage[uuid:{owner}] already")


def refuse_pool(fsid: str, pool: str, owner: str | None) -> None:
    """Refuse a pool that another storage owns.

    Raises:
        InvalidArgument: there is an owner.
    """
    if owner:
        raise InvalidArgument(f"the pool {pool} of cluster {fsid} is backup storage[uuid:{owner}] already")


async def _directory_owner(connection: AsyncConnection, agent_uuid: str, url: str) -> str | None:
    query = (
        select(backup_storage.c.uuid)
        .join(host, host.c.backupStorageUuid == backup_storage.c.uuid)
        .where(host.c.agentUuid == agent_uuid, backup_storage.c.url == url)
    )
    return (await connection.execute(query)).scalars().first()


async def _pool_owner(connection: AsyncConnection, fsid: str, pool: str, other_than: str) -> str | None:
    query = select(backup_storage.c.uuid).where(
        backup_storage.c.fsid == fsid, backup_storage.c.poolName == pool, backup_storage.c.uuid != other_than
    )
    return (await connection.execute(query)).scalars().first()
