"""What becomes of calls and polls when nodes, or their database, are lost in the middle: what, how often, how long.

Three nodes on one PostgreSQL, behind HAProxy, with agents that count what they do. Survived is what loses no call and
no agent, and does nothing twice. Recovered is a node when others have polled all its agents, the database when the next
call has ended well. With `--once` each thing happens to one node only, in the middle of fewer calls.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.beds import postgresql
from tests.bench.figures import Figure, at_most, tell
from tests.nodes import balancer, network
from tests.nodes.cluster import INTERVAL, Cluster, cluster, eventually
from tests.nodes.databases import AWAY, befall, crowd_out, restart, url_of
from tests.nodes.faults import FAULTS, check, in_the_middle
from tests.nodes.traffic import Traffic

ONCE = "--once" in sys.argv
AGENTS, CALLS, CALLS_OF_DATABASE = (9, 40, 20) if ONCE else (18, 200, 60)


@dataclass
class Row:
    """One kind of fault: how often it was tried and survived, and the seconds to recover."""

    what: str
    tried: int = 0
    survived: int = 0
    seconds: list[float] = field(default_factory=list)

    async def attempt(self, traffic: Traffic, fault: Callable[[], Awaitable[float]]) -> None:
        """Try it once, and see that all is as it should be afterwards."""
        self.tried += 1
        try:
            self.seconds.append(await fault())
            await check(traffic)
        except Exception as error:  # noqa: BLE001  it did not survive, for whatever reason
            print(f"{self.what}: {error!r}", file=sys.stderr, flush=True)
        else:
            self.survived += 1

    def __str__(self) -> str:
        """Return the line of the table."""
        worst = f"{max(self.seconds):.1f} s" if self.seconds else "-"
        return f"{self.what:42} {self.tried:5} {self.survived:8}  {worst:>8}"


async def measure(folder: Path, wires: network.Network, first: postgresql.PostgreSQL) -> list[Row]:
    """Let all of it happen, one thing after the other, to one cluster."""
    name = first.new_database().rpartition("/")[2]
    rows: list[Row] = []
    with first.standby(synchronous=True) as second:
        async with cluster(folder, wires, url_of(first, second, name=name), count=AGENTS) as made:
            await Traffic(made).settle(made.agents)
            await eventually(lambda: made.is_fair(made.nodes), made.shares)
            for fault in FAULTS:
                rows.append(row := Row(f"a node: {fault.name}"))
                for node in made.nodes[:1] if ONCE else made.nodes:
                    traffic = Traffic(made)
                    await row.attempt(traffic, partial(in_the_middle, traffic, CALLS, fault, node))
                    print(row, flush=True)
            rows += await of_the_database(made, first, second)
    return rows


async def of_the_database(made: Cluster, first: postgresql.PostgreSQL, second: postgresql.PostgreSQL) -> list[Row]:
    """Let things happen to the database, the failover at last."""

    async def fail_over() -> None:
        await asyncio.to_thread(first.crash)
        await asyncio.to_thread(second.promote)

    rows: list[Row] = []
    for what, times, happens in (
        ("restarted", 3, partial(restart, first)),
        ("out of connections for 5 s", 3, partial(crowd_out, first)),
        ("crashed, its standby promoted", 1, fail_over),
    ):
        rows.append(row := Row(f"PostgreSQL: {what}"))
        for _ in range(1 if ONCE else times):
            traffic = Traffic(made, fails=AWAY)
            await row.attempt(traffic, partial(befall, traffic, CALLS_OF_DATABASE, happens))
            print(row, flush=True)
    return rows


def main() -> int:
    """Print the table, and tell what it comes to."""
    if why := network.missing() or balancer.missing() or postgresql.missing():
        print(why, file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        network.network(3) as wires,
        postgresql.postgresql(wires.whole) as server,
    ):
        rows = asyncio.run(measure(Path(folder), wires, server))
    print(f"\n{'what':42} tried survived  worst time to recover")
    print(*rows, sep="\n")
    lost = sum(row.tried - row.survived for row in rows)
    worst = max((seconds for row in rows[: len(FAULTS)] for seconds in row.seconds), default=0.0)
    kept = tell(
        Figure(name="faults of nodes and database not survived", value=lost, unit="", budget=at_most(0)),
        Figure(name="a lost node's agents polled again", value=worst, unit="s", budget=at_most(3 * INTERVAL)),
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
