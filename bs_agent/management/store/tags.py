"""The SQL of tags. A resource has each tag once; who gives it again gets the one that there is."""

import time
from collections.abc import Iterable
from typing import Literal, NamedTuple
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.management.model.host_tags import host_key_tag
from bs_agent.management.store.database import Database
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.resources import ResourceType
from bs_agent.management.store.tables import backup_storage, tag, zone

TagType = Literal["System", "User"]

_RESOURCES = {"BackupStorageVO": backup_storage, "ZoneVO": zone}


class Tagged(NamedTuple):
    """What a tag is given to."""

    type: ResourceType
    uuid: str


@each_repeated
class TagStore:
    """Reads and writes tags."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, resource: Tagged, kind: TagType, texts: Iterable[str]) -> list[str] | None:
        """Give tags to a resource; returns their uuids, or None when there is no such resource."""
        table = _RESOURCES[resource.type]
        async with self._database.writing() as connection:
            # The row is locked: the resource stays while the tags are written, and no tag is written twice.
            wanted = select(table.c.uuid).where(table.c.uuid == resource.uuid).with_for_update()
            if (await connection.execute(wanted)).first() is None:
                return None
            return await put_tags(connection, resource, kind, texts)

    async def find(self, uuid: str) -> tuple[TagType, str] | None:
        """Return of which type a tag is, and its text."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(tag.c.type, tag.c.tag).where(tag.c.uuid == uuid))).one_or_none()
        return (row.type, row.tag) if row else None

    async def delete(self, uuid: str) -> None:
        """Delete a tag, if there is one."""
        async with self._database.writing() as connection:
            await connection.execute(delete(tag).where(tag.c.uuid == uuid))


def shown_keys(storage_uuid: str, hostname: str) -> ColumnElement[bool]:
    """Match the system tags that show the SSH host key of a host of a storage; the empty name stands for the only host.

    Not by LIKE: SQLite would take tags in other capitals for it, which mean nothing.
    """
    prefix = host_key_tag("", hostname)
    begins = func.substr(tag.c.tag, 1, len(prefix)) == prefix
    return and_(tag.c.resourceUuid == storage_uuid, tag.c.type == "System", begins)


async def put_tags(connection: AsyncConnection, resource: Tagged, kind: TagType, texts: Iterable[str]) -> list[str]:
    """Give tags to a resource whose row the transaction holds; returns their uuids."""
    mine = select(tag.c.tag, tag.c.uuid).where(tag.c.resourceUuid == resource.uuid, tag.c.type == kind)
    known: dict[str, str] = {row.tag: row.uuid for row in await connection.execute(mine)}
    wanted = list(dict.fromkeys(texts))
    now = int(time.time())
    common = {"resourceUuid": resource.uuid, "resourceType": resource.type, "type": kind}
    dates = {"createDate": now, "lastOpDate": now}
    new = {text: uuid4().hex for text in wanted if text not in known}
    if new:
        await connection.execute(
            insert(tag), [{"uuid": uuid, "tag": text} | common | dates for text, uuid in new.items()]
        )
    known |= new
    return [known[text] for text in wanted]
