"""What is changed and summed up of backup storages without asking their hosts."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Column, ColumnElement, func, or_, select, update

from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import backup_storage, backup_storage_zone

_PART = 2**30


class Capacity(NamedTuple):
    """Sums, in bytes."""

    total: int
    available: int


class StorageStore:
    """Changes and sums up backup storages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, uuid: str, values: Mapping[str, str]) -> bool:
        """Write columns of a storage; False when there is none."""
        changed = update(backup_storage).where(backup_storage.c.uuid == uuid)
        async with self._database.writing() as connection:
            done = await connection.execute(changed.values(**values, lastOpDate=int(time.time())))
        return done.rowcount > 0

    async def capacity(self, uuids: Sequence[str] = (), zone_uuids: Sequence[str] = (), *, every: bool) -> Capacity:
        """Sum up the storages named, those of the zones, or every one; each counts once, unknown ones not at all."""
        attached = select(backup_storage_zone.c.backupStorageUuid).where(backup_storage_zone.c.zoneUuid.in_(zone_uuids))
        which = or_(backup_storage.c.uuid.in_(uuids), backup_storage.c.uuid.in_(attached))
        sums = [*_sum(backup_storage.c.totalCapacity), *_sum(backup_storage.c.availableCapacity)]
        query = select(*(func.coalesce(part, 0) for part in sums))
        async with self._database.reading() as connection:
            parts = (await connection.execute(query if every else query.where(which))).one()
        total, total_rest, available, available_rest = (int(part) for part in parts)
        return Capacity(total * _PART + total_rest, available * _PART + available_rest)


def _sum(column: Column[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    # In two parts: SQLite refuses a sum of more than 2**63, which some hundred large clusters reach.
    return func.sum(column // _PART), func.sum(column % _PART)
