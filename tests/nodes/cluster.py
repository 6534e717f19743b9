"""Three nodes, their database, the load balancer, and the agents: started, looked at, and ended."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from bs_agent.daemon.connection import connector
from bs_agent.management.store import tables
from bs_agent.management.store.database import Database
from tests.beds.certificate import ensure_certificate
from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess
from tests.beds.place import REPOSITORY
from tests.nodes.agents import CountingAgent, agents
from tests.nodes.balancer import balancer
from tests.nodes.network import Cable, Network

LEASE, INTERVAL = 6.0, 5.0
SECONDS = 120.0
"""After so many what is waited for will not come."""


@dataclass
class Node:
    """One node: its process, its way to the others, and the name that it has in the database since its start."""

    process: NodeProcess
    cable: Cable
    uuid: str = ""


@dataclass
class Cluster:
    """Everything, while it runs; `database` is one more client of theirs."""

    nodes: list[Node]
    url: str
    database: Database
    agents: list[CountingAgent]
    http: aiohttp.ClientSession
    session: str = ""
    hooks_at: str = ""
    hooks: dict[str, list[bool]] = field(default_factory=dict)

    def client(self, node: Node | None = None) -> NodeClient:
        """Return who speaks to the nodes through the balancer, or to one of them."""
        client = NodeClient(self.http, node.process.url if node else self.url)
        client.session = self.session
        return client

    async def start(self, node: Node) -> None:
        """Start a node, and learn its name."""
        before = await self._names()
        await asyncio.to_thread(node.process.start)
        (node.uuid,) = await self._names() - before

    async def shares(self) -> list[int]:
        """Return how many agents each of the nodes polls."""
        query = select(tables.agent.c.leaseOwner, func.count()).group_by(tables.agent.c.leaseOwner)
        async with self.database.reading() as connection:
            counted = {row[0]: row[1] for row in await connection.execute(query)}
        return [counted.get(node.uuid, 0) for node in self.nodes]

    async def is_fair(self, living: Sequence[Node]) -> bool:
        """Tell whether these have the agents to themselves, each within a tenth of the others."""
        shares = dict(zip((node.uuid for node in self.nodes), await self.shares(), strict=True))
        theirs = [shares[node.uuid] for node in living]
        return sum(theirs) == sum(shares.values()) and max(theirs) - min(theirs) <= max(1, 0.1 * max(theirs))

    async def polled_by(self, node: Node) -> list[CountingAgent]:
        """Return the agents that a node polls."""
        query = select(tables.agent.c.fingerprint).where(tables.agent.c.leaseOwner == node.uuid)
        async with self.database.reading() as connection:
            known = set((await connection.execute(query)).scalars())
        return [agent for agent in self.agents if agent.machine.fingerprint in known]

    async def enrolled(self) -> dict[str, str]:
        """Return by which enrolment each agent is known, by its fingerprint."""
        async with self.database.reading() as connection:
            rows = await connection.execute(select(tables.agent.c.fingerprint, tables.agent.c.enrollmentId))
            return {row.fingerprint: row.enrollmentId for row in rows}

    async def left_over(self) -> Counter[str]:
        """Return what is under way, or owed, by the database."""
        counted = {
            "operations": select(tables.operation.c.key).where(tables.operation.c.leaseOwner.is_not(None)),
            "jobs": select(tables.job.c.uuid).where(tables.job.c.state == "running"),
            "debts": select(tables.debt.c.uuid),
            "hooks": select(tables.hook.c.jobUuid),
        }
        async with self.database.reading() as connection:
            found = {name: len((await connection.execute(query)).all()) for name, query in counted.items()}
        return +Counter(found)

    async def _names(self) -> set[str]:
        try:
            async with self.database.reading() as connection:
                return set((await connection.execute(select(tables.node.c.uuid))).scalars())
        except DBAPIError:  # there are no tables yet
            return set()


async def eventually(condition: Any, explain: Any = None) -> float:  # noqa: ANN401 RUF100  as `until` takes them
    """Wait until something is so; return after how many seconds it was."""
    began = time.monotonic()
    await until(condition, explain, SECONDS)
    return time.monotonic() - began


@asynccontextmanager
async def cluster(
    folder: Path,
    network: Network,
    url: str,
    *,
    count: int = 18,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    code: Path = REPOSITORY,
) -> AsyncIterator[Cluster]:
    """Run as many nodes as the network has cables, and so many agents, while the context is open."""
    certificate, key = await ensure_certificate(folder / "tls", "nodes")
    async with AsyncExitStack() as stack:
        playing = await stack.enter_async_context(agents(folder / "machines", network, count))
        nodes: list[Node] = []
        for number, cable in enumerate(network.cables):
            process = NodeProcess(folder / f"node-{number}", _settings(folder, url, cable, certificate, key), code=code,
                                  inside=cable.inside)  # fmt: skip
            process.configure({"server": {"listen": f"{cable.address}:{process.port}"}})
            process.configure(settings or {})
            nodes.append(Node(process, cable))
        places = [node.process.url.removeprefix("https://") for node in nodes]
        behind = stack.enter_context(balancer(folder, places, certificate, key))
        database = Database.connect(url)
        stack.push_async_callback(database.close)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector(limit=0)))
        made = Cluster(nodes, behind, database, playing, http)
        await stack.enter_async_context(_receiving(made, network))
        for node in nodes:
            stack.push_async_callback(asyncio.to_thread, _end, node)
            node.process.password = nodes[0].process.password
            await made.start(node)
        client = made.client(nodes[0])
        await client.log_in(nodes[0].process.password)
        made.session = client.session
        yield made


def _end(node: Node) -> None:
    node.process.signal(signal.SIGKILL)
    node.process.stop()


def _settings(folder: Path, url: str, cable: Cable, certificate: Path, key: Path) -> dict[str, dict[str, Any]]:
    where = url.replace("127.0.0.1", cable.here)
    return {
        "server": {"tls_certificate": str(certificate), "tls_key": str(key), "trusted_proxies": [cable.here]},
        "database": {"url": where, "lease": LEASE},
        "state": {"directory": str(folder / "state")},
        "poll": {"interval": INTERVAL, "timeout": INTERVAL, "command_timeout": 60.0},
    }


@asynccontextmanager
async def _receiving(told: Cluster, network: Network) -> AsyncIterator[None]:
    """Take the web hooks of jobs while the context is open."""

    async def take(request: web.Request) -> web.Response:
        told.hooks.setdefault(request.headers["X-Job-UUID"], []).append(request.headers["X-Job-Success"] == "true")
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", 0).start()  # noqa: S104  the network is the test's own
        told.hooks_at = f"http://{network.agent(249)}:{runner.addresses[0][1]}/hook"
        yield
    finally:
        await runner.cleanup()
