"""Requests exactly as the vendor's Java SDK sends them, and what it needs of the answers: status, schema, location."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert
from yarl import URL

from bs_agent.management.store.tables import host
from tests.management.server import PASSWORD, Server, ceph_row, mon_row, storage_row

pytestmark = pytest.mark.asyncio

STORAGE, CEPH = "1" * 32, "2" * 32
IMAGE_STORE_CLASS = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory"
CEPH_CLASS = "org.zstack.storage.ceph.backup.CephBackupStorageInventory"
MON_CLASS = "org.zstack.storage.ceph.backup.CephBackupStorageMonInventory"


async def _send(
    server: Server, method: str, path: str, body: str = "", *, job: str = "", session: bool = True
) -> tuple[int, Any]:
    headers = {"X-Job-UUID": job or uuid4().hex, "X-JSON-Schema": "true"}
    if session:
        headers["Authorization"] = f"OAuth {server.session}"
    headers |= {"Connection": "Keep-Alive", "Accept-Encoding": "gzip", "User-Agent": "okhttp/3.13.1"}
    if body:
        headers["Content-Type"] = "application/json; charset=utf-8"
    url = URL(server.url + path, encoded=True)
    async with server.http.request(
        method, url, headers=headers, data=body.encode(), skip_auto_headers=["Content-Type"]
    ) as response:
        return response.status, json.loads(await response.read())


async def _result(server: Server, method: str, path: str, body: str = "") -> tuple[int, Any]:
    """Make an asynchronous call, and poll where its answer says."""
    job = uuid4().hex
    status, accepted = await _send(server, method, path, body, job=job)
    assert status == 202, accepted
    assert accepted["location"] == f"{server.url}/api-jobs/{job}"
    headers = {"Authorization": f"OAuth {server.session}", "X-JSON-Schema": "true"}
    async with asyncio.timeout(30):
        while True:
            async with server.http.get(accepted["location"], headers=headers) as response:
                if response.status != 202:
                    return response.status, json.loads(await response.read())
                assert await response.json() == {}
            await asyncio.sleep(0.02)


async def test_log_in_and_log_out(server: Server) -> None:
    body = '{"logInByAccount":{"accountName":"admin","password":"' + PASSWORD + '"}}'
    status, answer = await _send(server, "PUT", "/accounts/login", body, session=False)
    assert (status, answer["schema"]) == (200, {"inventory": "org.zstack.header.identity.SessionInventory"})
    path = f"/accounts/sessions/{answer['inventory']['uuid']}"
    assert await _send(server, "DELETE", path, session=False) == (200, {"schema": {}})


async def test_a_query_of_both_kinds_names_the_parents_first(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE), ceph_row(uuid=CEPH))
    async with server.database.writing() as connection:
        await connection.execute(insert(host), [mon_row(CEPH, "mon-1"), mon_row(CEPH, "mon-2")])
    status, answer = await _send(server, "GET", "/backup-storage?sort=%2Buuid")
    assert status == 200
    assert list(answer["schema"].items()) == [
        ("inventories[0]", IMAGE_STORE_CLASS),
        ("inventories[1]", CEPH_CLASS),
        ("inventories[1].mons[0]", MON_CLASS),
        ("inventories[1].mons[1]", MON_CLASS),
    ]
    assert len(answer["inventories"][1]["mons"]) == 2
    assert isinstance(answer["inventories"][0]["totalCapacity"], int)
    assert answer["inventories"][0]["createDate"] == "Apr 11, 2018 2:50:54 PM"
    _, nothing = await _send(server, "GET", f"/backup-storage/{'9' * 32}")
    assert (nothing["inventories"], nothing["schema"]) == ([], {})


QUERIES: list[tuple[str, list[str]]] = [
    ("q=name%7E%3D%25a%20b%25", ["a b"]),
    ("q=description%20is%20null", ["a+b"]),
    ("q=name%3Da%2Bb", ["a+b"]),
    ("q=name%3Da+b", ["a b"]),
    ("q=name%3Dit%27s%20%22x%22%20%21%3D%20%5B1%5D%7C%26%3F%23", ['it\'s "x" != [1]|&?#']),
    ("q=uuid%3F%3D" + STORAGE + "%2C" + CEPH + "&q=name%21%3Da%20b", ['it\'s "x" != [1]|&?#']),
    ("limit=1&start=1&count=false&groupBy=name&replyWithCount=true&sort=-name&fields=name%2Cuuid", ["a+b"]),
    ("sort=%2Bname&limit=1", ["a b"]),
    ("sort=name&limit=1", ["a b"]),
]


@pytest.mark.parametrize(("query", "names"), QUERIES, ids=[query for query, _ in QUERIES])
async def test_query_strings(server: Server, query: str, names: list[str]) -> None:
    await server.store(
        storage_row(uuid=STORAGE, name="a b"),
        storage_row(uuid=CEPH, name='it\'s "x" != [1]|&?#'),
        storage_row(name="a+b", description=None),
    )
    status, answer = await _send(server, "GET", f"/backup-storage?{query}")
    assert (status, [item["name"] for item in answer["inventories"]]) == (200, names), answer
    assert len(answer["schema"]) == len(names)


async def test_a_count(server: Server) -> None:
    await server.store(storage_row(), storage_row())
    status, answer = await _send(server, "GET", "/backup-storage?count=true")
    assert (status, answer) == (200, {"total": 2, "schema": {}, "success": True})


async def test_an_escaped_body_adds_what_was_meant(server: Server) -> None:
    body = (
        '{"params":{"name":"\\u003cmy\\u003e \\u0026 it\\u0027s\\u003d","hostname":"10.0.0.1","username":"root",'
        '"password":"p","sshPort":22,"url":"/images","importImages":false,"userTags":["a"],"systemTags":[]}}'
    )
    status, answer = await _result(server, "POST", "/backup-storage/image-store", body)
    assert (status, answer["schema"]) == (200, {"inventory": IMAGE_STORE_CLASS})
    assert answer["inventory"]["name"] == "<my> & it's="


async def test_ceph_calls(server: Server) -> None:
    body = '{"params":{"monUrls":["root:password@localhost/?monPort\\u003d7777"],"name":"my bs","importImages":false}}'
    status, added = await _result(server, "POST", "/backup-storage/ceph", body)
    assert (status, added["inventory"]["mons"][0]["monPort"]) == (200, 7777)
    assert list(added["schema"].items()) == [("inventory", CEPH_CLASS), ("inventory.mons[0]", MON_CLASS)]
    path = f"/backup-storage/ceph/{added['inventory']['uuid']}/mons"
    status, more = await _result(server, "POST", path, '{"params":{"monUrls":["root:p@h1","root:p@h2"]}}')
    assert (status, len(more["inventory"]["mons"])) == (200, 3)
    mon = next(mon["monUuid"] for mon in more["inventory"]["mons"] if mon["hostname"] == "localhost")
    body = '{"updateCephBackupStorageMon":{"hostname":"h","sshPort":22,"monPort":6789}}'
    status, changed = await _result(server, "PUT", f"/backup-storage/ceph/mons/{mon}/actions", body)
    assert status == 200
    assert "h" in {mon["hostname"] for mon in changed["inventory"]["mons"]}
    status, fewer = await _result(server, "DELETE", f"{path}?monHostnames=h1&monHostnames=h2")
    assert (status, [mon["hostname"] for mon in fewer["inventory"]["mons"]]) == (200, ["h"])


async def test_the_life_of_a_storage(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    actions = f"/backup-storage/{STORAGE}/actions"
    for path, body in (
        (actions, '{"reconnectBackupStorage":{}}'),
        (f"/backup-storage/image-store/{STORAGE}/actions", '{"reconnectImageStoreBackupStorage":{}}'),
        (actions, '{"changeBackupStorageState":{"stateEvent":"disable"}}'),
        (actions, '{"updateBackupStorage":{"name":"new","description":"d"}}'),
    ):
        status, answer = await _result(server, "PUT", path, body)
        assert (status, answer["schema"]) == (200, {"inventory": IMAGE_STORE_CLASS}), body
    assert (answer["inventory"]["name"], answer["inventory"]["state"]) == ("new", "Disabled")
    path = f"/backup-storage/{STORAGE}?deleteMode=Permissive&systemTags=a+b&userTags=c"
    assert await _result(server, "DELETE", path) == (200, {"schema": {}})
    status, answer = await _result(server, "PUT", actions, '{"reconnectBackupStorage":{}}')
    assert (status, answer["error"]["code"]) == (503, "SYS.1003")


async def test_zones_and_capacities(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    status, made = await _result(
        server, "POST", "/zones", '{"params":{"name":"z1","description":"d","isDefault":true}}'
    )
    assert (status, made["schema"]) == (200, {"inventory": "org.zstack.header.zone.ZoneInventory"})
    zone = made["inventory"]["uuid"]
    pair = f"/zones/{zone}/backup-storage/{STORAGE}"
    status, attached = await _result(server, "POST", pair, '{"params":{}}')
    assert (status, attached["inventory"]["attachedZoneUuids"]) == (200, [zone])
    query = f"/backup-storage/capacities?all=false&zoneUuids={zone}&zoneUuids=z+2&backupStorageUuids=a"
    status, sums = await _send(server, "GET", query)
    assert (status, sums["totalCapacity"], sums["availableCapacity"]) == (200, 9992857976832, 4931431059456)
    assert (await _result(server, "DELETE", pair))[1]["inventory"]["attachedZoneUuids"] == []
    status, types = await _send(server, "GET", "/backup-storage/types")
    assert (status, types["schema"]["types[0]"]) == (200, "java.lang.String")
