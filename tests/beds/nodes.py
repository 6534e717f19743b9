"""Several real management nodes on one PostgreSQL, as on a site."""

import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import operation
from tests.beds.clocks import Clock
from tests.beds.node import NodeClient, NodeProcess, client_of

LEASE = 6
POLL = {"interval": 1.0, "timeout": 1.0, "command_timeout": 60.0}


@dataclass
class Member:
    """One node and a session on it."""

    process: NodeProcess
    client: NodeClient


@dataclass
class Site:
    """The nodes, and their database as one more client of it sees it."""

    members: list[Member]
    database: Database

    async def operations(self) -> dict[str, str]:
        """Return the kinds of the operations that somebody does, or did when it was lost, by key."""
        query = select(operation.c.key, operation.c.kind).where(operation.c.leaseOwner.is_not(None))
        async with self.database.reading() as connection:
            return {row.key: row.kind for row in await connection.execute(query)}

    async def restart(self, member: Member) -> None:
        """Start a node that was killed."""
        member.process.stop()
        member.process.start()


@asynccontextmanager
async def site(
    folder: Path, url: str, count: int, clocks: Mapping[int, Clock] | None = None, **settings: dict[str, Any]
) -> AsyncIterator[Site]:
    """Run so many nodes while the context is open; some by clocks of their own."""
    common: dict[str, dict[str, Any]] = {
        "database": {"url": url, "lease": LEASE}, "state": {"directory": str(folder / "state")}, "poll": POLL,
    }  # fmt: skip
    common |= settings
    async with AsyncExitStack() as stack:
        members: list[Member] = []
        for number in range(count):
            process = NodeProcess(folder / f"node-{number}", common)
            if clocks and number in clocks:
                process.environment = clocks[number].environment
            if members:
                process.password = members[0].process.password
            stack.enter_context(process)
            members.append(Member(process, await stack.enter_async_context(client_of(process))))
        database = Database.connect(url)
        stack.push_async_callback(database.close)
        try:
            yield Site(members, database)
        finally:
            for member in members:
                member.process.signal(signal.SIGCONT)
