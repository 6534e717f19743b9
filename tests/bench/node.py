"""A management node over 100,000 backup storages beside one over 1,000: its start, a log-in, metrics, a query, bs-cli.

None of them may take longer for the many, but the metrics: these have lines of their own for each storage, up to a
bound, and may not take longer for each of them. No agent is polled meanwhile. Run it by hand:
`python -m tests.bench.node`.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from bs_agent.client.cli.quickstart import command
from bs_agent.management.metrics.storages import MOST
from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import migrate
from tests.beds.inventory import fill, storages
from tests.beds.node import NodeClient, NodeProcess, client_of
from tests.bench.figures import Beside, Figure, at_most, tell

SIZES = (1_000, 100_000)
STARTS = 3
ROUNDS = 30
COMMANDS = 9
BUDGET = 1.5
QUERY = "/backup-storage?q=status=Connected&sort=name&limit=100"

Works = dict[str, Callable[[], Awaitable[object]]]


async def filled(folder: Path, size: int) -> NodeProcess:
    """Return a node that does not run yet, over so many storages."""
    node = NodeProcess(folder)
    database = Database.connect(f"sqlite:///{folder}/management.db")
    await migrate(database)
    await fill(database, storages(size), agents=False)
    await database.close()
    return node


def starts(nodes: list[NodeProcess]) -> list[list[float]]:
    """Start the nodes in turns; return the milliseconds that each took until it was ready."""
    took: list[list[float]] = [[] for _ in nodes]
    for _ in range(STARTS):
        for node, times in zip(nodes, took, strict=True):
            began = time.perf_counter()
            node.start()
            times.append((time.perf_counter() - began) * 1000)
            node.stop()
    return took


def works(node: NodeProcess, client: NodeClient) -> Works:
    """Return what is asked of a running node, by its name."""
    environment = os.environ | {"XDG_STATE_HOME": str(node.folder / "state")}
    cli = [*command("bs-cli"), "--url", node.url]
    log_in = [*cli, "LogInByAccount", "accountName=admin"]
    subprocess.run(log_in, input=node.password + "\n", env=environment, check=True, capture_output=True, text=True)

    async def metrics() -> None:
        headers = {"Authorization": f"OAuth {client.session}"}
        async with client.http.get(f"{node.url}/metrics", headers=headers) as answer:
            assert b"bs_management_requests" in await answer.read()

    async def query() -> None:
        assert len((await client.call("GET", QUERY))["inventories"]) == 100

    async def by_cli() -> None:
        words = [*cli, "QueryBackupStorage", "status=Connected", "limit=100"]
        await asyncio.to_thread(subprocess.run, words, env=environment, check=True, capture_output=True, timeout=60)

    return {"log-in": lambda: client.log_in(node.password), "/metrics": metrics, "a query": query, "bs-cli": by_cli}


async def measure(nodes: list[NodeProcess]) -> dict[str, list[list[float]]]:
    """Ask both running nodes in turns; return the milliseconds, for each kind of work and node."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(node)) for node in nodes]
        each = [works(node, client) for node, client in zip(nodes, clients, strict=True)]
        found: dict[str, list[list[float]]] = {}
        for name in each[0]:
            took: list[list[float]] = [[] for _ in nodes]
            for _ in range(COMMANDS if name in {"bs-cli", "log-in"} else ROUNDS):
                for work, times in zip(each, took, strict=True):
                    began = time.perf_counter()
                    await work[name]()
                    times.append((time.perf_counter() - began) * 1000)
            found[name] = took
        return found


def main() -> int:
    """Measure and tell."""
    with tempfile.TemporaryDirectory() as folder:
        nodes = [asyncio.run(filled(Path(folder, str(size)), size)) for size in SIZES]
        found = {"start": starts(nodes)}
        try:
            for node in nodes:
                node.start()
            found |= asyncio.run(measure(nodes))
        finally:
            for node in nodes:
                node.stop()
    kept = [told(name, statistics.median(few), statistics.median(many)) for name, (few, many) in found.items()]
    return 0 if all(kept) else 1


def told(name: str, few: float, many: float) -> bool:
    """Tell how one kind of work compares; of the metrics what each storage that has lines of its own costs."""
    if name == "/metrics":
        few, many = few / min(SIZES[0], MOST) * 1000, many / min(SIZES[1], MOST) * 1000
    return tell(
        Figure(
            name=f"node over {SIZES[1]:,} storages: {name}" + (", a thousand of them" if name == "/metrics" else ""),
            value=many,
            unit="ms",
            limit=Beside(name=f"over {SIZES[0]:,}", value=few),
            ratio=many / few,
            budget=at_most(BUDGET),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
