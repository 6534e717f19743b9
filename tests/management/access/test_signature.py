"""Requests that an access key signs: as clients compute it, and every way in which it can be wrong."""

import base64
import hashlib
import hmac
import time
from email.utils import formatdate

import pytest
from sqlalchemy import update

from bs_agent.contract.errors import RequestError
from bs_agent.management.access.signature import MOST_SKEW, parse_date
from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import used_signature
from tests.management.server import Server, serving_node

ID, SECRET = "AKAKAKAKAKAKAKAKAKAK", "a secret of forty characters, or so it is"[:40]


def _date(seconds: float = 0, zone: str = "Etc/UTC") -> str:
    return formatdate(time.time() + seconds, usegmt=True).replace("GMT", zone)


def _signed(method: str, path: str, date: str, secret: str = SECRET) -> dict[str, str]:
    """Sign as the reference says; `path` has no query string."""
    text = f"{method}\n{date}\n/v1{path}".encode()
    signature = base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha1).digest()).decode()
    return {"Authorization": f"ZStack {ID}:{signature}", "date": date}


async def _key(server: Server) -> str:
    body = {"params": {"AccessKeyID": ID, "AccessKeySecret": SECRET}}
    status, answer = await server.call("POST", "/accesskeys", json=body)
    assert status == 200
    return str(answer["inventory"]["uuid"])


async def _error(server: Server, headers: dict[str, str], path: str = "/zones") -> tuple[int, str, str]:
    status, body = await server.call("GET", path, headers=headers)
    return status, body["error"]["code"], body["error"]["details"]


@pytest.mark.asyncio
async def test_signed_requests_are_served_for_the_account(server: Server) -> None:
    uuid = await _key(server)
    for zone in ("Etc/UTC", "GMT", "UTC", "Z"):
        assert (await server.call("GET", "/zones", headers=_signed("GET", "/zones", _date(zone=zone))))[0] == 200
    query = await server.call("GET", "/zones?q=name=x", headers=_signed("GET", "/zones", _date()))
    assert query[0] == 200
    body = {"params": {"name": "zone"}}
    headers = _signed("POST", "/zones", _date()) | {"X-Job-UUID": "4" * 32}
    assert (await server.call("POST", "/zones", json=body, headers=headers))[0] == 202
    path = f"/accesskeys/{uuid}"
    assert (await server.call("DELETE", path, headers=_signed("DELETE", path, _date())))[0] == 200
    refused = await _error(server, _signed("GET", "/zones", _date()))
    assert refused == (503, "ID.1000", "wrong access key or signature")


@pytest.mark.asyncio
async def test_a_signature_counts_for_its_method_path_and_date_only(server: Server) -> None:
    await _key(server)
    date = _date()
    wrong = (503, "ID.1000", "wrong access key or signature")
    assert await _error(server, _signed("POST", "/zones", date)) == wrong
    assert await _error(server, _signed("GET", "/accounts", date)) == wrong
    assert await _error(server, _signed("GET", "/zones", date, "another secret")) == wrong
    assert await _error(server, _signed("GET", "/zones", date) | {"date": _date(5)}) == wrong
    unknown = _signed("GET", "/zones", date)["Authorization"].replace(ID, "B" * 20)
    assert await _error(server, {"Authorization": unknown, "date": date}) == wrong


@pytest.mark.asyncio
@pytest.mark.parametrize("seconds", [-MOST_SKEW - 60, MOST_SKEW + 60])
async def test_a_date_too_far_off_is_refused(server: Server, seconds: float) -> None:
    await _key(server)
    refused = await _error(server, _signed("GET", "/zones", _date(seconds)))
    assert refused == (403, "SYS.1007", "requestTimeTooSkewed")
    near = _date(seconds * 0.8)
    assert (await server.call("GET", "/zones", headers=_signed("GET", "/zones", near)))[0] == 200


@pytest.mark.asyncio
async def test_headers_that_are_not_as_they_should_be(server: Server) -> None:
    for value in ("ZStack", "ZStack x", "ZStack :x", "ZStack x:", "ZStack a b:c", "ZStack \u00e9:x"):
        status, code, _ = await _error(server, {"Authorization": value, "date": _date()})
        assert (status, code) == (400, "SYS.1007")
    status, _, details = await _error(server, {"Authorization": f"ZStack {ID}:x"})
    assert (status, details) == (400, "missing header 'Date': an access key wants it")
    status, _, details = await _error(server, {"Authorization": f"ZStack {ID}:x", "date": "yesterday"})
    assert (status, details[:6]) == (400, "'Date'")


@pytest.mark.parametrize(
    "text",
    [
        "Thu, 01 Jan 1970 00:00:00 Etc/UTC",
        "Thu, 1 Jan 1970 00:00:00 GMT",
        "Thu, 01 Jan 1970 08:00:00 +08:00",
        "Thu, 01 Jan 1970 08:00:00 GMT+8",
        "Thu, 01 Jan 1970 08:00:00 Asia/Shanghai",
        "Wed, 31 Dec 1969 19:00:00 America/New_York",
    ],
)
def test_dates(text: str) -> None:
    assert parse_date(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "Thu, 01 Jan 1970 00:00:00",
        "Thu, 32 Jan 1970 00:00:00 GMT",
        "Thu, 01 Foo 1970 00:00:00 GMT",
        "Thu, 01 Jan 1970 24:00:00 GMT",
        "Thu, 01 Jan 0000 00:00:00 GMT",
        "Thu, 01 Jan 1970 00:00:00 Moon/Crater",
        "Thu, 01 Jan 1970 00:00:00 ../../etc/passwd",
        "Thu, 01 Jan 1970 00:00:00 GMT+99",
    ],
)
def test_no_dates(text: str) -> None:
    with pytest.raises(RequestError, match="'Date' must be"):
        parse_date(text)


@pytest.mark.asyncio
async def test_a_signed_request_is_not_taken_again_on_another_node_or_after_a_restart(database: Database) -> None:
    async with serving_node(database) as server:
        await _key(server)
        signed = _signed("GET", "/zones", _date())
        assert (await server.call("GET", "/zones", headers=signed))[0] == 200
    await _age(database, 11)
    async with serving_node(database) as other:
        used = (503, "ID.1000", "the signature was used before; sign each request anew")
        assert await _error(other, signed) == used
        assert await _error(other, signed) == used
        assert (await other.call("GET", "/zones", headers=_signed("GET", "/zones", _date(300))))[0] == 200


async def _age(database: Database, seconds: float) -> None:
    async with database.writing() as connection:
        older = used_signature.c.usedDate - seconds
        await connection.execute(update(used_signature).values(usedDate=older))
