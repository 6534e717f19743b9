"""What the commands of an operator change in the whole database: the key of all secrets, the address of a host."""

from collections.abc import Callable

from sqlalchemy import Column, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.management.model.host_tags import host_key_tag
from bs_agent.management.store.agents import put_place
from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import agent, agent_address, backup_storage, host, metadata, tag

SECRETS = [column for table in metadata.sorted_tables for column in table.c if column.name.endswith("Secret")]


async def reencrypt(database: Database, convert: Callable[[str], str]) -> int:
    """Put what `convert` returns in the place of each stored secret, all or none; return how many there are."""
    count = 0
    async with database.writing() as connection:
        for column in SECRETS:
            count += await _reencrypt(connection, column, convert)
    return count


async def _reencrypt(connection: AsyncConnection, column: Column[str], convert: Callable[[str], str]) -> int:
    (key,) = column.table.primary_key.columns
    rows = (await connection.execute(select(key, column).where(column.is_not(None)).with_for_update())).all()
    for identity, secret in rows:
        await connection.execute(update(column.table).where(key == identity).values({column: convert(secret)}))
    return len(rows)


async def rename_host(database: Database, old: str, new: str) -> tuple[int, int]:
    """Reach a host under another name or address from now on; return how many agents and storages that concerns.

    Nothing is changed, and both are 0, when another agent is known under the new name already.
    """
    async with database.writing() as connection:
        moved = select(agent.c.uuid).where(agent.c.hostname == old)
        known = select(agent.c.uuid).where(agent.c.hostname == new)
        place = agent_address.c
        reached = select(place.agentUuid).where(place.hostname == new, place.agentUuid.not_in(moved))
        if (await connection.execute(known.union(reached).limit(1))).first():
            return 0, 0
        gone = (place.hostname == old, place.agentUuid.in_(moved))
        for uuid, port in (await connection.execute(select(place.agentUuid, place.port).where(*gone))).all():
            await put_place(connection, uuid, (new, port))
        await connection.execute(delete(agent_address).where(*gone))
        counts = []
        for table in (agent, host, backup_storage):
            done = await connection.execute(update(table).where(table.c.hostname == old).values(hostname=new))
            counts.append(done.rowcount)
        await _rename_in_tags(connection, host_key_tag("", old), host_key_tag("", new))
    return counts[0], counts[1]


async def _rename_in_tags(connection: AsyncConnection, old: str, new: str) -> None:
    begins = func.substr(tag.c.tag, 1, len(old)) == old
    named = select(tag.c.uuid, tag.c.tag).where(tag.c.type == "System", begins)
    for identity, text in (await connection.execute(named)).all():
        await connection.execute(update(tag).where(tag.c.uuid == identity).values(tag=new + text.removeprefix(old)))
