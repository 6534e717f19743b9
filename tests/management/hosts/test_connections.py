"""Kept connections that end at the worst moment cost a new one and no answer; new ones are made at a bounded rate."""

import asyncio
import ctypes
import resource
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_asyncio

from bs_agent.contract.errors import Overloaded
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import ImageStoreParameters
from bs_agent.daemon.certificate import fingerprint, server_context
from bs_agent.management.hosts import connections
from bs_agent.management.hosts.agent_client import Agents, Target, target
from bs_agent.management.hosts.connections import Pace
from tests.beds.certificate import ensure_certificate
from tests.management.hosts.answering import UUID, reason, refused

pytestmark = pytest.mark.asyncio

REPORT = b'{"agentVersion":"1","hostname":"h","startedAt":0,"storages":[]}'
STORAGE = b'{"type":"ImageStoreBackupStorage","uuid":"%s","url":"/x","usage":{}}' % UUID.encode()
DONE = b'{"uuid":"%s","storageUuid":"%s","state":"done","steps":[],"createdAt":0}' % (UUID.encode(), UUID.encode())
PLAN = b'{"storageUuid":"%s","steps":[]}' % UUID.encode()

SO_ATTACH_FILTER = 26

End = Callable[["Peer"], None]


class Peer(asyncio.Protocol):
    """One connection of an agent that answers the first request on it, and ends it with `end` when a second comes."""

    peers: ClassVar[list["Peer"]] = []
    end: ClassVar[End]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.requests = 0
        self.peers.append(self)

    def data_received(self, data: bytes) -> None:
        if not data.startswith((b"GET", b"PUT", b"POST", b"DELETE")):
            return  # a body that comes apart from its head
        self.requests += 1
        if self.requests > 1:
            type(self).end(self)
            return
        answers = {b"PUT": STORAGE, b"DELETE": b"{}", b"POST": DONE}
        body = next((answer for method, answer in answers.items() if data.startswith(method)), REPORT)
        if b'"dryRun":true' in data:
            body = PLAN
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def close(peer: Peer) -> None:
    peer.transport.close()


def abort(peer: Peer) -> None:
    peer.transport.abort()


def cut(peer: Peer) -> None:
    peer.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    peer.transport.close()


@asynccontextmanager
async def listening(folder: Path, end: End) -> AsyncIterator[Target]:
    certificate, key = await ensure_certificate(folder, "test")
    Peer.peers, Peer.end = [], staticmethod(end)
    server = await asyncio.get_running_loop().create_server(
        Peer, "127.0.0.1", 0, ssl=server_context(certificate, key)
    )  # fmt: skip
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield target("127.0.0.1", port, fingerprint(certificate), "a token", keep=True)
        abandon()


def abandon() -> None:
    for peer in Peer.peers:
        peer.transport.abort()


@pytest_asyncio.fixture
async def agents() -> AsyncIterator[Agents]:
    async with Agents.open(60, 60) as client:
        yield client


CALLS: dict[str, Callable[[Agents, Target], Awaitable[object]]] = {
    "report": lambda agents, at: agents.report(at),
    "connect": lambda agents, at: agents.connect(at, UUID, ImageStoreParameters(url="/x"), 7),
    "cleanup": lambda agents, at: agents.cleanup(at, UUID, UUID, 7, deadline=60),
    "plan": lambda agents, at: agents.plan_cleanup(at, UUID, UUID, 7),
    "forget": lambda agents, at: agents.forget(at, UUID),
}


@pytest.mark.parametrize("end", [close, abort, cut], ids=["closed", "reset", "cut"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_connection_that_ends_at_the_moment_of_its_reuse(
    tmp_path: Path, agents: Agents, call: Callable[[Agents, Target], Awaitable[object]], end: End
) -> None:
    async with listening(tmp_path, end) as at:
        await agents.report(at)
        await call(agents, at)
        assert [peer.requests for peer in Peer.peers] == [2, 1]


async def test_one_that_always_ends_the_connection_is_not_asked_for_ever(tmp_path: Path, agents: Agents) -> None:
    async with listening(tmp_path, close) as at:
        await agents.report(at)
        for peer in Peer.peers:
            peer.requests = 1
        Peer.connection_made, made = _used_up, Peer.connection_made  # type: ignore[method-assign]
        try:
            for call in CALLS.values():
                assert await reason(call(agents, at)) == ReasonCode.AGENT_UNREACHABLE
        finally:
            Peer.connection_made = made  # type: ignore[method-assign]
        assert len(Peer.peers) <= 1 + 2 * len(CALLS)


def _used_up(self: Peer, transport: asyncio.BaseTransport) -> None:
    assert isinstance(transport, asyncio.Transport)
    self.transport, self.requests = transport, 1
    self.peers.append(self)


async def test_a_connection_that_a_switch_has_forgotten(tmp_path: Path, agents: Agents) -> None:
    agents.timeout = 4
    async with listening(tmp_path, close) as at:
        await agents.report(at)
        (peer,) = Peer.peers
        swallow(peer.transport.get_extra_info("socket"))
        agents.timeout = 60
        assert (await agents.report(at)).report is not None
        assert [peer.requests for peer in Peer.peers] == [1, 1]


def swallow(connection: socket.socket) -> None:
    """Have the kernel drop whatever comes for a connection, and acknowledge nothing: a filter that lets nothing in."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    raw = socket.socket(fileno=socket.dup(connection.fileno()))
    with raw:
        raw.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


async def test_new_connections_have_a_rate() -> None:
    loop, pace = asyncio.get_running_loop(), Pace(1000, 3)
    started = loop.time()
    await asyncio.gather(*(pace.turn() for _ in range(20)))
    assert loop.time() - started >= 16 / 1000, "the first three at once, the others a thousandth of a second apart"


async def test_a_few_new_connections_need_not_wait() -> None:
    seldom = Pace(1 / 3600, 3)
    for _ in range(3):
        await seldom.turn()
    fourth = asyncio.create_task(seldom.turn())
    _, waiting = await asyncio.wait([fourth], timeout=0.05)
    assert waiting == {fourth}
    fourth.cancel()
    await asyncio.wait([fourth])


async def test_waiting_for_the_turn_to_connect_is_not_held_against_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is longer than all that the agent has to answer, as after each restart of a large site's node."""
    async with listening(tmp_path, close) as at, Agents.open(0.3, 0.3) as agents:
        monkeypatch.setattr(connections.Pace, "turn", slowly)
        assert (await agents.report(at)).report is not None


async def slowly(_: Pace) -> float:
    await asyncio.sleep(0.5)
    return 3600.0


async def test_what_this_machine_lacks_is_no_fault_of_an_agent(agents: Agents) -> None:
    bounds = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, bounds[1]))
    try:
        error = await refused(agents.report(target("127.0.0.1", 1, "0" * 64, "t")))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, bounds)
    assert isinstance(error, Overloaded)
    assert error.details == "this machine cannot connect to 127.0.0.1:1: Too many open files"
