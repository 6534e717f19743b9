"""The SQL of hosts: the part that each agent plays in a storage, and what is trusted of it over SSH."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import InvalidArgument, ResourceNotFound
from bs_agent.management.model.host_tags import host_key_tag
from bs_agent.management.model.records import AgentRecord, Debt, HostRecord
from bs_agent.management.store.agents import put_place
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import settle_arrived, write_debts
from bs_agent.management.store.operations import Held, OperationStore
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.rows import columns_of, to_record, to_values
from bs_agent.management.store.tables import host, tag
from bs_agent.management.store.tags import Tagged, put_tags, shown_keys

_HEALTH = {"status", "statusReason", "capacityFresh"}  # the intake writes those


@each_repeated
class HostStore:
    """The hosts in the database. Every method is one transaction."""

    def __init__(self, database: Database, operations: OperationStore) -> None:
        self._database = database
        self._operations = operations

    async def of(self, storage_uuid: str) -> list[HostRecord]:
        """Return the hosts of a storage."""
        query = select(*columns_of(HostRecord)).where(host.c.backupStorageUuid == storage_uuid)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(host.c.createDate, host.c.monUuid))).all()
        return [to_record(HostRecord, row) for row in rows]

    async def find(self, mon_uuid: str) -> HostRecord | None:
        """Return one host, or None."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(*columns_of(HostRecord)).where(host.c.monUuid == mon_uuid))).first()
        return to_record(HostRecord, row) if row else None

    async def add(
        self, held: Held, hosts: Sequence[HostRecord], agents: Sequence[AgentRecord], keys: list[str]
    ) -> None:
        """Add hosts to a storage that is there, with the tags that show their keys.

        Raises:
            StorageProblem: StorageBusy: the operation has been taken over.
            InvalidArgument: two of the hosts are one machine.
        """
        with one_machine():
            async with self._database.writing() as connection:
                await self._operations.confirm(connection, held)
                now = int(await self._database.now(connection))
                await write_hosts(connection, hosts, agents, now)
                storage_uuid = hosts[0].backupStorageUuid
                await put_tags(connection, Tagged("BackupStorageVO", storage_uuid), "System", keys)
                await settle_arrived(connection, held, storage_uuid)

    async def remove(self, held: Held, hosts: Sequence[HostRecord], debts: Sequence[Debt]) -> None:
        """Remove hosts of one storage and the tags that show their keys; the debts are written with that.

        Raises:
            StorageProblem: StorageBusy: the operation has been taken over.
        """
        async with self._database.writing() as connection:
            await self._operations.confirm(connection, held)
            for record in hosts:
                await connection.execute(delete(host).where(host.c.monUuid == record.monUuid))
                await connection.execute(delete(tag).where(shown_keys(record.backupStorageUuid, record.hostname)))
            await write_debts(connection, debts, int(await self._database.now(connection)))

    async def change(
        self,
        held: Held,
        record: HostRecord,
        before: HostRecord,
        its: AgentRecord,
        *,
        key: str,
        debts: Sequence[Debt] = (),
    ) -> None:
        """Write how a host is reached from now on; `key` is the fingerprint of its SSH host key, if it was met now.

        Raises:
            StorageProblem: StorageBusy: the operation has been taken over.
            ResourceNotFound: the host is not there any more.
            InvalidArgument: the storage has a host on that machine already.
        """
        with one_machine():
            async with self._database.writing() as connection:
                await self._operations.confirm(connection, held)
                now = int(await self._database.now(connection))
                values = {name: value for name, value in to_values(record).items() if name not in _HEALTH}
                values["lastOpDate"] = now
                mine = update(host).where(host.c.monUuid == record.monUuid)
                if not (await connection.execute(mine.values(**values))).rowcount:
                    raise ResourceNotFound(f"host[uuid:{record.monUuid}] has been removed")
                await put_place(connection, its.uuid, (record.hostname, its.port))
                await _show_key(connection, record, before.hostname, key)
                await settle_arrived(connection, held, record.backupStorageUuid)
                await write_debts(connection, debts, now)


async def write_hosts(
    connection: AsyncConnection, hosts: Sequence[HostRecord], agents: Sequence[AgentRecord], now: int
) -> None:
    """Write hosts and where their agents are reached; an agent that was about to leave stays."""
    ports = {record.uuid: record.port for record in agents}
    dates = {"createDate": now, "lastOpDate": now}
    await connection.execute(insert(host), [to_values(record) | dates for record in hosts])
    for record in sorted(hosts, key=lambda one: one.hostname):  # in one order, so that nobody waits for each other
        if record.agentUuid:
            await put_place(connection, record.agentUuid, (record.hostname, ports[record.agentUuid]))


@contextmanager
def one_machine() -> Iterator[None]:
    """Say what it means when a storage would have two hosts behind one agent.

    Raises:
        InvalidArgument: it would.
    """
    try:
        yield
    except IntegrityError:
        details = "two of the hosts are one machine: the same agent answers; a backup storage has one host on a machine"
        raise InvalidArgument(details) from None


async def _show_key(connection: AsyncConnection, record: HostRecord, name_before: str, key: str) -> None:
    """Show a host's pinned key in a tag: the one that was met now, or the known one under the host's present name."""
    storage = Tagged("BackupStorageVO", record.backupStorageUuid)
    # A storage of one host shows its key without the host's name.
    was, now = (name if record.monPort else "" for name in (name_before, record.hostname))
    if key:
        await connection.execute(delete(tag).where(shown_keys(storage.uuid, was)))
        await put_tags(connection, storage, "System", [host_key_tag(key, now)])
    elif was != now:
        renamed = func.replace(tag.c.tag, host_key_tag("", was), host_key_tag("", now))
        await connection.execute(update(tag).where(shown_keys(storage.uuid, was)).values(tag=renamed))
