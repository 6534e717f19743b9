"""Peers that stall, flood or speak no TLS: they are closed in time, and others are served meanwhile."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from bs_agent.agent import app
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.storages.imagestore import ImageStore
from bs_agent.daemon import acceptor, connection, http
from tests.agent.asking import connect, refusal
from tests.agent.conftest import UUID, enrolled, eventually, running_agent
from tests.beds.agent import AgentClient

pytestmark = pytest.mark.asyncio


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def _connected(
    agent: app.Agent, *, tls: bool = True, come_from: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = _tls() if tls else None
    reader, writer = await asyncio.open_connection(*agent.address, ssl=context, local_addr=(come_from, 0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _is_closed(reader: asyncio.StreamReader) -> None:
    """Wait for the peer to close; what it says before does not matter."""
    async with asyncio.timeout(30):
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            return


async def test_silent_peers_are_closed_and_hold_up_nobody(
    agent: app.Agent, client: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "HANDSHAKE_DEADLINE", 1.0)
    monkeypatch.setattr(acceptor, "FIRST_REQUEST_DEADLINE", 1.0)
    silent = [await asyncio.open_connection(*agent.address) for _ in range(50)]
    shaken = [await asyncio.open_connection(*agent.address, ssl=_tls()) for _ in range(10)]
    for _, writer in shaken:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: ")
    assert (await client.ask("GET", "/v1/report")).status == 200
    await asyncio.gather(*(_is_closed(reader) for reader, _ in silent + shaken))
    assert (await client.ask("GET", "/v1/report")).status == 200
    for _, writer in silent + shaken:
        writer.transport.abort()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\0" * 10_000])
async def test_what_is_no_tls_is_closed(agent: app.Agent, client: AgentClient, said: bytes) -> None:
    async with _connected(agent, tls=False) as (reader, writer):
        writer.write(said)
        writer.write_eof()
        await _is_closed(reader)
    assert (await client.ask("GET", "/v1/report")).status == 200


@pytest.mark.parametrize("pause", [None, 0.05], ids=["never", "dripped"])
async def test_a_body_that_does_not_come_is_answered_408(
    agent: app.Agent, client: AgentClient, monkeypatch: pytest.MonkeyPatch, pause: float | None
) -> None:
    monkeypatch.setattr(http, "BODY_DEADLINE", 0.5)
    async with _connected(agent) as (reader, writer):
        head = f"PUT /v1/storages/{UUID} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
        writer.write(f"{head}Authorization: Bearer {client.enrollment.token}\r\n\r\n".encode())

        async def drip() -> None:
            while pause:
                writer.write(b" ")
                await asyncio.sleep(pause)

        dripping = asyncio.create_task(drip())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        await _is_closed(reader)
        dripping.cancel()


async def test_a_request_that_works_is_not_taken_for_a_silent_peer(
    agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "FIRST_REQUEST_DEADLINE", 1.0)
    original = ImageStore.connect

    async def slowly(self: ImageStore, others: list[dict[str, object]]) -> dict[str, object]:
        await asyncio.sleep(2.0)
        return await original(self, others)

    monkeypatch.setattr(ImageStore, "connect", slowly)
    assert (await connect(client, directory)).status == 200


async def test_connections_are_bounded(settings: AgentSettings) -> None:
    few = settings.model_copy(update={"server": settings.server.model_copy(update={"max_connections": 5})})
    async with running_agent(few) as agent, AsyncExitStack() as held:
        last = AsyncExitStack()
        for number in range(2, 7):
            await (last if number == 6 else held).enter_async_context(_connected(agent, come_from=f"127.0.0.{number}"))
        for _ in range(20):
            async with _connected(agent, tls=False) as (reader, _):
                await _is_closed(reader)
        await last.aclose()
        await _answers(agent, come_from="127.0.0.1")


async def test_one_peer_alone_keeps_nobody_out(
    agent: app.Agent, client: AgentClient, caplog: pytest.LogCaptureFixture
) -> None:
    share = agent.host.settings.server.max_connections // 4
    async with AsyncExitStack() as held:
        for number in range(share):
            await held.enter_async_context(_connected(agent, tls=number == 0, come_from="127.0.0.2"))
        for _ in range(20):
            async with _connected(agent, tls=False, come_from="127.0.0.2") as (reader, _):
                await _is_closed(reader)
        assert (await client.ask("GET", "/v1/report")).status == 200
        said = [record.getMessage() for record in caplog.records if "further ones" in record.getMessage()]
        assert said == [f"more than {share} connections from 127.0.0.2: further ones are closed"]
    await _answers(agent, come_from="127.0.0.2")


@pytest.mark.parametrize(
    ("path", "token", "kept"),
    [
        ("/v1/report", True, True),
        ("/v1/nothing", True, True),
        ("/v1/report", False, False),
        ("/v1/nothing", False, False),
        ("/livez", False, False),
        ("/readyz", False, False),
        ("/livez HTTP/1.1\r\nExpect: nonsense\r\nX:", False, False),
    ],
)
async def test_only_who_shows_a_token_keeps_a_connection(
    agent: app.Agent, client: AgentClient, path: str, token: bool, kept: bool
) -> None:
    bearer = f"Authorization: Bearer {client.enrollment.token}\r\n" if token else ""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n{bearer}\r\n".encode()
    async with _connected(agent) as (reader, writer), asyncio.timeout(30):
        for _ in range(3):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next(line for line in head.splitlines() if line.startswith("content-length: "))
            await reader.readexactly(int(length.split()[1]))
            assert ("connection: close" in head) is not kept
            if not kept:
                assert await reader.read() == b""
                return


async def test_a_kept_connection_outlasts_the_longest_pause_of_a_stranger(
    agent: app.Agent, client: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "FIRST_REQUEST_DEADLINE", 0.2)
    monkeypatch.setattr(connection, "KEEPALIVE", 0.2)
    request = f"GET /v1/report HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.enrollment.token}\r\n\r\n".encode()
    async with _connected(agent) as (reader, writer), _connected(agent) as (silent, _), asyncio.timeout(30):
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        await _is_closed(silent)
        writer.write(request)
        await reader.readuntil(b"HTTP/1.1 200 ")


async def _answers(agent: app.Agent, come_from: str) -> None:
    """Ask until there is an answer: that earlier connections have ended is seen a little later."""
    async with asyncio.timeout(30):
        while True:
            with suppress(OSError):
                async with _connected(agent, come_from=come_from) as (reader, writer):
                    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                    if (await reader.readline()).startswith(b"HTTP/1.1 200 "):
                        return
            await asyncio.sleep(0.01)


async def test_descriptors_come_back(agent: app.Agent, client: AgentClient) -> None:
    await client.ask("GET", "/v1/report")
    before = _descriptors()
    for _ in range(100):
        async with _connected(agent):
            pass
    await eventually(lambda: _descriptors() <= before)


async def test_requests_under_way_are_bounded(
    settings: AgentSettings, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = settings.model_copy(update={"server": settings.server.model_copy(update={"max_requests": 3})})
    gate, under_way = asyncio.Event(), []

    async def wait(self: ImageStore, others: list[dict[str, object]]) -> dict[str, object]:
        under_way.append(self)
        await gate.wait()
        return {"url": "", "realPath": ""}

    monkeypatch.setattr(ImageStore, "connect", wait)
    async with running_agent(few) as agent, enrolled(agent) as client:
        waiting = [
            asyncio.create_task(connect(client, directory / f"{number}", f"{number:032x}")) for number in range(3)
        ]
        await eventually(lambda: len(under_way) == 3)
        answer = await client.ask("GET", "/v1/report")
        assert (answer.status, refusal(answer)) == (503, "SYS.1007")
        assert (await client.ask("GET", "/livez")).status == 200
        gate.set()
        await asyncio.gather(*waiting)
        assert (await client.ask("GET", "/v1/report")).status == 200


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
