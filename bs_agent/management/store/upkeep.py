"""What the commands of an operator change in the whole database: the key of all secrets, the address of a host."""

from collections.abc import Callable, Collection

from sqlalchemy import Column, delete, func, select, text, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import InvalidArgument, ResourceNotFound
from bs_agent.management.model.host_tags import host_key_tag
from bs_agent.management.store.agents import put_place
from bs_agent.management.store.columns import metadata
from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import agent, agent_address, backup_storage, host, tag
from bs_agent.management.store.tags import shown_keys

_FEW = 100
"""Storages that more or less are not looked at again for."""
_ABOUT = text("SELECT max(rowid) FROM backup_storage")
SECRETS = [column for table in metadata.sorted_tables for column in table.c if column.name.endswith("Secret")]


async def learn(database: Database, known: int) -> int:
    """Let SQLite count how many rows share a value, by which it chooses among indexes; PostgreSQL does so by itself.

    Nothing is done while there are about as many storages as `known`, which was returned the last time (at first -1).
    """
    if not database.is_sqlite:
        return known
    async with database.reading() as connection:
        rows: int = (await connection.execute(_ABOUT)).scalar() or 0
    if known >= 0 and abs(rows - known) <= known // 2 + _FEW:
        return known
    async with database.writing() as connection:
        await connection.execute(text("ANALYZE"))
    # A connection that is open knows what was so when it was opened.
    await database.engine.dispose()
    return rows


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

    What else it is known as stays; so a name is given up, too, for another one that it has already.

    Raises:
        ResourceNotFound: no agent is known as `old`.
        InvalidArgument: another agent is known as `new`.
    """
    async with database.writing() as connection:
        now = int(await database.now(connection))
        moving = await _known_as(connection, old)
        if not moving:
            raise ResourceNotFound(f"no agent is known as {old}")
        if await _known_as(connection, new) - moving:
            raise InvalidArgument(f"another agent is known as {new}")
        await _move_places(connection, moving, old, new)
        of_storages = select(host.c.backupStorageUuid).where(host.c.hostname == old).distinct()
        storages = (await connection.execute(of_storages)).scalars().all()
        for table in (host, backup_storage):
            named = update(table).where(table.c.hostname == old)
            await connection.execute(named.values(hostname=new, lastOpDate=now))
        was, is_now = host_key_tag("", old), host_key_tag("", new)
        for uuid in storages:
            shown = is_now + func.substr(tag.c.tag, len(was) + 1)
            await connection.execute(update(tag).where(shown_keys(uuid, old)).values(tag=shown, lastOpDate=now))
    return len(moving), len(storages)


async def _known_as(connection: AsyncConnection, name: str) -> set[str]:
    """Return the uuids of the agents that are, or could be, reached under a name."""
    at = select(agent_address.c.agentUuid).where(agent_address.c.hostname == name)
    now = select(agent.c.uuid).where(agent.c.hostname == name)
    behind = select(host.c.agentUuid).where(host.c.hostname == name, host.c.agentUuid.is_not(None))
    return set((await connection.execute(union(at, now, behind))).scalars())


async def _move_places(connection: AsyncConnection, agents: Collection[str], old: str, new: str) -> None:
    """Write where agents are reached, each on the ports that it had under the old name."""
    there = select(agent_address.c.agentUuid, agent_address.c.port).where(agent_address.c.hostname == old)
    places = {(uuid, port) for uuid, port in await connection.execute(there)}
    known = select(agent.c.uuid, agent.c.port).where(agent.c.uuid.in_(agents), agent.c.hostname == old)
    places |= {(uuid, port) for uuid, port in await connection.execute(known.with_for_update())}
    await connection.execute(delete(agent_address).where(agent_address.c.hostname == old))
    await connection.execute(update(agent).where(agent.c.hostname == old).values(hostname=new))
    for uuid, port in sorted(places):
        await put_place(connection, uuid, (new, port))
