"""The SQL of debts: the clean-ups and forgettings that are owed to agents, due when their operation is gone."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.reasons import Reason
from bs_agent.management.model.records import Debt
from bs_agent.management.store.database import Database
from bs_agent.management.store.events import Event, storage_event, write_events
from bs_agent.management.store.leases import is_free
from bs_agent.management.store.operations import Held, OperationStore
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.rows import columns_of, to_json, to_record, to_values
from bs_agent.management.store.tables import debt, host, operation


@each_repeated
class DebtStore:
    """The debts in the database. Every method is one transaction."""

    def __init__(self, database: Database, operations: OperationStore) -> None:
        self._database = database
        self._operations = operations

    async def write(self, held: Held, debts: Sequence[Debt]) -> None:
        """Write debts of an operation under way.

        Raises:
            StorageProblem: StorageBusy: the operation has been taken over.
        """
        async with self._database.writing() as connection:
            await self._operations.confirm(connection, held)
            await write_debts(connection, debts, int(await self._database.now(connection)))

    async def due(self, agent_uuid: str) -> list[Debt]:
        """Return what is owed to an agent by operations that are gone."""
        async with self._database.reading() as connection:
            mine = (debt.c.agentUuid == agent_uuid, is_due(await self._database.now(connection)))
            rows = await connection.execute(select(*columns_of(Debt)).where(*mine).order_by(debt.c.createDate))
            return [to_record(Debt, row) for row in rows]

    async def of_storage(self, storage_uuid: str) -> list[Debt]:
        """Return the clean-ups of a storage that are owed."""
        query = select(*columns_of(Debt)).where(debt.c.backupStorageUuid == storage_uuid)
        async with self._database.reading() as connection:
            return [to_record(Debt, row) for row in await connection.execute(query.order_by(debt.c.createDate))]

    async def find(self, uuid: str) -> Debt | None:
        """Return a debt that is owed still."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(*columns_of(Debt)).where(debt.c.uuid == uuid))).one_or_none()
        return to_record(Debt, row) if row else None

    async def serving(self, storage_uuid: str) -> set[str | None]:
        """Return the uuids of the agents that serve a storage."""
        query = select(host.c.agentUuid).where(host.c.backupStorageUuid == storage_uuid)
        async with self._database.reading() as connection:
            return set((await connection.execute(query)).scalars())

    async def settle(self, uuid: str, *, paid: bool = False) -> None:
        """Remove a debt: it is paid, or nothing is owed any more."""
        async with self._database.writing() as connection:
            gone = delete(debt).where(debt.c.uuid == uuid).returning(*_TOLD)
            rows = (await connection.execute(gone)).all()
            if paid:
                now = await self._database.now(connection)
                await write_events(connection, now, [_event("DebtPaid", row) for row in rows])

    async def failed(self, uuid: str, reason: Reason, new_command: str = "") -> None:
        """Write why a debt could not be paid.

        With `new_command` it is paid by another command the next time: the agent would only repeat its answer.
        """
        async with self._database.writing() as connection:
            now = int(await self._database.now(connection))
            values: dict[str, Any] = {"lastReason": to_json(reason), "lastTryDate": now, "nextTryDate": None}
            if new_command:
                values["commandUuid"] = new_command
            await connection.execute(update(debt).where(debt.c.uuid == uuid).values(**values))

    async def put_off(self, agent_uuid: str, seconds: float) -> None:
        """Write that what is owed to an agent is not tried again before so many seconds from now."""
        async with self._database.writing() as connection:
            due = math.ceil(await self._database.now(connection) + seconds)
            mine = (debt.c.agentUuid == agent_uuid, debt.c.lastTryDate.is_not(None))
            await connection.execute(update(debt).where(*mine).values(nextTryDate=due))

    async def expire(self, seconds: float) -> list[Debt]:
        """Give up what has been owed for longer than so many seconds, and return it."""
        async with self._database.reading() as connection:
            old = debt.c.createDate < int(await self._database.now(connection) - seconds)
            if (await connection.execute(select(debt.c.uuid).where(old).limit(1))).first() is None:
                return []
        async with self._database.writing() as connection:
            old = debt.c.createDate < int(await self._database.now(connection) - seconds)
            rows = (await connection.execute(select(*columns_of(Debt)).where(old).with_for_update())).all()
            expired = [to_record(Debt, row) for row in rows]
            gone = delete(debt).where(debt.c.uuid.in_([one.uuid for one in expired])).returning(*_TOLD)
            given_up = [_event("DebtGivenUp", row) for row in await connection.execute(gone)]
            await write_events(connection, await self._database.now(connection), given_up)
        return expired


_TOLD: list[Any] = [debt.c.agentUuid, debt.c.backupStorageUuid, debt.c.backupStorageName, debt.c.lastReason]


def _event(type_: Literal["DebtPaid", "DebtGivenUp"], row: Row[Any]) -> Event:
    """Return what is told of a debt: a clean-up of its storage, a forgetting of its agent."""
    about = ("AgentVO", row.agentUuid, "")
    if row.backupStorageUuid:
        about = storage_event(row.backupStorageUuid, row.backupStorageName or "")
    why = row.lastReason if type_ == "DebtGivenUp" and row.lastReason else {}
    return Event(type_, about, code=why.get("code"), details=why.get("details"))


def is_due(now: float) -> ColumnElement[bool]:
    """Tell of debts whether their operation is gone."""
    mine = operation.c.uuid == debt.c.operationUuid
    return ~exists().where(mine, ~is_free(operation.c.leaseOwner, now)).correlate(debt)


async def write_debts(connection: AsyncConnection, debts: Sequence[Debt], now: int) -> None:
    """Write what is owed, in place of the clean-ups of the same storages that were owed to the same agents before."""
    for one in debts:
        if one.backupStorageUuid:
            same = (debt.c.backupStorageUuid == one.backupStorageUuid, debt.c.agentUuid == one.agentUuid)
            await connection.execute(delete(debt).where(*same))
        type_ = "Cleanup" if one.backupStorageUuid else "Forgetting"
        await connection.execute(insert(debt).values(**to_values(one), type=type_, createDate=now))


async def settle_arrived(connection: AsyncConnection, held: Held, storage_uuid: str) -> None:
    """Remove the clean-ups that an operation wrote in case that its storage would not arrive: it has."""
    mine = (debt.c.operationUuid == held.uuid, debt.c.backupStorageUuid == storage_uuid)
    serving = select(host.c.agentUuid).where(host.c.backupStorageUuid == storage_uuid)
    await connection.execute(delete(debt).where(*mine, debt.c.agentUuid.in_(serving)))
