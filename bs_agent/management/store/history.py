"""The SQL of how capacities were: a row a minute, an hour and a day for what is measured in it, in bounded number.

Rows are written with the capacities themselves, many storages at once, and only for those that have changed or were
confirmed; that a storage is lost sight of is written, too. See `model/history.py` for what that means.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.inventory import BackupStorageInventory
from bs_agent.management.model.history import DAY, HOLDS, HOUR, KEPT, MINUTE, PERIODS, Point, filled
from bs_agent.management.store.database import Database
from bs_agent.management.store.past_tables import capacity_history
from bs_agent.management.store.queries import not_found
from bs_agent.management.store.repeated import repeated
from bs_agent.management.store.rows import batched
from bs_agent.management.store.tables import backup_storage

_TABLE = capacity_history.c
_KEY = [_TABLE.backupStorageUuid, _TABLE.resolution, _TABLE.slot]
_MEASURED = ("totalCapacity", "availableCapacity", "poolStored", "poolUsedCapacity", "poolMaxAvail")
_VALUES = (*_MEASURED, "lostDate")

Rows = Mapping[str, Mapping[str, Any]]
"""Columns of storages, by uuid."""


async def write_history(connection: AsyncConnection, now: float, seen: Rows, lost: Rows) -> None:
    """Write what was measured of storages, and of which of them nothing is known from now on."""
    minutes: list[dict[str, Any]] = []
    longer: list[dict[str, Any]] = []
    for uuid, row in seen.items():
        values, date = _values(uuid, row), _measured(row, now)
        minutes.append(values | {"resolution": MINUTE, "slot": date - date % MINUTE})
        longer += (values | {"resolution": slot, "slot": date - date % slot} for slot in (HOUR, DAY))
    minute = int(now) - int(now) % MINUTE
    gone = {"resolution": MINUTE, "slot": minute, "lostDate": int(now)}
    minutes += (_values(uuid, row) | gone for uuid, row in lost.items())
    new = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    for rows, is_least in ((minutes, False), (longer, True)):
        if rows:
            put = new(capacity_history)
            instead = {name: put.excluded[name] for name in _VALUES}
            # Of a minute the last measurement, which holds from then on; of longer slots the one with the least room.
            least = put.excluded.availableCapacity <= _TABLE.availableCapacity if is_least else None
            statement = put.on_conflict_do_update(index_elements=_KEY, set_=instead, where=least)
            await connection.execute(statement, rows)


async def read_history(database: Database, uuid: str, period: str) -> tuple[int, list[Point], list[Point]]:
    """Return the resolution of a period, its points, and those of the last month, an hour each.

    Raises:
        ResourceNotFound: there is no such storage.
    """
    resolution, length = PERIODS[period]
    async with database.reading() as connection:
        there = select(backup_storage.c.uuid).where(backup_storage.c.uuid == uuid)
        if (await connection.execute(there)).first() is None:
            raise not_found(BackupStorageInventory, uuid)
        now = int(await database.now(connection))
        points = await _read(connection, uuid, resolution, now, length)
        month = points if period == "month" else await _read(connection, uuid, HOUR, now, PERIODS["month"][1])
    return resolution, points, month


async def prune_history(database: Database) -> None:
    """Forget the rows that are older than those of their resolution are kept, some storages at a time."""
    async with database.reading() as connection:
        uuids = list(
            (await connection.execute(select(backup_storage.c.uuid).order_by(backup_storage.c.uuid))).scalars()
        )
    for some in batched(uuids):
        await _prune(database, some)


@repeated
async def _prune(database: Database, uuids: Iterable[str]) -> None:
    # By the key alone: an index by slot would cost each row that is written as much as the row.
    mine = _TABLE.backupStorageUuid.in_(list(uuids))
    async with database.writing() as connection:
        now = int(await database.now(connection))
        for resolution, seconds in KEPT.items():
            # What lies ahead was written while the database's clock was wrong.
            kept = _TABLE.slot.between(now - seconds - HOLDS[resolution], now + resolution)
            await connection.execute(delete(capacity_history).where(mine, _TABLE.resolution == resolution, ~kept))


async def _read(connection: AsyncConnection, uuid: str, resolution: int, now: int, length: int) -> list[Point]:
    first, last = (moment - moment % resolution for moment in (now - length + resolution, now))
    columns = [_TABLE[name] for name in ("slot", *_VALUES)]
    mine = (_TABLE.backupStorageUuid == uuid, _TABLE.resolution == resolution)
    between = _TABLE.slot.between(first - HOLDS[resolution], last)
    rows = await connection.execute(select(*columns).where(*mine, between).order_by(_TABLE.slot))
    return filled([Point(*row) for row in rows], first, last, resolution)


def _measured(row: Mapping[str, Any], now: float) -> int:
    """Return when the values of a storage were measured; a date in the future says nothing."""
    dates = [date for name in ("capacityDate", "poolCapacityDate") if (date := row.get(name)) is not None]
    return min(int(now), max(dates, default=int(now)))


def _values(uuid: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"backupStorageUuid": uuid, "lostDate": None} | {name: row.get(name) for name in _MEASURED}
