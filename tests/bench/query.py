"""QueryBackupStorage over 100,000 storages beside the raw SQL and the JSON encoding of the same 100 rows.

The peer sends the same statements as text through the database's own driver and encodes with the standard library.
Budget: at most 3 times the peer, and flat as the table grows.
"""

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from pydantic_core import to_json

from bs_agent.contract.inventory import BackupStorageInventory
from bs_agent.contract.query import Query, parse_query
from bs_agent.contract.report import CEPH
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import find
from bs_agent.management.store.schema import migrate
from tests.beds import postgresql
from tests.beds.inventory import fill, storages

SIZES = (1_000, 100_000)
ROUNDS = 60
BUDGET = 3.0

Peer = Callable[[str, Sequence[Any]], Awaitable[list[dict[str, Any]]]]

PAGE = "SELECT * FROM backup_storage WHERE {where} ORDER BY {order} LIMIT 100"
ZONES = 'SELECT * FROM backup_storage_zone WHERE "backupStorageUuid" IN ({marks})'
MONS = 'SELECT * FROM host WHERE "backupStorageUuid" IN ({marks})'

CASES: dict[str, tuple[str, str, list[Any], str]] = {
    "status=Connected": ("q=status=Connected&limit=100", "lower(status) = {0}", ["connected"], "uuid"),
    "hostname=host-7": ("q=hostname=host-7&limit=100", "lower(hostname) = {0}", ["host-7"], "uuid"),
    "type=Ceph": ("q=type=Ceph&limit=100", "lower(type) = {0}", ["ceph"], "uuid"),
    "sort=name": ("sort=name&limit=100", "{0} = 1", [1], "lower(name), uuid"),
}


async def raw(peer: Peer, where: str, values: list[Any], order: str, mark: Callable[[int], str]) -> str:
    """Read the page, its zones and its mons with plain SQL, and encode them."""
    rows = await peer(PAGE.format(where=where.format(mark(0)), order=order), values)
    uuids = [row["uuid"] for row in rows]
    ceph = [row["uuid"] for row in rows if row["type"] == CEPH]
    for row in rows:
        row["attachedZoneUuids"] = row["mons"] = []
    by_uuid = {row["uuid"]: row for row in rows}
    for name, sql, wanted in (("attachedZoneUuids", ZONES, uuids), ("mons", MONS, ceph)):
        if wanted:
            for found in await peer(sql.format(marks=", ".join(mark(at) for at in range(len(wanted)))), wanted):
                by_uuid[found["backupStorageUuid"]][name] = [*by_uuid[found["backupStorageUuid"]][name], found]
    return json.dumps(rows)


async def medians(*works: Callable[[], Awaitable[object]]) -> list[float]:
    """Return the median of many runs of each in milliseconds; they take turns, so that a busy machine is fair."""
    spent: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, spent, strict=True):
            started = time.perf_counter()
            await work()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) * 1000 for times in spent]


async def measure(title: str, database: Database, peer: Peer, mark: Callable[[int], str], size: int) -> bool:
    """Print ours beside the peer for each case; tell whether all keep the budget."""
    kept = True
    for name, (text, where, values, order) in CASES.items():
        query: Query = parse_query(parse_qsl(text))

        async def ours(query: Query = query) -> bytes:
            found = await find(database, BackupStorageInventory, query)
            return to_json({"inventories": found.inventories, "success": True})

        async def theirs(where: str = where, values: list[Any] = values, order: str = order) -> str:
            return await raw(peer, where, values, order, mark)

        rows = len(json.loads(await ours())["inventories"])
        mine, raws = await medians(ours, theirs)
        kept = kept and mine <= BUDGET * raws
        shown = f"ours {mine:6.2f} ms  raw {raws:6.2f} ms  {mine / raws:5.2f} x"
        print(f"{title:10} {size:7} {name:17} {rows:4} rows  {shown}")
    return kept


async def on_sqlite(folder: Path, size: int) -> bool:
    """Measure over SQLite; the peer is the standard library's module, called straight."""
    database = Database.connect(f"sqlite:///{folder}/{size}.db")
    await migrate(database)
    await fill(database, storages(size))
    with closing(sqlite3.connect(folder / f"{size}.db")) as plain:
        plain.row_factory = sqlite3.Row

        async def peer(sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
            return [dict(row) for row in plain.execute(sql, values)]

        kept = await measure("SQLite", database, peer, lambda _: "?", size)
    await database.close()
    return kept


async def on_postgresql(server: postgresql.PostgreSQL, size: int) -> bool:
    """Measure over PostgreSQL; the peer is asyncpg."""
    url = server.new_database()
    database = Database.connect(url)
    await migrate(database)
    await fill(database, storages(size))
    plain = await asyncpg.connect(url)

    async def peer(sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        return [dict(row) for row in await plain.fetch(sql, *values)]

    kept = await measure("PostgreSQL", database, peer, lambda at: f"${at + 1}", size)
    await plain.close()
    await database.close()
    return kept


async def main() -> int:
    """Measure both databases at each size."""
    kept = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept += [await on_sqlite(folder, size) for size in SIZES]
        if why := postgresql.missing():
            print(f"PostgreSQL is left out: {why}")
        else:
            server = stack.enter_context(postgresql.postgresql())
            kept += [await on_postgresql(server, size) for size in SIZES]
    print(f"budget: at most {BUDGET:g} x the raw SQL: {'kept' if all(kept) else 'MISSED'}")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
