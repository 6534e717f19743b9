"""The SQL of agents: which machine is which, where it is reached, by which enrolment, and when it is needed no more."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.management.model.records import AgentRecord, Debt
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import write_debts
from bs_agent.management.store.events import Event, write_events
from bs_agent.management.store.operations import Held, OperationStore
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.rows import columns_of, to_record, to_values
from bs_agent.management.store.tables import agent, agent_address, debt, host

Place = tuple[str, int]
"""A host name or address, and a port."""


@each_repeated
class AgentStore:
    """The agents in the database. Every method is one transaction."""

    def __init__(self, database: Database, operations: OperationStore) -> None:
        self._database = database
        self._operations = operations

    async def find(self, uuids: Iterable[str | None]) -> dict[str, AgentRecord]:
        """Return agents by uuid."""
        query = select(*columns_of(AgentRecord)).where(agent.c.uuid.in_({known for known in uuids if known}))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return {record.uuid: record for record in (to_record(AgentRecord, row) for row in rows)}

    async def of_fingerprint(self, fingerprint: str) -> AgentRecord | None:
        """Return the agent that shows this certificate; or else the one that will after its next rotation."""
        async with self._database.reading() as connection:
            # One after the other: for both at once SQLite reads all agents.
            for shown in (agent.c.fingerprint, agent.c.nextFingerprint):
                query = select(*columns_of(AgentRecord)).where(shown == fingerprint)
                if row := (await connection.execute(query)).first():
                    return to_record(AgentRecord, row)
        return None

    async def enrolled(self, enrollment_id: str) -> AgentRecord | None:
        """Return the agent that is known by this enrolment."""
        query = select(*columns_of(AgentRecord)).where(agent.c.enrollmentId == enrollment_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return to_record(AgentRecord, row) if row else None

    async def places(self, uuid: str) -> list[Place]:
        """Return where an agent is known to be reached, beside where it is reached now."""
        query = select(agent_address.c.hostname, agent_address.c.port).where(agent_address.c.agentUuid == uuid)
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(agent_address.c.hostname, agent_address.c.port))
            return [(hostname, port) for hostname, port in rows]

    async def hostnames(self, uuid: str) -> list[str]:
        """Return the names under which storages have a host behind an agent."""
        query = select(host.c.hostname).where(host.c.agentUuid == uuid).distinct()
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def put(self, held: Held, record: AgentRecord, replaced: Debt | None = None) -> bool:
        """Write an agent, new or known, and that the enrolment it had before is owed a forgetting.

        Returns False, and nothing is written, when another agent shows its certificate by now. One that has only
        announced it takes that back: anybody can say so, but this one was met.

        Raises:
            StorageProblem: StorageBusy: the operation has been taken over.
        """
        try:
            async with self._database.writing() as connection:
                await self._operations.confirm(connection, held)
                values = {name: value for name, value in to_values(record).items() if name not in _OF_POLLS}
                if await _is_anothers(connection, record.uuid, {"nextFingerprint": record.nextFingerprint}):
                    values["nextFingerprint"] = None
                claims = (agent.c.uuid != record.uuid, agent.c.nextFingerprint == record.fingerprint)
                await connection.execute(update(agent).where(*claims).values(nextFingerprint=None))
                now = int(await self._database.now(connection))
                changed = await connection.execute(update(agent).where(agent.c.uuid == record.uuid).values(**values))
                if not changed.rowcount:
                    await connection.execute(insert(agent).values(**values, createDate=now))
                    added = Event("AgentAdded", ("AgentVO", record.uuid, record.hostname))
                    await write_events(connection, now, [added])
                await put_place(connection, record.uuid, (record.hostname, record.port))
                await write_debts(connection, [replaced] if replaced else [], now)
        except IntegrityError:
            return False  # another agent shows that certificate
        return True

    async def update(self, uuid: str, owner: str, values: dict[str, Any]) -> bool:
        """Write what the node that polls an agent has learnt of it; False when another node polls it, or has it so."""
        mine = (agent.c.uuid == uuid, agent.c.leaseOwner == owner)
        try:
            async with self._database.writing() as connection:
                if await _is_anothers(connection, uuid, values):
                    return False
                return (await connection.execute(update(agent).where(*mine).values(**values))).rowcount > 0
        except IntegrityError:
            return False  # another agent has just been written with that certificate

    async def unused(self) -> list[AgentRecord]:
        """Return the agents that serve no storage and are owed nothing."""
        async with self._database.reading() as connection:
            return [to_record(AgentRecord, row) for row in await connection.execute(_UNUSED)]

    async def leave(self, held: Held, forgetting: Debt) -> AgentRecord | None:
        """Begin to take the enrolment from an agent that is not used any more; None when it is used, or gone.

        Raises:
            StorageProblem: StorageBusy: the operation has been taken over.
        """
        mine = agent.c.uuid == forgetting.agentUuid
        async with self._database.writing() as connection:
            await self._operations.confirm(connection, held)
            row = (await connection.execute(_UNUSED.where(mine))).first()
            if row is None:
                return None
            if to_record(AgentRecord, row).leaving:  # it has left, or was waited for long enough
                await self._delete(connection, mine)
                return None
            await connection.execute(update(agent).where(mine).values(leaving=True))
            await write_debts(connection, [forgetting], int(await self._database.now(connection)))
        return replace(to_record(AgentRecord, row), leaving=True)

    async def remove(self, held: Held, uuid: str) -> None:
        """Remove an agent that is leaving, unless it is used again."""
        unused = _UNUSED.where(agent.c.uuid == uuid, agent.c.leaving).with_only_columns(agent.c.uuid)
        async with self._database.writing() as connection:
            await self._operations.confirm(connection, held)
            await self._delete(connection, agent.c.uuid.in_(unused))

    async def _delete(self, connection: AsyncConnection, which: ColumnElement[bool]) -> None:
        gone = delete(agent).where(which).returning(agent.c.uuid, agent.c.hostname)
        rows = (await connection.execute(gone)).all()
        events = [Event("AgentRemoved", ("AgentVO", uuid, hostname)) for uuid, hostname in rows]
        await write_events(connection, await self._database.now(connection), events)


async def put_place(connection: AsyncConnection, agent_uuid: str, place: Place) -> None:
    """Write that an agent is reached at a place; whoever was reached there before is not any more."""
    hostname, port = place
    new = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    here = new(agent_address).values(hostname=hostname, port=port, agentUuid=agent_uuid)
    key = [agent_address.c.hostname, agent_address.c.port]
    await connection.execute(here.on_conflict_do_update(index_elements=key, set_={"agentUuid": agent_uuid}))


async def _is_anothers(connection: AsyncConnection, uuid: str, values: dict[str, Any]) -> bool:
    """Tell whether another agent shows, or has announced, a certificate that is to be written of this one."""
    told = {values.get(name) for name in ("fingerprint", "nextFingerprint")} - {None}
    claims = or_(agent.c.fingerprint.in_(told), agent.c.nextFingerprint.in_(told))
    query = select(agent.c.uuid).where(agent.c.uuid != uuid, claims).limit(1)
    return bool(told) and (await connection.execute(query)).first() is not None


_OF_POLLS = {"version", "certificateEndDate"}
"""What is written of an agent as its polls show it, with how they go."""

_UNUSED = select(*columns_of(AgentRecord)).where(
    ~exists().where(host.c.agentUuid == agent.c.uuid), ~exists().where(debt.c.agentUuid == agent.c.uuid)
)
