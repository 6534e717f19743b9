"""The public API over HTTP: the samples of its page as a client sends them, and what the answers look like."""

import asyncio
import re
from ipaddress import ip_network
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from sqlalchemy import insert

from bs_agent.management.access.address import address_of
from bs_agent.management.access.sessions import Auth
from bs_agent.management.store.tables import host
from tests.management.server import PASSWORD, Server, ceph_row, mon_row, storage_row

pytestmark = pytest.mark.asyncio

UNKNOWN = "0" * 32


async def test_a_query_answers_as_the_sample_on_the_page(server: Server) -> None:
    await server.store(storage_row(uuid="1ab3b836a88342e1bbc1b1a17d092f0f"))
    status, body = await server.query(q="uuid=1ab3b836a88342e1bbc1b1a17d092f0f")
    assert status == 200
    assert body == {
        "inventories": [
            {
                "attachedZoneUuids": [],
                "availableCapacity": 4931431059456,
                "capacityStale": False,
                "createDate": "Apr 11, 2018 2:50:54 PM",
                "description": "",
                "hostname": "172.20.1.115",
                "lastOpDate": "Dec 13, 2019 7:32:49 PM",
                "name": "image-store",
                "sshPort": 22,
                "state": "Enabled",
                "status": "Connected",
                "totalCapacity": 9992857976832,
                "type": "ImageStoreBackupStorage",
                "urgency": 50,
                "url": "/zstack_imagestore",
                "username": "root",
                "uuid": "1ab3b836a88342e1bbc1b1a17d092f0f",
            }
        ],
        "success": True,
    }


async def test_reading_one_answers_with_a_list(server: Server) -> None:
    row = storage_row()
    await server.store(row)
    status, body = await server.call("GET", f"/backup-storage/{row['uuid']}")
    assert (status, [item["uuid"] for item in body["inventories"]]) == (200, [row["uuid"]])
    assert await server.call("GET", f"/backup-storage/{UNKNOWN}") == (200, {"inventories": [], "success": True})


async def test_the_schema_names_the_class_of_each_inventory(server: Server) -> None:
    await server.store(storage_row())
    _, body = await server.call("GET", "/backup-storage", headers={"X-JSON-Schema": "true"})
    kind = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory"
    assert body["schema"] == {"inventories[0]": kind}


async def test_the_answer_is_json_in_utf_8(server: Server) -> None:
    headers = {"Authorization": f"OAuth {server.session}"}
    async with server.http.get(f"{server.url}/backup-storage", headers=headers) as response:
        assert response.headers["Content-Type"] == "application/json;charset=utf-8"


async def test_log_in_and_out(server: Server) -> None:
    body = {"logInByAccount": {"accountName": "admin", "password": PASSWORD}}
    status, opened = await server.call("PUT", "/accounts/login", json=body)
    assert status == 200
    assert opened["inventory"]["accountUuid"] == "36c27e8ff05c4780bf6d2fa65700f22e"
    assert re.fullmatch(r"[A-Z][a-z]{2} \d+, \d{4} \d+:\d\d:\d\d [AP]M", opened["inventory"]["expiredDate"])
    secret = opened["inventory"]["uuid"]
    assert (await server.call("GET", "/backup-storage", oauth=secret))[0] == 200
    assert await server.call("DELETE", f"/accounts/sessions/{secret}") == (200, {})
    assert await server.call("DELETE", f"/accounts/sessions/{secret}") == (200, {})
    status, refused = await server.call("GET", "/backup-storage", oauth=secret)
    assert (status, refused["error"]["code"]) == (503, "ID.1001")


async def test_add_reconnect_and_delete_answer_at_once_without_a_job_uuid(server: Server) -> None:
    parameters = {"name": "a=b & <c>", "hostname": "10.0.0.1", "url": "/images", "password": "pw", "username": "root"}
    status, added = await server.call(
        "POST", "/backup-storage/image-store", json={"params": parameters, "systemTags": []}
    )
    assert status == 200
    assert added["inventory"]["name"] == "a=b & <c>"
    uuid = added["inventory"]["uuid"]
    status, reconnected = await server.call(
        "PUT", f"/backup-storage/{uuid}/actions", json={"reconnectBackupStorage": {}, "systemTags": [], "userTags": []}
    )
    assert (status, reconnected["inventory"]["uuid"]) == (200, uuid)
    assert await server.call("DELETE", f"/backup-storage/{uuid}?deleteMode=Permissive") == (200, {})
    assert (await server.query(q=f"uuid={uuid}"))[1]["inventories"] == []


async def test_delete_takes_its_mode_from_a_body_too(server: Server) -> None:
    status, body = await server.call("DELETE", f"/backup-storage/{UNKNOWN}", json={"deleteMode": "Sometimes"})
    assert status == 503
    assert "field[deleteMode]" in body["error"]["details"]


async def test_a_fault_of_ours_does_not_write_a_session_into_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_self: Auth, _secret: str) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(Auth, "is_valid", fail)
    status, _ = await server.call("GET", f"/accounts/sessions/{server.session}/valid")
    assert status == 503
    assert "/accounts/sessions/{sessionUuid}/valid failed" in caplog.text
    assert server.session not in caplog.text


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.1.2.3", ["192.0.2.7"], "192.0.2.7"),
        ("10.1.2.3", ["203.0.113.9, 192.0.2.7"], "192.0.2.7"),
        ("10.1.2.3", ["203.0.113.9", "2001:db8::1"], "2001:db8::1"),
        ("10.1.2.3", ["nonsense"], "10.1.2.3"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.2.2.3", ["192.0.2.7"], "10.2.2.3"),
    ],
)
async def test_a_trusted_proxy_says_who_calls(peer: str, forwarded: list[str], address: str) -> None:
    transport = Mock(get_extra_info=lambda name: (peer, 1) if name == "peername" else None)
    headers = CIMultiDict([("X-Forwarded-For", one) for one in forwarded])
    request = make_mocked_request("GET", "/", headers=headers, transport=transport)
    assert address_of(request, [ip_network("10.1.0.0/16")]) == address


async def test_two_slashes_before_the_context_path_are_one(server: Server) -> None:
    headers = {"Authorization": f"OAuth {server.session}"}
    reader, writer = await asyncio.open_connection(*server.address)
    lines = ["GET //zstack/v1/backup-storage HTTP/1.1", f"Host: {server.address}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answered = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert answered.startswith(b"HTTP/1.1 200")


async def test_health_needs_no_session(server: Server) -> None:
    for path in ("/livez", "/readyz"):
        async with server.http.get(f"http://{server.address}{path}") as response:
            assert response.status == 200


CONDITIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["alpha", "Beta", "gamma"]),
    ({"q": "name=BETA"}, ["Beta"]),
    ({"q": "name!=beta"}, ["alpha", "gamma"]),
    ({"q": "name?=alpha,gamma,delta"}, ["alpha", "gamma"]),
    ({"q": "name~=%A%"}, ["alpha", "Beta", "gamma"]),
    ({"q": "name!~=%m%"}, ["alpha", "Beta"]),
    ({"q": ["name~=%a", "name!=alpha"]}, ["Beta", "gamma"]),
    ({"q": "sshPort>=2022"}, ["Beta", "gamma"]),
    ({"q": "createDate>Apr 11, 2018 2:50:54 PM"}, ["gamma"]),
    ({"q": "createDate<=2018-04-11T14:50:54Z"}, ["alpha", "Beta"]),
    ({"q": "description is null"}, ["gamma"]),
    ({"q": "description is not null"}, ["alpha", "Beta"]),
    ({"q": "attachedZoneUuids is null"}, ["alpha", "Beta", "gamma"]),
    ({"q": "attachedZoneUuids not null"}, []),
    ({"q": "name='; DROP TABLE backup_storage; --"}, []),
    ({"sort": "-sshPort", "limit": 1}, ["gamma"]),
    ({"sort": "+name", "start": 1, "limit": 1}, ["Beta"]),
    ({"groupBy": "state"}, ["alpha"]),
]


@pytest.mark.parametrize(("parameters", "names"), CONDITIONS, ids=[str(case[0]) for case in CONDITIONS])
async def test_queries(server: Server, parameters: dict[str, Any], names: list[str]) -> None:
    await server.store(
        storage_row(uuid="1" * 32, name="alpha", sshPort=22),
        storage_row(uuid="2" * 32, name="Beta", sshPort=2022),
        storage_row(uuid="3" * 32, name="gamma", sshPort=2222, createDate=1523458255, description=None),
    )
    status, body = await server.query(**parameters)
    assert (status, [item["name"] for item in body["inventories"]]) == (200, names)


async def test_count_fields_and_paging(server: Server) -> None:
    await server.store(*(storage_row(name=f"store-{number}") for number in range(5)))
    assert await server.query(count="true") == (200, {"total": 5, "success": True})
    _, page = await server.query(replyWithCount="true", limit=2, sort="name", fields="name, uuid")
    assert page["total"] == 5
    assert [set(item) for item in page["inventories"]] == [{"name", "uuid"}] * 2
    assert (await server.query(limit=0))[1] == {"inventories": [], "success": True}


async def test_each_kind_has_its_query(server: Server) -> None:
    uuids = {"": ["1" * 32, "2" * 32], "/image-store": ["1" * 32], "/ceph": ["2" * 32]}
    await server.store(storage_row(uuid="1" * 32), ceph_row(uuid="2" * 32))
    async with server.database.writing() as connection:
        await connection.execute(insert(host), mon_row("2" * 32, "mon-1"))
    for kind, wanted in uuids.items():
        _, body = await server.call("GET", f"/backup-storage{kind}", params={"sort": "uuid"})
        assert [item["uuid"] for item in body["inventories"]] == wanted
        for uuid in ("1" * 32, "2" * 32):
            _, body = await server.call("GET", f"/backup-storage{kind}/{uuid}?q=name=ignored")
            assert [item["uuid"] for item in body["inventories"]] == ([uuid] if uuid in wanted else [])
    for condition in ("mons.hostname=MON-1", "mons.status=Connected", "fsid~=d539%", "type=Ceph"):
        _, body = await server.query(q=condition)
        assert [item["uuid"] for item in body["inventories"]] == ["2" * 32], condition
    status, body = await server.call("GET", "/backup-storage/image-store", params={"q": "mons.hostname=mon-1"})
    assert (status, "mons." in body["error"]["details"].partition("its fields are")[2]) == (503, False)
