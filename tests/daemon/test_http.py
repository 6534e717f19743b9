"""The HTTP edge against a real server: every bad body, and what errors look like."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from yarl import URL

from bs_agent.contract.errors import ResourceNotFound
from bs_agent.daemon.certificate import fingerprint, server_context
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.connection import connector
from bs_agent.daemon.http import MAX_BODY, read_json, render_errors, serving
from tests.beds.certificate import ensure_certificate

pytestmark = pytest.mark.asyncio


async def _echo(request: web.Request) -> web.Response:
    return web.json_response({"echo": await read_json(request)})


async def _not_found(_request: web.Request) -> web.Response:
    raise ResourceNotFound("resource[uuid:x] not found")


async def _broken(_request: web.Request) -> web.Response:
    raise RuntimeError("secret detail")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[str]:
    app = web.Application(middlewares=[render_errors], client_max_size=MAX_BODY)
    app.add_routes([web.post("/echo", _echo), web.get("/missing", _not_found), web.get("/broken", _broken)])
    async with serving(app, Address("127.0.0.1", 0), None) as address:
        yield f"http://{address}"


async def _post(server: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, object]]:
    async with (
        aiohttp.ClientSession(connector=connector()) as client,
        client.post(f"{server}/echo", data=io.BytesIO(body), headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_body_comes_back(server: str) -> None:
    assert await _post(server, b'{"a": [1, "\\u003d"]}') == (200, {"echo": {"a": [1, "="]}})
    assert await _post(server, b"  ") == (200, {"echo": {}})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"{'a': 1}", 400),
        (b"NaN", 400),
        (b'"\\ud800"', 400),
        (b"\xff\xfe", 400),
        (b"[" * 10_000 + b"]" * 10_000, 400),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b" " * (MAX_BODY + 1), 413),
    ],
    ids=["cut", "quotes", "nan", "surrogate", "encoding", "deep-list", "deep-object", "large"],
)
async def test_bad_bodies(server: str, body: bytes, status: int) -> None:
    answered, shown = await _post(server, body)
    assert answered == status
    assert isinstance(shown["error"], dict)
    assert set(shown["error"]) == {"code", "description", "details"}


async def test_a_compressed_body_is_refused(server: str) -> None:
    status, _ = await _post(server, b"{}", {"Content-Encoding": "gzip"})
    assert status in (400, 415)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/missing", 503, "SYS.1003"),
        ("GET", "/broken", 503, "SYS.1000"),
        ("GET", "/nowhere", 404, "SYS.1007"),
        ("GET", "/echo", 405, "SYS.1007"),
    ],
)
async def test_errors_have_one_form(server: str, method: str, path: str, status: int, code: str) -> None:
    async with aiohttp.ClientSession(connector=connector()) as client, client.request(method, server + path) as answer:
        text = await answer.text()
    assert answer.status == status
    assert json.loads(text)["error"]["code"] == code
    assert "secret" not in text
    assert answer.headers.get("Allow") == ("POST" if status == 405 else None)


async def test_an_answer_that_a_handler_sends_by_itself_names_no_versions_either() -> None:
    async def begin(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a piece")
        return response

    app = web.Application()
    app.add_routes([web.get("/", begin)])
    async with (
        serving(app, Address("127.0.0.1", 0), None, known_only=True) as address,
        aiohttp.ClientSession(connector=connector()) as client,
        client.get(f"http://{address}/") as answer,
    ):
        assert (answer.headers["Server"], await answer.read()) == ("bs-agent", b"a piece")
        assert answer.headers["Connection"] == "close", "nobody trusts who asked"


async def test_no_handler_sees_a_path_with_nul(server: str) -> None:
    """PostgreSQL takes no such text: it would be a fault of ours."""
    for path in ("/broken%00", "/%00", "/echo/a%00b"):
        async with (
            aiohttp.ClientSession(connector=connector()) as client,
            client.get(URL(server + path, encoded=True)) as answer,
        ):
            assert (answer.status, "NUL" in await answer.text()) == (400, True)


async def test_a_body_that_never_comes_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bs_agent.daemon.http.BODY_DEADLINE", 0.2)
    host, port = server.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_tls_with_a_certificate_of_its_own_that_peers_pin(tmp_path: Path) -> None:
    certificate, key = await ensure_certificate(tmp_path / "tls", "host one")
    assert (await ensure_certificate(tmp_path / "tls", "other")) == (certificate, key)
    assert key.stat().st_mode & 0o777 == 0o600
    app = web.Application()
    app.add_routes([web.post("/echo", _echo)])
    async with serving(app, Address("127.0.0.1", 0), server_context(certificate, key)) as address:
        right = aiohttp.Fingerprint(bytes.fromhex(fingerprint(certificate)))
        async with aiohttp.ClientSession(connector=connector()) as client:
            async with client.post(f"https://{address}/echo", json={}, ssl=right) as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ServerFingerprintMismatch):
                await client.post(f"https://{address}/echo", json={}, ssl=aiohttp.Fingerprint(b"\0" * 32))
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        assert old.minimum_version <= ssl.TLSVersion.TLSv1_2
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(address.host, address.port, ssl=old)
