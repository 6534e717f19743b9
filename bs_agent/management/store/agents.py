"""Rows of agents, as other transactions read and write them."""

from collections.abc import Iterable

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.management.model.records import AgentRecord
from bs_agent.management.store.rows import to_values
from bs_agent.management.store.tables import agent, host


async def put_agents(connection: AsyncConnection, records: Iterable[AgentRecord], now: int) -> None:
    """Write agents, new or known."""
    for record in records:
        values = to_values(record)
        changed = await connection.execute(update(agent).where(agent.c.uuid == record.uuid).values(**values))
        if not changed.rowcount:
            await connection.execute(insert(agent).values(**values, dueDate=0, leaseDate=0, createDate=now))


async def agents_behind(connection: AsyncConnection, storage_uuid: str) -> set[tuple[str, str]]:
    """Return uuid and fingerprint of the agents that serve a storage."""
    query = select(agent.c.uuid, agent.c.fingerprint).join(host, host.c.agentUuid == agent.c.uuid)
    rows = await connection.execute(query.where(host.c.backupStorageUuid == storage_uuid))
    return {(agent_uuid, fingerprint) for agent_uuid, fingerprint in rows}


def is_among(record: AgentRecord, agents: set[tuple[str, str]]) -> bool:
    """Tell whether an agent is one of those whose uuids and fingerprints are given: by the one or by the other."""
    return any(uuid == record.uuid or fingerprint == record.fingerprint for uuid, fingerprint in agents)
