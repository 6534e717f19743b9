"""The client of the agent protocol against servers that break every promise, and one that keeps them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from bs_agent.contract.errors import InvalidArgument, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import ImageStoreParameters
from bs_agent.daemon.certificate import fingerprint, server_context
from bs_agent.daemon.configuration import Address
from bs_agent.management.hosts.agent_client import MAX_ANSWER, Agents, Told, target
from tests.beds.certificate import ensure_certificate
from tests.management.hosts.answering import EMPTY, UUID, Handler, Server, at, nothing, reason, refused

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    certificate, key = await ensure_certificate(tmp_path, "test")
    yield Server(server_context(certificate, key), fingerprint(certificate))


@pytest_asyncio.fixture
async def agents() -> AsyncIterator[Agents]:
    async with Agents.open(60, 60) as client:
        yield client


async def test_an_unchanged_report_is_not_sent_again(server: Server, agents: Agents) -> None:
    seen: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers.get("If-None-Match", ""), request.headers["Authorization"]))
        if seen[-1][0] == '"1"':
            return web.Response(status=304)
        return await nothing(request)

    server.handler = handler
    async with server.running() as address:
        told = await agents.report(at(address, server))
        assert told.report is not None
        assert (told.report.hostname, told.etag, told.shown) == ("h", '"1"', server.pin)
        assert (await agents.report(at(address, server), told.etag))._replace(date="") == Told(
            None, told.etag, server.pin, until=told.until
        )
    assert seen == [("", "Bearer a token"), ('"1"', "Bearer a token")]


@pytest.mark.parametrize(("keep", "connections"), [(True, 1), (False, 5)])
async def test_connections_are_kept_where_that_is_wanted(
    server: Server, agents: Agents, keep: bool, connections: int
) -> None:
    async with server.running() as address:
        where = at(address, server, keep=keep)
        for _ in range(5):
            await agents.report(where)
    assert len(server.connections) == connections


async def test_a_later_value_finds_the_connection_of_an_earlier_one(server: Server, agents: Agents) -> None:
    async with server.running() as address:
        for _ in range(3):
            await agents.report(at(address, server, keep=True))
        assert len(server.connections) == 1
        await agents.report(at(address, server))
        assert len(server.connections) == 2, "what is asked without keeping anything has a connection of its own"


async def test_a_kept_connection_that_was_closed_meanwhile(server: Server, agents: Agents) -> None:
    async with server.running() as address:
        where = at(address, server, keep=True)
        await agents.report(where)
        server.break_connections()
        assert (await agents.report(where)).report is not None


def answers(response: Callable[[], web.Response]) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return response()

    return handler


def error_of(code: str, details: str = "seen") -> web.Response:
    return web.json_response({"error": {"code": code, "description": "", "details": details}}, status=503)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (lambda: web.Response(status=401), ReasonCode.AGENT_UNAUTHORIZED),
        (lambda: error_of("BS.NoQuorum"), ReasonCode.NO_QUORUM),
        (lambda: error_of("BS.NotOfThisVersion"), ReasonCode.AGENT_FAULT),
        (lambda: error_of("SYS.1000"), ReasonCode.AGENT_FAULT),
        (lambda: web.Response(status=500, text="x" * 10_000), ReasonCode.AGENT_FAULT),
        (lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1:1/"}), ReasonCode.AGENT_FAULT),
        (lambda: web.Response(text="<html>"), ReasonCode.AGENT_FAULT),
        (lambda: web.json_response({**EMPTY, "storages": 1}), ReasonCode.AGENT_FAULT),
        (lambda: web.Response(body=b'{"a":' * 100_000), ReasonCode.AGENT_FAULT),
        (lambda: web.Response(body=b" " * (MAX_ANSWER + 1)), ReasonCode.AGENT_FAULT),
    ],
)
async def test_answers_that_are_none(
    server: Server, agents: Agents, response: Callable[[], web.Response], code: ReasonCode
) -> None:
    server.handler = answers(response)
    async with server.running() as address:
        error = await refused(agents.report(at(address, server)))
        assert isinstance(error, StorageProblem)
        assert error.reason.code == code
        assert len(error.details) < 700


async def test_an_agent_that_refuses_what_it_is_told(server: Server, agents: Agents) -> None:
    refusal = {"error": {"code": "SYS.1007", "description": "", "details": "no such kind"}}
    server.handler = answers(lambda: web.json_response(refusal, status=400))
    async with server.running() as address:
        parameters = ImageStoreParameters(url="/x")
        error = await refused(agents.connect(at(address, server), UUID, parameters, 7))
    assert isinstance(error, InvalidArgument)
    assert error.details.endswith("no such kind")


async def test_what_an_agent_says_against_a_command_is_cut(server: Server, agents: Agents) -> None:
    refusal = {"error": {"code": "SYS.1007", "description": "", "details": "\0" + "x" * 100_000}}
    server.handler = answers(lambda: web.json_response(refusal, status=400))
    async with server.running() as address:
        error = await refused(agents.report(at(address, server)))
    assert isinstance(error, InvalidArgument)
    assert "\0" not in error.details
    assert len(error.details) < 2100


@pytest.mark.parametrize("number", ["9223372036854775808", "-1", "1e999", "NaN", "1" + "0" * 4000, '"x"', "null"])
async def test_a_number_out_of_bounds_spoils_its_own_section(server: Server, agents: Agents, number: str) -> None:
    counts = '"availableCapacity": 1, "totalInodes": 1, "availableInodes": 1, "readOnly": false'
    usage = f'{{"value": {{"totalCapacity": {number}, {counts}}}, "ageSeconds": 1}}'
    entry = f'{{"type": "ImageStoreBackupStorage", "url": "/x", "uuid": "{UUID}", "usage": {usage}}}'
    other = entry.replace(f'y": {number}', 'y": 5').replace(UUID, "1" * 32)
    body = json.dumps(EMPTY).replace("[]", f"[{entry}, {other}]")
    server.handler = answers(lambda: web.Response(text=body))
    async with server.running() as address:
        report = (await agents.report(at(address, server))).report
    assert report is not None
    spoilt, well = report.storages
    assert [reason.code for reason in spoilt.reasons()] == [ReasonCode.REPORT_INVALID]
    assert well.reasons() == []


async def test_an_etag_that_is_no_text_is_not_kept(server: Server, agents: Agents) -> None:
    body = json.dumps(EMPTY).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b'HTTP/1.1 200 OK\r\nETag: "\xff"\r\nContent-Length: %d\r\n\r\n'
        writer.write(head % len(body) + body)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server.tls)
    async with listener:
        port: int = listener.sockets[0].getsockname()[1]
        where = at(Address("127.0.0.1", port), server)
        told = await agents.report(where)
        assert (await agents.report(where, told.etag)).report is not None


async def test_the_number_of_the_operation_goes_with_each_command(server: Server, agents: Agents) -> None:
    numbers: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        numbers.append(json.loads(await request.text())["number"])
        return error_of("BS.CommandOutdated")

    server.handler = handler
    async with server.running() as address:
        where, number = at(address, server), 2**53 - 1
        for call in (
            agents.connect(where, UUID, ImageStoreParameters(url="/x"), number),
            agents.plan_cleanup(where, UUID, UUID, number),
            agents.cleanup(where, UUID, UUID, number, deadline=60),
        ):
            assert await reason(call) == ReasonCode.COMMAND_OUTDATED
    assert numbers == [number] * 3


async def test_an_endless_answer_is_cut_off(server: Server, agents: Agents) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    server.handler = handler
    async with server.running() as address:
        error = await refused(agents.report(at(address, server)))
        assert "larger than" in error.details


async def test_a_dripping_answer_meets_the_deadline(server: Server, agents: Agents) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    server.handler = handler
    agents.timeout = 0.3
    async with server.running() as address:
        assert await reason(agents.report(at(address, server))) == ReasonCode.AGENT_TIMEOUT


async def test_what_is_no_agent_at_all(agents: Agents) -> None:
    async def shout(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        writer.close()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for behaviour, code in ((shout, ReasonCode.AGENT_UNREACHABLE), (hang, ReasonCode.AGENT_TIMEOUT)):
        agents.timeout = 0.3 if behaviour is hang else 60
        listener = await asyncio.start_server(behaviour, "127.0.0.1", 0)
        async with listener:
            port: int = listener.sockets[0].getsockname()[1]
            assert await reason(agents.report(target("127.0.0.1", port, "0" * 64, "token"))) == code
    agents.timeout = 60
    assert await reason(agents.report(target("127.0.0.1", port, "0" * 64, "t"))) == ReasonCode.AGENT_UNREACHABLE
    nowhere = target("no-such-host.invalid", 1, "0" * 64, "t")
    assert await reason(agents.report(nowhere)) == ReasonCode.AGENT_UNREACHABLE


async def test_a_cleanup_is_followed_to_its_end(server: Server, agents: Agents) -> None:
    states = iter(["accepted", "running", "running", "done"])
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(f"{request.method} {request.path}")
        if request.method == "POST":
            told = {"commandUuid": UUID, "number": 7, "dryRun": False, "hostOnly": False}
            assert json.loads(await request.text()) == told
        state = next(states)
        return web.json_response({"uuid": UUID, "storageUuid": UUID, "state": state, "steps": [], "createdAt": 0})

    server.handler = handler
    async with server.running() as address:
        command = await agents.cleanup(at(address, server), UUID, UUID, 7, deadline=60)
    assert command.state == "done"
    assert asked == [f"POST /v1/storages/{UUID}/cleanup", *[f"GET /v1/commands/{UUID}"] * 3]


@pytest.mark.parametrize(
    ("answer", "deadline", "code"),
    [
        ({"state": "failed", "error": {"code": "DirectoryHung", "details": "x"}}, 60, ReasonCode.DIRECTORY_HUNG),
        ({"state": "interrupted"}, 60, ReasonCode.COMMAND_INTERRUPTED),
        ({"state": "running"}, 0.3, ReasonCode.AGENT_TIMEOUT),
    ],
)
async def test_a_cleanup_that_does_not_end_well(
    server: Server, agents: Agents, answer: dict[str, object], deadline: float, code: ReasonCode
) -> None:
    command = {"uuid": UUID, "storageUuid": UUID, "steps": [], "createdAt": 0, **answer}
    server.handler = answers(lambda: web.json_response(command))
    async with server.running() as address:
        assert await reason(agents.cleanup(at(address, server), UUID, UUID, 7, deadline=deadline)) == code


async def test_an_enrolment_that_is_not_known_is_forgotten(server: Server, agents: Agents) -> None:
    async with server.running() as address:
        await agents.forget(at(address, server), UUID)
        server.handler = answers(lambda: web.Response(status=404))
        await agents.forget(at(address, server), UUID)
        server.handler = answers(lambda: web.Response(status=500))
        assert await reason(agents.forget(at(address, server), UUID)) == ReasonCode.AGENT_FAULT
        await agents.forget_quietly(at(address, server), UUID)
