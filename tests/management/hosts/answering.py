"""A server in the place of an agent, which answers whatever a test wants, and what is said of its answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from bs_agent.contract.errors import ApiError, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.http import serving
from bs_agent.management.hosts.agent_client import Target, target

UUID = "0" * 32
EMPTY = {"agentVersion": "1", "hostname": "h", "startedAt": 0, "storages": []}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers everything with `handler`."""

    def __init__(self, tls: ssl.SSLContext, pin: str) -> None:
        self.pin = pin
        self.tls = tls
        self.handler: Handler = nothing
        self.connections: set[object] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Address]:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._handle)
        async with serving(app, Address("127.0.0.1", 0), self.tls) as address:
            yield address

    def break_connections(self) -> None:
        """End all connections."""
        for transport in self.connections:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
        self.connections.clear()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.connections.add(request.transport)
        return await self.handler(request)


async def nothing(_: web.Request) -> web.StreamResponse:
    return web.json_response(EMPTY, headers={"ETag": '"1"'})


def at(address: Address, server: Server, *, keep: bool = False) -> Target:
    return target(address.host, address.port, server.pin, "a token", keep=keep)


async def refused(call: Awaitable[object]) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        await call
    return refusal.value


async def reason(call: Awaitable[object]) -> ReasonCode:
    error = await refused(call)
    assert isinstance(error, StorageProblem)
    return error.reason.code
