"""The certificates that an agent may show: the pinned one, and the one announced. A stranger is told nothing."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.daemon.certificate import ServedCertificate, fingerprint, make_certificates, server_context
from bs_agent.management.hosts.agent_client import Agents, target
from tests.beds.certificate import ensure_certificate
from tests.management.hosts.answering import UUID, Server, nothing, reason, refused

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    certificate, key = await ensure_certificate(tmp_path, "test")
    yield Server(server_context(certificate, key), fingerprint(certificate))


@pytest_asyncio.fixture
async def agents() -> AsyncIterator[Agents]:
    async with Agents.open(60, 60) as client:
        yield client


async def test_another_certificate(server: Server, agents: Agents) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await nothing(request)

    server.handler = handler
    async with server.running() as address:
        for announced in (None, "1" * 64):
            wrong = target(address.host, address.port, "0" * 64, "a token", next_fingerprint=announced)
            error = await refused(agents.report(wrong))
            assert isinstance(error, StorageProblem)
            assert error.reason.code == ReasonCode.CERTIFICATE_CHANGED
            assert server.pin in error.details
            assert not await agents.is_alive(wrong)
    assert asked == [], "nothing is sent to a stranger, least of all the token"


@asynccontextmanager
async def recording(tls: ssl.SSLContext) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Listen with TLS, answer every request in the same way, and tell what each connection has received."""
    received: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            received.append(b"")
            number = len(received) - 1
            while data := await reader.read(65536):
                received[number] += data
                if received[number].endswith((b"}", b"\r\n\r\n")):
                    body = json.dumps({"storageUuid": UUID, "steps": []}).encode()
                    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
                    writer.write(head + body)
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with listener:
        yield listener.sockets[0].getsockname()[1], received


async def test_not_a_byte_is_sent_before_the_certificate_was_looked_at(server: Server, agents: Agents) -> None:
    async with recording(server.tls) as (port, received):
        pins = (("0" * 64, None), ("0" * 64, "1" * 64))
        for pin, announced in pins:
            stranger = target("127.0.0.1", port, pin, "a token", next_fingerprint=announced)
            code = await reason(agents.plan_cleanup(stranger, UUID, UUID, 7))
            assert code == ReasonCode.CERTIFICATE_CHANGED
        assert b"".join(received) == b""
        known = target("127.0.0.1", port, "0" * 64, "a token", next_fingerprint=server.pin)
        await agents.plan_cleanup(known, UUID, UUID, 7)
        (told,) = filter(None, received)
        assert b"Bearer a token" in told, "the one that was announced is told it all, once"


async def test_the_certificate_that_was_announced_is_accepted(tmp_path: Path, server: Server, agents: Agents) -> None:
    present, announced, third = (tmp_path / name / "pair.pem" for name in ("present", "announced", "third"))
    for file in (present, announced, third):
        await make_certificates("test", {file: 1})
    served = ServedCertificate(present)
    server.tls = served.context
    for keep in (True, False):
        served.reload(present)
        async with server.running() as address:
            where = target(
                address.host, address.port, fingerprint(present), "token",
                keep=keep, next_fingerprint=fingerprint(announced),
            )  # fmt: skip
            assert (await agents.report(where)).shown == fingerprint(present)
            for certificate in (announced, present, announced):  # it may be put back, as long as it is pinned
                served.reload(certificate)
                server.break_connections()
                for _ in range(2):
                    told = await agents.report(where)
                    assert (told.report is not None, told.shown) == (True, fingerprint(certificate))
            assert await agents.is_alive(where)
            served.reload(third)
            server.break_connections()
            error = await refused(agents.report(where))
            assert isinstance(error, StorageProblem)
            assert error.reason.code == ReasonCode.CERTIFICATE_CHANGED
            assert fingerprint(third) in error.details
