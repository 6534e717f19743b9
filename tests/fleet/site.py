"""Plays the agents of a site: one port on every loopback address, TLS with each machine's own certificate."""

import asyncio
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from bs_agent.daemon.certificate import server_context
from bs_agent.daemon.descriptors import raise_limit
from tests.fleet.behaviour import Manner, Pace, SimulatedAgent
from tests.fleet.machines import Machine

_TLS_BUFFER = 8 * 1024
_HANDSHAKE = 30.0
_KEPT = 300.0
_SPARE = 200


class TooFewDescriptors(Exception):
    """This process may not have so many connections."""


class Site:
    """The agents by their address, and what they were asked."""

    def __init__(self) -> None:
        self.port = 0
        self.polls: Counter[str] = Counter()
        self.agents: dict[str, SimulatedAgent] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = web.Server(self._answer, access_log=None, keepalive_timeout=_KEPT)

    @asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator[None]:
        """Play the agents while the context is open, at this port or at any."""
        sslproto.SSLProtocol.max_size = _TLS_BUFFER  # asyncio's own would be 256 KiB for each connection
        listening = await asyncio.get_running_loop().create_server(
            lambda: _Door(self), "0.0.0.0", port, backlog=4096  # noqa: S104  all of 127.0.0.0/8
        )  # fmt: skip
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listening.close()
            for task in self._tasks:
                task.cancel()
            await self._server.shutdown(1.0)

    def settle(
        self, machines: Iterable[Machine], manners: Iterable[Manner], pace: Pace, *, serving: bool = True
    ) -> None:
        """Have agents on machines; `serving` says that each has its storage already."""
        for machine, manner in zip(machines, manners, strict=True):
            self.agents[machine.host] = SimulatedAgent(machine, manner, pace, self.polls, serving=serving)

    def welcome(self, transport: asyncio.Transport) -> None:
        """Take a connection, or cut it off where nobody is there."""
        agent = self.agents.get(transport.get_extra_info("sockname")[0])
        if agent is None or agent.is_away:
            transport.abort()
            return
        task = asyncio.create_task(self._shake_hands(transport, agent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shake_hands(self, transport: asyncio.Transport, agent: SimulatedAgent) -> None:
        handler = self._server()
        context = self._contexts.get(agent.machine.host)
        if context is None:
            context = self._contexts[agent.machine.host] = server_context(agent.machine.certificate)
        with suppress(OSError, ssl.SSLError, TimeoutError):
            loop = asyncio.get_running_loop()
            tls = await loop.start_tls(
                transport, handler, context, server_side=True, ssl_handshake_timeout=_HANDSHAKE
            )  # fmt: skip
            if tls is not None:
                handler.connection_made(tls)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        agent = self.agents.get(transport.get_extra_info("sockname")[0]) if transport else None
        if transport is None or agent is None or agent.is_away:
            if transport:
                transport.abort()  # as a machine that has just died
            return web.Response(status=503)
        return await agent.handle(request)


class _Door(asyncio.Protocol):
    """A connection before TLS: which certificate it is shown follows from the address that was called."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()  # what comes is for TLS
        self._site.welcome(transport)


def allow_descriptors(count: int) -> None:
    """Let this process have so many connections.

    Raises:
        TooFewDescriptors: it may not.
    """
    wanted = count + _SPARE
    if (allowed := raise_limit()) < wanted:
        raise TooFewDescriptors(f"{count} agents need {wanted} descriptors, and `ulimit -Hn` is {allowed}")
