"""The SQL of zones, and of which backup storages belong to them."""

import time
from collections.abc import Iterable
from uuid import uuid4

from sqlalchemy import delete, insert, select, text, update

from bs_agent.contract.errors import OperationFailed
from bs_agent.contract.inventory import BackupStorageInventory, Inventory, ZoneInventory
from bs_agent.management.store.database import Database
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.resources import claim, release
from bs_agent.management.store.tables import backup_storage, backup_storage_zone, zone
from bs_agent.management.store.tags import Tagged, put_tags


@each_repeated
class ZoneStore:
    """Reads and writes zones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        name: str,
        description: str | None,
        *,
        is_default: bool,
        uuid: str | None,
        system_tags: Iterable[str],
        user_tags: Iterable[str],
    ) -> str:
        """Store a zone with its tags, and return its uuid; a default one takes that from the one before.

        Raises:
            InvalidArgument: something has the wanted uuid already.
        """
        now = int(time.time())
        tagged = Tagged("ZoneVO", uuid or uuid4().hex)
        row = {"uuid": tagged.uuid, "name": name, "description": description, "isDefault": is_default}
        fixed = {"state": "Enabled", "type": "zstack"}
        async with self._database.writing() as connection:
            if is_default and not self._database.is_sqlite:  # which has one writer anyway
                # Of two that are made at once, the second must see the first to take its place.
                await connection.execute(text("LOCK TABLE zone IN SHARE ROW EXCLUSIVE MODE"))
            await claim(connection, tagged.type, tagged.uuid)
            if is_default:
                await connection.execute(update(zone).where(zone.c.isDefault).values(isDefault=False))
            await connection.execute(insert(zone).values(**row, **fixed, createDate=now, lastOpDate=now))
            await put_tags(connection, tagged, "System", system_tags)
            await put_tags(connection, tagged, "User", user_tags)
        return tagged.uuid

    async def delete(self, uuid: str) -> None:
        """Delete a zone with its tags, if there is one; its backup storages stay."""
        async with self._database.writing() as connection:
            await release(connection, "ZoneVO", uuid)

    async def attach(self, zone_uuid: str, storage_uuid: str) -> type[Inventory] | None:
        """Attach a backup storage to a zone; returns what there is not, if one of both is missing.

        Raises:
            OperationFailed: it is attached already.
        """
        pair = {"zoneUuid": zone_uuid, "backupStorageUuid": storage_uuid}
        attached = select(backup_storage_zone).filter_by(**pair)
        async with self._database.writing() as connection:
            # Both rows are locked, so that neither goes away, and nobody else attaches the same.
            for inventory, table, uuid in (
                (ZoneInventory, zone, zone_uuid),
                (BackupStorageInventory, backup_storage, storage_uuid),
            ):
                row = select(table.c.uuid).where(table.c.uuid == uuid).with_for_update()
                if (await connection.execute(row)).first() is None:
                    return inventory
            if (await connection.execute(attached)).first():
                raise OperationFailed(
                    f"backup storage[uuid:{storage_uuid}] has been attached to zone[uuid:{zone_uuid}]"
                )
            await connection.execute(insert(backup_storage_zone).values(**pair))
        return None

    async def detach(self, zone_uuid: str, storage_uuid: str) -> None:
        """Detach a backup storage from a zone.

        Raises:
            OperationFailed: it is not attached.
        """
        pair = backup_storage_zone.c.zoneUuid == zone_uuid, backup_storage_zone.c.backupStorageUuid == storage_uuid
        async with self._database.writing() as connection:
            if not (await connection.execute(delete(backup_storage_zone).where(*pair))).rowcount:
                raise OperationFailed(
                    f"backup storage[uuid:{storage_uuid}] has not been attached to zone[uuid:{zone_uuid}]"
                )
