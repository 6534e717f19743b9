"""What the history of capacities costs: rows a second, and how much it adds to writing the capacities themselves.

Ten thousand storages report a new capacity each, once a minute as the busiest site would; the same with the history
left out stands beside it, in turns and in processor time. On SQLite; PostgreSQL does it in a process of its own.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from bs_agent.management.model.capacity import Measured
from bs_agent.management.store import changes
from bs_agent.management.store.changes import CapacityChange, apply
from bs_agent.management.store.database import Database
from bs_agent.management.store.fence import Fence
from bs_agent.management.store.history import prune_history
from bs_agent.management.store.leases import Node
from bs_agent.management.store.operations import OperationStore
from bs_agent.management.store.rows import batched
from bs_agent.management.store.schema import migrate
from bs_agent.management.store.watched import claim, watched
from tests.beds.inventory import fill, storages
from tests.bench.figures import Beside, Figure, at_most, tell

COUNT = 2_000 if "--quick" in sys.argv else 10_000
ROUNDS = 3 if "--quick" in sys.argv else 5
MINUTE = 60.0
BUDGET = 1.5
"""Percent of a core for the history of ten thousand storages that all change once a minute."""


@asynccontextmanager
async def filled() -> AsyncIterator[tuple[Database, Fence, list[tuple[str, str]]]]:
    """Yield a database of so many storages that this node polls, and their hosts."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database.connect(f"sqlite:///{Path(folder)}/management.db")
        await migrate(database)
        await fill(database, [row for row in storages(COUNT * 10 // 9) if row["type"] != "Ceph"][:COUNT])
        async with Node.open(database, 600.0) as node:
            uuids = (await claim(database, node.uuid)).uuids
            hosts = [(one.mon_uuid, one.storage_uuid) async for each in watched(database, uuids) for one in each.hosts]
            yield database, Fence(OperationStore(database, node.uuid), node.uuid), hosts
        await database.close()


async def once(database: Database, fence: Fence, hosts: Sequence[tuple[str, str]], number: int) -> float:
    """Write a new capacity of every storage; return the processor time of one in seconds."""
    database.clock = lambda: 1_700_000_000 + number * MINUTE
    said = Measured({"totalCapacity": 10**13, "availableCapacity": 10**12 - number}, "capacityDate", 0.0, fresh=True)
    began = time.process_time()
    for some in batched(hosts):
        received = time.monotonic()
        await apply(database, fence, [CapacityChange(mon, storage, [said], received) for mon, storage in some])
    return (time.process_time() - began) / len(hosts)


async def nothing(*_: Any) -> None:
    """Stand in the place of the history."""


async def main() -> int:
    """Measure and tell."""
    kept, left_out = [], []
    async with filled() as (database, fence, hosts):
        for number in range(2 * ROUNDS):
            if number % 2 == 0:
                kept.append(await once(database, fence, hosts, number + 1))
                continue
            with mock.patch.object(changes, "write_history", nothing):
                left_out.append(await once(database, fence, hosts, number + 1))
        began = time.process_time()
        await prune_history(database)
        upkeep = time.process_time() - began
    added = max(0.0, statistics.median(kept) - statistics.median(left_out))
    rows = 3 / added if added else float("inf")
    share = added * 10_000 / MINUTE * 100
    without = Beside(name="without the history", value=round(1 / statistics.median(left_out)))
    all_kept = tell(
        Figure(
            name="capacities written a second of processor time",
            value=round(1 / statistics.median(kept)),
            unit="1/s",
            peer=without,
        ),
        Figure(name="rows of the history a second of processor time", value=round(rows), unit="1/s"),
        Figure(
            name="history of 10,000 storages that change each minute",
            value=round(share, 2),
            unit="% of a core",
            budget=at_most(BUDGET),
        ),
        Figure(name=f"upkeep of the history of {COUNT:,} storages", value=round(upkeep * 1000), unit="ms"),
    )
    return 0 if all_kept else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
