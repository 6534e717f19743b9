"""What no handler ever sees is answered in the form of all errors, repeats nothing, and no answer names a version."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from bs_agent.daemon.configuration import Address
from bs_agent.daemon.connection import connector
from bs_agent.daemon.http import MAX_BODY, read_json, render_errors, serving
from bs_agent.daemon.logs import is_our_matter

pytestmark = pytest.mark.asyncio

HOST = b"Host: x\r\n"
GET, POST = b"GET /get HTTP/1.1\r\n" + HOST, b"POST /echo HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"

UNREADABLE: dict[str, bytes] = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00s3cret\r\n\r\n",
    "method": b"GE\x01T /s3cret HTTP/1.1\r\n\r\n",
    "unknown method": b"S3CRET /get HTTP/1.1\r\n" + HOST + b"\r\n",
    "version": b"GET /s3cret HTTP/9.9s3cret\r\n" + HOST + b"\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "long line": b"GET /" + b"s3cret" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "long query": b"GET /get?" + b"s3cret" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "long header": GET + b"X: " + b"s3cret" * 2000 + b"\r\n\r\n",
    "long name": GET + b"s3cret" * 2000 + b": x\r\n\r\n",
    "many headers": GET + b"".join(b"X%d: s3cret\r\n" % number for number in range(200)) + b"\r\n",
    "no colon": GET + b"s3cret\r\n\r\n",
    "nul in a header": GET + b"X: a\x00s3cret\r\n\r\n",
    "control character in a name": GET + b"X\x01: s3cret\r\n\r\n",
    "folded header": GET + b"X: a\r\n s3cret\r\n\r\n",
    "bare line feeds": b"GET /s3cret HTTP/1.1\nHost: x\n\n",
    "bytes in the path": b"GET /\xff\xfes3cret HTTP/1.1\r\n" + HOST + b"\r\n",
    "address": b"GET http://[::s3cret/get HTTP/1.1\r\n" + HOST + b"\r\n",
    "length": POST + b"Content-Length: s3cret\r\n\r\n{}",
    "negative length": POST + b"Content-Length: -5\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    "length and chunks": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "transfer encoding": POST + b"Transfer-Encoding: s3cret\r\n\r\n0\r\n\r\n",
    "chunk": POST + CHUNKED + b"\r\ns3cret\r\n\r\n",
}


async def _echo(request: web.Request) -> web.Response:
    return web.json_response({"echo": await read_json(request)})


async def _get(_request: web.Request) -> web.Response:
    return web.json_response({})


async def _broken(_request: web.Request) -> web.Response:
    raise RuntimeError("s3cret")


@pytest_asyncio.fixture
async def address() -> AsyncIterator[Address]:
    app = web.Application(middlewares=[render_errors], client_max_size=MAX_BODY)
    app.add_routes([web.post("/echo", _echo), web.get("/get", _get), web.get("/broken", _broken)])
    async with serving(app, Address("127.0.0.1", 0), None) as where:
        yield where


async def _ask(address: Address, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, and return status, headers and body of the one answer."""
    reader, writer = await asyncio.open_connection(*address)
    async with asyncio.timeout(30):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    writer.close()
    return int(status.split()[1]), headers, body


@pytest.mark.parametrize("request_", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read_is_refused_and_not_repeated(
    address: Address, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    status, headers, body = await _ask(address, request_)
    error = json.loads(body)["error"]
    assert (status, error["code"], set(error)) == (400, "SYS.1007", {"code", "description", "details"})
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["server"] == "bs-agent"
    assert b"s3cret" not in body.lower()
    written = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert not any(is_our_matter(record) for record in written)
    too_long = "the request line, or a header, is longer than 8190 bytes"
    assert (error["details"] == too_long) == (len(request_) > 8190)


async def test_an_expectation_that_cannot_be_met(address: Address) -> None:
    for path in (b"/echo", b"/nowhere"):
        request = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nExpect: s3cret\r\nContent-Length: 2\r\n\r\n{}"
        status, headers, body = await _ask(address, request)
        assert (status, headers["server"], b"s3cret" in body) == (417, "bs-agent", False)
        assert json.loads(body)["error"]["code"] == "SYS.1007"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_in_another_form_than_it_says_is_no_fault_of_ours(
    address: Address, encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = POST + f"Content-Encoding: {encoding}\r\nContent-Length: 6\r\n\r\ns3cret".encode()
    status, _, body = await _ask(address, request)
    assert (status in {400, 415}, b"s3cret" in body) == (True, False)
    async with aiohttp.ClientSession(connector=connector()) as client, client.get(f"http://{address}/get") as answer:
        assert answer.status == 200
    assert not any(is_our_matter(record) for record in caplog.records if record.name == "aiohttp.server")


async def test_who_hangs_up_in_the_middle_of_a_body_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    app = web.Application(middlewares=[render_errors])
    ended = asyncio.Event()

    async def read(request: web.Request) -> web.Response:
        try:
            return await _echo(request)
        finally:
            ended.set()

    app.add_routes([web.post("/echo", read)])
    async with serving(app, Address("127.0.0.1", 0), None) as where:
        _, writer = await asyncio.open_connection(*where)
        writer.write(POST + b"Content-Length: 60\r\n\r\ncut")
        writer.close()
        await asyncio.wait_for(ended.wait(), 30)
        await writer.wait_closed()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_no_answer_names_a_version(address: Address) -> None:
    asked = [
        ("GET", "/get"),
        ("HEAD", "/get"),
        ("GET", "/nowhere"),
        ("PATCH", "/get"),
        ("POST", "/echo"),
        ("GET", "/broken"),
    ]
    async with aiohttp.ClientSession(connector=connector()) as client:
        for method, path in asked:
            async with client.request(method, f"http://{address}{path}") as answer:
                assert answer.headers.getall("Server") == ["bs-agent"], path
                said = str(answer.headers) + await answer.text()
            assert "aiohttp" not in said.lower()
            assert "python" not in said.lower()
            assert "s3cret" not in said


async def test_a_fault_that_no_middleware_renders_has_our_form() -> None:
    app = web.Application()
    app.add_routes([web.get("/broken", _broken)])
    async with serving(app, Address("127.0.0.1", 0), None) as where:
        status, _, body = await _ask(where, b"GET /broken HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n")
    assert (status, json.loads(body)["error"]["code"]) == (503, "SYS.1000")
