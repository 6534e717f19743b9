"""What is owed to agents: cleanups of storages that were deleted, were taken from a host, or may never arrive there."""

import time
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.model.records import AgentRecord, Tombstone
from bs_agent.management.store.agents import agents_behind, is_among, put_agents
from bs_agent.management.store.database import Database
from bs_agent.management.store.rows import columns_of, to_record, to_values
from bs_agent.management.store.tables import agent, tombstone


class Debts:
    """The tombstones in the database. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expect(self, record: AgentRecord, debt: Tombstone) -> None:
        """Write an agent, and what is owed to it unless a storage arrives, in place of what was owed of that before."""
        now = int(time.time())
        before = (tombstone.c.backupStorageUuid == debt.backupStorageUuid, tombstone.c.agentUuid == record.uuid)
        async with self._database.writing() as connection:
            await put_agents(connection, [record], now)
            await connection.execute(delete(tombstone).where(*before))
            await write_debts(connection, [debt], now)

    async def due(self, agent_uuid: str, now: int) -> list[Tombstone]:
        """Return the cleanups that are owed to an agent by now."""
        query = select(*columns_of(Tombstone)).where(tombstone.c.agentUuid == agent_uuid, tombstone.c.dueDate <= now)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(tombstone.c.createDate))).all()
        return [to_record(Tombstone, row) for row in rows]

    async def left(self, debt: Tombstone, record: AgentRecord, now: int) -> Tombstone | None:
        """Return what is left to be done for an agent of what it was owed.

        That is nothing if it was settled meanwhile, or if the agent serves the storage, or is about to, under whatever
        name its host is known. While the storage lives on elsewhere, only this host is cleaned.
        """
        mine = tombstone.c.commandUuid == debt.commandUuid
        async with self._database.writing() as connection:
            row = (await connection.execute(select(*columns_of(Tombstone)).where(mine))).one_or_none()
            serving = await agents_behind(connection, debt.backupStorageUuid)
            arriving = await _expected(connection, debt, now)
            if is_among(record, serving):
                await connection.execute(delete(tombstone).where(mine))
        if row is None or is_among(record, serving | arriving):
            return None
        current = to_record(Tombstone, row)
        return replace(current, hostOnly=True, removePool=None) if serving or arriving else current

    async def fall_due(self, command_uuid: str) -> None:
        """Let a cleanup be owed from now on."""
        async with self._database.writing() as connection:
            mine = tombstone.c.commandUuid == command_uuid
            await connection.execute(update(tombstone).where(mine).values(dueDate=0))

    async def try_again(self, debt: Tombstone, command_uuid: str, error: str) -> None:
        """Give a tombstone whose command has failed for good a new one; it is due."""
        async with self._database.writing() as connection:
            await connection.execute(
                update(tombstone)
                .where(tombstone.c.commandUuid == debt.commandUuid)
                .values(commandUuid=command_uuid, lastError=error, dueDate=0)
            )

    async def settle(self, command_uuid: str) -> None:
        """Remove a tombstone: its cleanup is done, or given up."""
        async with self._database.writing() as connection:
            await connection.execute(delete(tombstone).where(tombstone.c.commandUuid == command_uuid))

    async def expired(self, now: int) -> list[Tombstone]:
        """Return what has been owed for too long."""
        query = select(*columns_of(Tombstone)).where(tombstone.c.expiredDate < now)
        async with self._database.reading() as connection:
            return [to_record(Tombstone, row) for row in (await connection.execute(query)).all()]


async def write_debts(connection: AsyncConnection, debts: Sequence[Tombstone], now: int) -> None:
    """Write what is owed from now on."""
    if debts:
        await connection.execute(insert(tombstone), [to_values(debt) | {"createDate": now} for debt in debts])


async def settle_expected(connection: AsyncConnection, expected: Sequence[Tombstone], now: int) -> None:
    """Remove what was owed until now that the storage is there.

    Raises:
        StorageProblem: StorageBusy: some of it has fallen due, or the storage is expected anew.
    """
    uuids = [debt.commandUuid for debt in expected]
    in_time = delete(tombstone).where(tombstone.c.commandUuid.in_(uuids), tombstone.c.dueDate > now)
    if (await connection.execute(in_time)).rowcount < len(uuids):
        details = f"backup storage[uuid:{expected[0].backupStorageUuid}] took too long to come, or comes twice"
        raise StorageProblem.of(ReasonCode.STORAGE_BUSY, details)


async def _expected(connection: AsyncConnection, debt: Tombstone, now: int) -> set[tuple[str, str]]:
    """Return uuid and fingerprint of the agents on which the storage of another debt is still expected."""
    query = select(agent.c.uuid, agent.c.fingerprint).join(tombstone, tombstone.c.agentUuid == agent.c.uuid)
    of_storage = tombstone.c.backupStorageUuid == debt.backupStorageUuid
    others = tombstone.c.commandUuid != debt.commandUuid
    rows = await connection.execute(query.where(of_storage, others, tombstone.c.dueDate > now))
    return {(agent_uuid, fingerprint) for agent_uuid, fingerprint in rows}
