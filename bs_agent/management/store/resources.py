"""Which uuids are taken. A caller may choose the uuid of a new resource, so every such resource has a row here first.

The row is the resource's foothold in the database: its own row and its tags refer to it, and go when it goes.
"""

from typing import Literal

from sqlalchemy import delete, exists, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import InvalidArgument
from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import access_key, account, agent, backup_storage, host, resource, tag, zone

ResourceType = Literal["BackupStorageVO", "ZoneVO"]

_OWN = {"BackupStorageVO": backup_storage, "ZoneVO": zone}
# The last five are made by chance and never chosen: nobody can be just about to take one of theirs.
_UUIDS = (resource.c.uuid, account.c.uuid, access_key.c.uuid, host.c.monUuid, tag.c.uuid, agent.c.uuid)


async def refuse_taken_uuid(database: Database, uuid: str) -> None:
    """Refuse a uuid for a new resource that something has; `claim` decides when the resource is stored.

    Raises:
        InvalidArgument: something has it.
    """
    async with database.reading() as connection:
        await _refuse_taken(connection, uuid)


async def claim(connection: AsyncConnection, type_: ResourceType, uuid: str) -> None:
    """Take a uuid for a new resource, in the transaction that stores it and before its own row.

    Whoever claims the same uuid at the same time waits for the end of this transaction.

    Raises:
        InvalidArgument: something has it; the transaction must not go on.
    """
    await _refuse_taken(connection, uuid)
    try:
        await connection.execute(insert(resource).values(uuid=uuid, type=type_))
    except IntegrityError:
        raise _taken(uuid) from None


async def release(connection: AsyncConnection, type_: ResourceType, uuid: str) -> None:
    """Remove a resource, if there is one of this type, with all that belongs to it: its tags, its hosts."""
    # Its own row first, as everybody does who gives it something: else each would wait for the other.
    own = _OWN[type_].c.uuid
    if (await connection.execute(select(own).where(own == uuid).with_for_update())).first():
        await connection.execute(delete(resource).where(resource.c.uuid == uuid))


async def _refuse_taken(connection: AsyncConnection, uuid: str) -> None:
    taken = or_(*(exists().where(column == uuid) for column in _UUIDS))
    if (await connection.execute(select(taken))).scalar():
        raise _taken(uuid)


def _taken(uuid: str) -> InvalidArgument:
    return InvalidArgument(f"field[resourceUuid]: there is a resource[uuid:{uuid}] already; give a new one, or none")
