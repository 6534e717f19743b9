"""What befalls the database of the nodes while calls come in: restarted, failed over, out of connections."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from tests.beds.postgresql import PostgreSQL
from tests.nodes.cluster import eventually
from tests.nodes.traffic import CUT_SHORT, Traffic

AWAY = frozenset({*CUT_SHORT, "SYS.1000"})
"""How calls may end that the database was not there for: they say so."""


def url_of(*servers: PostgreSQL, name: str) -> str:
    """Return the URL that names these servers, of which one takes writes."""
    places = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://postgres@{places}/{name}?target_session_attrs=read-write"


async def restart(server: PostgreSQL) -> None:
    """Stop the server and start it again."""
    await asyncio.to_thread(server.restart)


async def crowd_out(server: PostgreSQL) -> None:
    """Take all connections that there can be for some seconds; what the nodes have they keep."""
    async with AsyncExitStack() as stack:
        until = time.monotonic() + 5.0
        while time.monotonic() < until:
            if connection := await _one_more(f"postgresql://postgres@127.0.0.1:{server.port}/postgres"):
                stack.push_async_callback(connection.close)
            else:
                await asyncio.sleep(0.1)


async def _one_more(url: str) -> Any:  # noqa: ANN401 RUF100  the driver has no types
    try:
        return await asyncpg.connect(url)
    except asyncpg.TooManyConnectionsError:
        return None


async def befall(traffic: Traffic, calls: int, what: Callable[[], Awaitable[None]]) -> float:
    """Let something befall the database in the middle of so many calls; return after how many seconds one went well.

    Counted from when it was over.
    """
    wanted = traffic.ended + calls // 4
    running = asyncio.create_task(traffic.run(traffic.ended + calls, traffic.cluster.agents))

    async def is_time() -> bool:
        return traffic.ended >= wanted or running.done()

    await eventually(is_time)
    await what()
    before = sum(count for end, count in traffic.ends.items() if end.endswith("well"))

    async def goes_on() -> bool:
        return running.done() or before < sum(count for end, count in traffic.ends.items() if end.endswith("well"))

    seconds = await eventually(goes_on, traffic.cluster.left_over)
    await running
    return seconds
