"""Bad input over HTTP: each fault has its own clear error in the API's structure, and nothing changes."""

import asyncio
import io
from typing import Any

import pytest

from bs_agent.contract.errors import CannotDelete
from tests.management.server import Server, storage_row

pytestmark = pytest.mark.asyncio

UNKNOWN = "0" * 32
STORE = {"name": "store", "hostname": "10.0.0.1", "url": "/images"}


def _params(**values: Any) -> dict[str, Any]:
    return {"params": STORE | values}


async def _refused(server: Server, method: str, path: str, **more: Any) -> tuple[int, str, str]:
    status, body = await server.call(method, path, **more)
    assert set(body) == {"error"}
    assert set(body["error"]) >= {"code", "description", "details"}
    return status, body["error"]["code"], body["error"]["details"]


async def _send(server: Server, text: str) -> bytes:
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(text.encode())
    answered = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    return answered


ADDS: list[tuple[Any, int, str]] = [
    ({}, 503, "field[name]: Field required"),
    ({"params": [1]}, 400, "field[params] of the body must be an object"),
    ([1], 400, "the body must be a JSON object"),
    (_params(sshPort=0), 503, "field[sshPort]: Input should be greater than or equal to 1"),
    (_params(sshPort=65536), 503, "field[sshPort]: Input should be less than or equal to 65535"),
    (_params(sshPort="many"), 400, "field[sshPort]: Input should be a valid integer"),
    (_params(url="images"), 503, "field[url]: must be the absolute path of a directory"),
    (_params(url="/"), 503, "field[url]: must be a directory other than /"),
    (_params(url="//"), 503, "field[url]: must be a directory other than /"),
    (_params(name=""), 503, "field[name]"),
    (_params(name=["x"]), 400, "field[name]: Input should be a valid string"),
    (_params(hostname="a b"), 503, "field[hostname]: must be a host name or an IP address"),
    (_params(hostname="-oProxyCommand=x"), 503, "field[hostname]: must be a host name or an IP address"),
    (_params(resourceUuid="short"), 503, "field[resourceUuid]"),
    (_params(systemTags="tag"), 400, "field[systemTags]: Input should be a valid list"),
    (_params(systemTags=[1]), 400, "field[systemTags.0]: Input should be a valid string"),
    (_params(userTags=[""]), 503, "field[userTags.0]: String should have at least 1 character"),
    (_params(userTags=["x"] * 101), 503, "field[userTags]"),
    (_params(name="a\0b"), 503, "field[name]: a text cannot hold the character NUL"),
    (_params(userTags=["a\0b"]), 503, "field[userTags]: a text cannot hold the character NUL"),
    (_params(name=None), 503, "field[name]: Field required"),
]


@pytest.mark.parametrize(("body", "status", "details"), ADDS, ids=[str(case[0])[:60] for case in ADDS])
async def test_add_with_bad_parameters(server: Server, body: Any, status: int, details: str) -> None:
    refused = await _refused(server, "POST", "/backup-storage/image-store", json=body)
    assert refused[:2] == (status, "SYS.1007")
    assert details in refused[2]
    assert (await server.query(count="true"))[1]["total"] == 0


async def test_a_password_is_not_repeated_in_an_error(server: Server) -> None:
    body = _params(password=["hidden-1"], sshPort="hidden-2")
    assert "hidden" not in str(await _refused(server, "POST", "/backup-storage/image-store", json=body))


async def test_no_session_or_a_wrong_one(server: Server) -> None:
    assert await _refused(server, "GET", "/backup-storage", oauth=UNKNOWN) == (503, "ID.1001", "Session expired")
    answered = await _send(server, "GET /zstack/v1/backup-storage HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 400")
    assert b"missing header 'Authorization'" in answered
    basic = {"Authorization": "Basic YTpi"}
    refused = await _refused(server, "GET", "/backup-storage", headers=basic)
    assert refused == (400, "SYS.1007", "Authorization type must be 'OAuth'")


async def test_parameters_are_checked_before_the_session(server: Server) -> None:
    refused = await _refused(server, "POST", "/backup-storage/image-store", json=_params(url="x"), oauth=UNKNOWN)
    assert refused[1] == "SYS.1007"


async def test_bodies_that_are_no_json(server: Server) -> None:
    path = f"/backup-storage/{UNKNOWN}/actions"
    for data in (b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 10_000 + b"]" * 10_000):
        status, code, details = await _refused(server, "PUT", path, data=data)
        assert (status, code) == (400, "SYS.1007")
        assert "not JSON" in details


async def test_a_body_nested_deep_under_its_key(server: Server) -> None:
    deep = '{"reconnectBackupStorage":' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}"
    assert (await _refused(server, "PUT", f"/backup-storage/{UNKNOWN}/actions", data=deep))[0] == 400


async def test_a_body_that_is_too_large_or_compressed(server: Server) -> None:
    path = "/backup-storage/image-store"
    assert (await _refused(server, "POST", path, data=io.BytesIO(b" " * (1024 * 1024 + 1))))[0] == 413
    refused = await _refused(server, "POST", path, data=b"x", headers={"Content-Encoding": "gzip"})
    assert refused[0] == 415


async def test_an_unknown_action(server: Server) -> None:
    path = f"/backup-storage/{UNKNOWN}/actions"
    bodies: list[dict[str, Any]] = [{"explodeBackupStorage": {}}, {}, {"systemTags": []}]
    for body in bodies:
        status, code, details = await _refused(server, "PUT", path, json=body)
        assert (status, code) == (400, "SYS.1007")
        assert f"the body doesn't contain action mapping to the URL[/v1{path}]" in details


async def test_paths_and_methods_that_there_are_not(server: Server) -> None:
    assert await _refused(server, "GET", "/nothing") == (404, "SYS.1007", "no api mapping to /zstack/v1/nothing")
    status, _, details = await _refused(server, "PATCH", "/backup-storage")
    assert (status, details) == (405, "PATCH /zstack/v1/backup-storage: allowed is GET")


async def test_an_unknown_delete_mode(server: Server) -> None:
    row = storage_row()
    await server.store(row)
    status, code, details = await _refused(server, "DELETE", f"/backup-storage/{row['uuid']}?deleteMode=Sometimes")
    assert (status, code) == (503, "SYS.1007")
    assert "'Permissive' or 'Enforcing'" in details
    twice = "?deleteMode=Permissive&deleteMode=Enforcing"
    assert (await _refused(server, "DELETE", f"/backup-storage/{row['uuid']}{twice}"))[0] == 400
    assert (await server.query(count="true"))[1]["total"] == 1


QUERIES: list[tuple[dict[str, Any], int, str]] = [
    ({"q": "uuid"}, 400, "The 'uuid' in the parameter[q] doesn't contain any query operator"),
    ({"q": ""}, 400, "doesn't contain any query operator"),
    ({"q": "=a"}, 400, "is not a key-value pair split by ="),
    ({"limit": "ten"}, 400, "'limit' must be an integer"),
    ({"limit": "-1"}, 503, "'limit' must be within 0..10000"),
    ({"start": "1.5"}, 400, "'start' must be an integer"),
    ({"q": "colour=red"}, 503, "BackupStorageInventory has no field[colour]; its fields are __systemTag__"),
    ({"q": "zone.colour=red"}, 503, "has no field[zone.colour]; its fields are zone.createDate"),
    ({"q": "planet.name=earth"}, 503, "has no field[planet.name]"),
    ({"q": "sshPassword=x"}, 503, "has no field[sshPassword]"),
    ({"q": "mons.sshPassword=x"}, 503, "has no field[mons.sshPassword]"),
    ({"q": "totalCapacity=much"}, 503, "field[totalCapacity] is a number, not 'much'"),
    ({"q": "totalCapacity=nan"}, 503, "field[totalCapacity] is a number"),
    ({"q": "totalCapacity=1.5"}, 503, "field[totalCapacity] is a whole number"),
    ({"q": "totalCapacity~=1%"}, 503, "field[totalCapacity] is no text"),
    ({"q": "createDate>yesterday"}, 503, "field[createDate] is a date such as"),
    ({"q": "createDate>0001-01-01"}, 503, "field[createDate] is a date such as"),
    ({"q": "capacityStale=perhaps"}, 503, "field[capacityStale] is true or false"),
    ({"q": "capacityStale>true"}, 503, "field[capacityStale] is true or false"),
    ({"q": "name=a\0b"}, 503, "NUL"),
    ({"sort": "colour"}, 503, "invalid order by clause, inventory[BackupStorageInventory] doesn't have field[colour]"),
    ({"groupBy": "colour"}, 503, "invalid group by clause"),
    ({"fields": "name,colour"}, 503, "has no field[colour]"),
    ({"q": [f"name=x{number}" for number in range(101)]}, 503, "at most 100 conditions"),
]


@pytest.mark.parametrize(("parameters", "status", "details"), QUERIES, ids=[str(case[0])[:60] for case in QUERIES])
async def test_bad_queries(server: Server, parameters: dict[str, Any], status: int, details: str) -> None:
    refused = await _refused(server, "GET", "/backup-storage", params=parameters)
    assert refused[:2] == (status, "SYS.1007")
    assert details in refused[2]


async def test_a_storage_that_there_is_not(server: Server) -> None:
    refused = await _refused(server, "PUT", f"/backup-storage/{UNKNOWN}/actions", json={"reconnectBackupStorage": {}})
    assert refused == (
        503,
        "SYS.1003",
        f"invalid field[uuid], resource[uuid:{UNKNOWN}, type:BackupStorageVO] not found",
    )
    assert await server.call("DELETE", f"/backup-storage/{UNKNOWN}") == (200, {})


async def test_a_refused_delete_shows_its_cause(server: Server) -> None:
    row = storage_row()
    await server.store(row)
    server.fleet.fail = CannotDelete("a host was not cleaned", cause=CannotDelete("it does not answer"))
    _, body = await server.call("DELETE", f"/backup-storage/{row['uuid']}")
    assert body["error"]["code"] == "SYS.1004"
    assert body["error"]["cause"]["details"] == "it does not answer"
    assert (await server.query(count="true"))[1]["total"] == 1


async def test_many_wrong_passwords_slow_their_address_down(server: Server) -> None:
    wrong = {"logInByAccount": {"accountName": "admin", "password": "wrong"}}
    # Side by side: an attempt counts when it begins, so slow hashing does not let more of them pass.
    tried = [_refused(server, "PUT", "/accounts/login", json=wrong) for _ in range(60)]
    answers = await asyncio.gather(*tried)
    assert {answer[:2] for answer in answers} == {(503, "ID.1000"), (429, "SYS.1007")}
    assert sum(status == 503 for status, *_ in answers) >= 30
    assert (await server.query(count="true"))[0] == 200
