"""The connections to the agents: kept for long, made at a bounded rate, given up soon when nothing comes through."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from aiohttp import AddrInfoType, ClientRequest, ClientTimeout, TCPConnector
from aiohttp.connector import NEEDS_CLEANUP_CLOSED

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

KEEPALIVE = 3500.0
"""Seconds that an unused connection is kept: a little less than the agents keep it."""
NEW_A_SECOND = 256
"""A handshake costs 2 ms of a processor: when all connections are lost at once, the rest of the node goes on."""
BURST = 64

_limit: ContextVar[asyncio.Timeout | None] = ContextVar("limit", default=None)


class Pace:
    """Lets a bounded number through in a second, in the order in which they come; a few more shortly after a pause."""

    def __init__(self, a_second: float, burst: int) -> None:
        self._each = 1 / a_second
        self._ahead = burst / a_second
        self._taken = 0.0

    async def turn(self) -> float:
        """Wait for a turn; return for how many seconds."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._taken = max(self._taken, now) + self._each
        wait = self._taken - now - self._ahead
        if wait > 0:
            await asyncio.sleep(wait)
        return loop.time() - now


class Connections(TCPConnector):
    """A pool without a bound of its own; `patience` returns the seconds that a request may take.

    For half of these what was sent may stay unacknowledged. So a connection of which a switch or a firewall on the way
    has let go silently is found out while there is time for a new one.
    """

    def __init__(self, patience: Callable[[], float]) -> None:
        self._patience = patience
        self._pace = Pace(NEW_A_SECOND, BURST)
        super().__init__(
            limit=0,
            keepalive_timeout=KEEPALIVE,
            ttl_dns_cache=60,
            enable_cleanup_closed=NEEDS_CLEANUP_CLOSED,
            socket_factory=self._socket,
        )

    def _socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(self._patience() * 500)))
        return made

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list["Trace"],
        timeout: ClientTimeout,  # noqa: ASYNC109  as aiohttp has it
    ) -> "ResponseHandler":
        limit = _limit.get()
        until = limit.when() if limit else None
        if limit and until is not None:
            limit.reschedule(None)  # the wait may be longer than the deadline
            limit.reschedule(until + await self._pace.turn())
        else:
            await self._pace.turn()
        return await super()._create_connection(req, traces, timeout)


@asynccontextmanager
async def within(deadline: float) -> AsyncIterator[None]:
    """Bound what is asked of an agent, in seconds; waiting for the turn to connect does not count.

    Raises:
        TimeoutError: the deadline has passed.
    """
    async with asyncio.timeout(deadline) as limit:
        token = _limit.set(limit)
        try:
            yield
        finally:
            _limit.reset(token)
