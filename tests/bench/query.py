"""QueryBackupStorage over 100,000 storages beside the raw SQL and the JSON encoding of the same 100 rows.

The peer sends the same statements as text through the database's own driver and encodes with the standard library.
Budget: at most 3 times the peer; and flat: among 100,000 storages no more than twice what it takes among 1,000. What
reads as many entries of an index as there are storages grows with them, and has a budget of its own.
"""

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
from pydantic_core import to_json

from bs_agent.contract.inventory import BackupStorageInventory
from bs_agent.contract.query import Query, parse_query
from bs_agent.contract.report import CEPH
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import find
from bs_agent.management.store.schema import migrate
from bs_agent.management.store.upkeep import learn
from tests.beds import postgresql
from tests.beds.inventory import fill, storages
from tests.bench.figures import Beside, Figure, at_most, tell

SIZES = (1_000, 100_000)
QUICK = "--quick" in sys.argv
ROUNDS = 20 if QUICK else 60
BUDGET, BUDGET_FLAT, BUDGET_GROWING = 3.0, 2.0, 50.0

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


FLAT = {
    "the first page": "",
    "sort=-createDate": "sort=-createDate",
    "sort=hostname, where some have none": "sort=hostname",
    "name~=store-77%": "q=name~=store-77%",
    "status=Connected, sort=name": "q=status=Connected&sort=name",
    "availableCapacity below all": "q=availableCapacity<5",
    "url that none has": "q=url=/nowhere",
    "tag of 40": "q=__userTag__=rack::7",
    "mons.hostname": "q=mons.hostname=mon-70-1",
    "zone that has none": "q=zone.name=nowhere",
}
GROWING = {
    "the last tenth": "start={far}",
    "the last tenth by name": "sort=name&start={far}",
    "count": "count=true",
    "count of a status": "count=true&q=status=Connected",
    "groupBy=hostname": "groupBy=hostname",
    "zone of a tenth": "q=zone.name=zone-3",
    "mons.status": "q=mons.status=Disconnected",
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


async def compare(title: str, database: Database, peer: Peer, mark: Callable[[int], str]) -> bool:
    """Tell ours beside the peer for each case; tell whether all keep the budget."""
    kept = True
    for name, (text, where, values, order) in CASES.items():
        query: Query = parse_query(parse_qsl(text))

        async def ours(query: Query = query) -> bytes:
            found = await find(database, BackupStorageInventory, query)
            return to_json({"inventories": found.inventories, "success": True})

        async def theirs(where: str = where, values: list[Any] = values, order: str = order) -> str:
            return await raw(peer, where, values, order, mark)

        mine, raws = await medians(ours, theirs)
        kept &= tell(
            Figure(
                name=f"{title}, {SIZES[1]:,}: {name}",
                value=mine,
                unit="ms",
                limit=Beside(name="raw SQL and JSON", value=raws),
                ratio=mine / raws,
                budget=at_most(BUDGET),
            )
        )
    return kept


async def flat(title: str, small: Database, large: Database) -> bool:
    """Tell how long each query takes among many beside among few: what reads a page must not take longer."""
    kept = True
    for name, text in (FLAT | GROWING).items():
        few, many = await medians(partial(ask, small, text, SIZES[0]), partial(ask, large, text, SIZES[1]))
        figure = Figure(
            name=f"{title}, {SIZES[1]:,}: {name}",
            value=many,
            unit="ms",
            limit=Beside(name=f"among {SIZES[0]:,}", value=few),
            ratio=many / few,
            budget=at_most(BUDGET_FLAT),
        )
        if name in GROWING:  # judged by what it takes, for it reads so many entries of an index
            figure = figure.model_copy(update={"ratio": None, "budget": at_most(BUDGET_GROWING)})
        kept &= tell(figure)
    return kept


async def ask(database: Database, text: str, size: int) -> None:
    """Ask one query; `{far}` is where the last tenth begins."""
    query = parse_query([*parse_qsl(text.format(far=size * 9 // 10)), ("limit", "100")])
    await find(database, BackupStorageInventory, query)


@asynccontextmanager
async def filled(url: str, size: int) -> AsyncIterator[Database]:
    """Have a database of so many storages while the context is open."""
    database = Database.connect(url)
    try:
        await migrate(database)
        await fill(database, storages(size))
        await learn(database, -1)
        yield database
    finally:
        await database.close()


async def on_sqlite(folder: Path) -> bool:
    """Measure over SQLite; the peer is the standard library's module, called straight."""
    few, many = (folder / f"{size}.db" for size in SIZES)
    async with filled(f"sqlite:///{few}", SIZES[0]) as small, filled(f"sqlite:///{many}", SIZES[1]) as large:
        with closing(sqlite3.connect(many)) as plain:
            plain.row_factory = sqlite3.Row

            async def peer(sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
                return [dict(row) for row in plain.execute(sql, values)]

            kept = await compare("SQLite", large, peer, lambda _: "?")
        return await flat("SQLite", small, large) and kept


async def on_postgresql(server: postgresql.PostgreSQL) -> bool:
    """Measure over PostgreSQL; the peer is asyncpg."""
    few, many = (server.new_database() for _ in SIZES)
    async with filled(few, SIZES[0]) as small, filled(many, SIZES[1]) as large:
        plain = await asyncpg.connect(many)
        try:

            async def peer(sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
                return [dict(row) for row in await plain.fetch(sql, *values)]

            kept = await compare("PostgreSQL", large, peer, lambda at: f"${at + 1}")
        finally:
            await plain.close()
        return await flat("PostgreSQL", small, large) and kept


async def main() -> int:
    """Measure both databases."""
    kept = []
    with ExitStack() as stack:
        kept.append(await on_sqlite(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        if why := "this is to be quick" if QUICK else postgresql.missing():
            print(f"PostgreSQL is left out: {why}")
        else:
            kept.append(await on_postgresql(stack.enter_context(postgresql.postgresql())))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
