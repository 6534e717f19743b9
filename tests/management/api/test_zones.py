"""Zones: made, found, deleted; backup storages attached to them and detached."""

import asyncio
from typing import Any

import pytest

from tests.management.server import Server, serving_node, storage_row

pytestmark = pytest.mark.asyncio

UNKNOWN = "0" * 32
STORAGE = "1ab3b836a88342e1bbc1b1a17d092f0f"


async def _zone(server: Server, **parameters: Any) -> dict[str, Any]:
    body = {"params": {"name": "z1"} | parameters}
    status, answer = await server.call("POST", "/zones", json=body)
    assert status == 200, answer
    made: dict[str, Any] = answer["inventory"]
    return made


async def _refused(server: Server, method: str, path: str, **more: Any) -> tuple[str, str]:
    status, body = await server.call(method, path, **more)
    assert status == 503, body
    return body["error"]["code"], body["error"]["details"]


async def _zones(server: Server, **parameters: Any) -> list[dict[str, Any]]:
    status, body = await server.call("GET", "/zones", params=parameters)
    assert status == 200, body
    found: list[dict[str, Any]] = body["inventories"]
    return found


async def test_a_zone_is_made_found_and_deleted(server: Server) -> None:
    made = await _zone(server, description="d", isDefault=True)
    uuid = made["uuid"]
    assert (made["name"], made["description"], made["isDefault"], made["state"]) == ("z1", "d", True, "Enabled")
    assert await _zones(server, q="name=Z1") == [made]
    status, body = await server.call("GET", f"/zones/{uuid}", headers={"X-JSON-Schema": "true"})
    assert (status, body["inventories"]) == (200, [made])
    assert body["schema"] == {"inventories[0]": "org.zstack.header.zone.ZoneInventory"}
    assert await server.call("DELETE", f"/zones/{uuid}?deleteMode=Permissive") == (200, {})
    assert await server.call("DELETE", f"/zones/{uuid}?deleteMode=Permissive") == (200, {})
    assert await _zones(server) == []


async def test_there_is_one_default_zone_at_most(server: Server) -> None:
    first = await _zone(server, name="first", isDefault=True)
    await _zone(server, name="other")
    second = await _zone(server, name="second", isDefault=True)
    assert [zone["uuid"] for zone in await _zones(server, q="isDefault=true")] == [second["uuid"]]
    assert [zone["name"] for zone in await _zones(server, q="isDefault=false", sort="name")] == ["first", "other"]
    assert first["isDefault"] is True


async def test_a_zone_may_have_a_uuid_that_is_free(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    assert (await _zone(server, resourceUuid="a" * 32))["uuid"] == "a" * 32
    for taken in ("a" * 32, STORAGE):
        body = {"params": {"name": "z2", "resourceUuid": taken}}
        assert (await _refused(server, "POST", "/zones", json=body))[0] == "SYS.1007"
    assert len(await _zones(server)) == 1


async def test_a_storage_is_attached_and_detached(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE), storage_row())
    zone = await _zone(server, name="east")
    path = f"/zones/{zone['uuid']}/backup-storage/{STORAGE}"
    status, attached = await server.call("POST", path, json={"params": {}})
    assert (status, attached["inventory"]["attachedZoneUuids"]) == (200, [zone["uuid"]])
    code, details = await _refused(server, "POST", path, json={"params": {}})
    assert code == "SYS.1006"
    assert details == f"backup storage[uuid:{STORAGE}] has been attached to zone[uuid:{zone['uuid']}]"
    for condition in ("zone.name=EAST", f"zone.uuid={zone['uuid']}", f"attachedZoneUuids={zone['uuid']}"):
        _, found = await server.query(q=condition)
        assert [item["uuid"] for item in found["inventories"]] == [STORAGE], condition
    status, detached = await server.call("DELETE", path)
    assert (status, detached["inventory"]["attachedZoneUuids"]) == (200, [])
    code, details = await _refused(server, "DELETE", path)
    assert code == "SYS.1006"
    assert details == f"backup storage[uuid:{STORAGE}] has not been attached to zone[uuid:{zone['uuid']}]"


async def test_attaching_what_there_is_not(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    zone = (await _zone(server))["uuid"]
    for method in ("POST", "DELETE"):
        assert await _refused(server, method, f"/zones/{UNKNOWN}/backup-storage/{STORAGE}") == (
            "SYS.1003",
            f"invalid field[zoneUuid], resource[uuid:{UNKNOWN}, type:ZoneVO] not found",
        )
        assert await _refused(server, method, f"/zones/{zone}/backup-storage/{UNKNOWN}") == (
            "SYS.1003",
            f"invalid field[backupStorageUuid], resource[uuid:{UNKNOWN}, type:BackupStorageVO] not found",
        )


async def test_a_zone_goes_without_its_storages(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    zone = (await _zone(server))["uuid"]
    await server.call("POST", f"/zones/{zone}/backup-storage/{STORAGE}", json={"params": {}})
    assert await server.call("DELETE", f"/zones/{zone}") == (200, {})
    _, body = await server.query(q=f"uuid={STORAGE}")
    assert body["inventories"][0]["attachedZoneUuids"] == []


async def test_attached_side_by_side_it_is_attached_once(database: Any) -> None:
    async with serving_node(database) as server:
        await server.store(storage_row(uuid=STORAGE))
        zone = (await _zone(server))["uuid"]
        path = f"/zones/{zone}/backup-storage/{STORAGE}"
        answers = await asyncio.gather(*(server.call("POST", path, json={"params": {}}) for _ in range(5)))
        assert sorted(status for status, _ in answers) == [200, 503, 503, 503, 503]
        assert {body["error"]["code"] for status, body in answers if status == 503} == {"SYS.1006"}
