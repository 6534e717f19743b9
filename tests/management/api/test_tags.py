"""System and user tags: given by calls of their own or inline, found, queried by, deleted, gone with their resource."""

from typing import Any

import pytest
from sqlalchemy import delete

from bs_agent.contract.enrollment import encode
from bs_agent.management.model.host_tags import host_key_tag
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import storage_key
from bs_agent.management.store.tables import tag
from bs_agent.management.store.tags import Tagged, TagStore, shown_keys
from tests.beds.stores import stores
from tests.management.server import Server, serving_node, storage_row

pytestmark = pytest.mark.asyncio

UNKNOWN = "0" * 32
STORAGE = "1ab3b836a88342e1bbc1b1a17d092f0f"


async def _give(server: Server, kind: str, tag: str, uuid: str = STORAGE, of: str = "BackupStorageVO") -> Any:
    body = {"params": {"resourceType": of, "resourceUuid": uuid, "tag": tag}}
    return await server.call("POST", f"/{kind}-tags", json=body)


async def _tags(server: Server, kind: str, **parameters: Any) -> list[str]:
    status, body = await server.call("GET", f"/{kind}-tags", params={"sort": "tag"} | parameters)
    assert status == 200, body
    return [item["tag"] for item in body["inventories"]]


async def test_tags_are_given_found_and_deleted(database: Database) -> None:
    async with serving_node(database) as server:
        await server.store(storage_row(uuid=STORAGE), storage_row())
        for kind, shown in (("system", "System"), ("user", "User")):
            status, body = await _give(server, kind, f"{kind}::rack-7")
            tag = body["inventory"]
            assert (status, tag["type"], tag["resourceUuid"], tag["resourceType"]) == (
                200,
                shown,
                STORAGE,
                "BackupStorageVO",
            )
            assert await _tags(server, kind, q=f"resourceUuid={STORAGE}") == [f"{kind}::rack-7"]
            _, found = await server.query(q=f"__{kind}Tag__~=%RACK-7")
            assert [item["uuid"] for item in found["inventories"]] == [STORAGE]
            _, one = await server.call("GET", f"/{kind}-tags/{tag['uuid']}", headers={"X-JSON-Schema": "true"})
            assert one["inventories"] == [tag]
            assert one["schema"] == {"inventories[0]": f"org.zstack.header.tag.{shown}TagInventory"}
            assert await server.call("DELETE", f"/tags/{tag['uuid']}?deleteMode=Permissive") == (200, {})
            assert await server.call("DELETE", f"/tags/{tag['uuid']}") == (200, {})
            assert await _tags(server, kind) == []


async def test_a_kind_of_tag_is_not_found_among_the_others(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    await _give(server, "system", "a")
    _, body = await _give(server, "user", "b")
    assert (await _tags(server, "system"), await _tags(server, "user")) == (["a"], ["b"])
    _, found = await server.call("GET", f"/system-tags/{body['inventory']['uuid']}")
    assert found["inventories"] == []


async def test_the_same_tag_again_is_the_same_tag(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    first, again = [(await _give(server, "user", "x"))[1]["inventory"]["uuid"] for _ in range(2)]
    assert first == again
    assert await _tags(server, "user") == ["x"]


CODE = encode(7765, "a-token-that-is-a-secret-of-its-agent_43xyz", "ab" * 32)
PINNED = "sshHostKey::SHA256:" + "a" * 43


@pytest.mark.parametrize("tag", [f"agentEnrollment::{CODE}", PINNED])
async def test_what_speaks_of_one_call_is_not_kept(server: Server, tag: str) -> None:
    await server.store(storage_row(uuid=STORAGE))
    status, body = await _give(server, "system", tag)
    assert (status, body["error"]["code"]) == (503, "SYS.1007")
    assert CODE not in str(body)
    body = {"updateBackupStorage": {"name": "n"}, "systemTags": [tag, "kept"]}
    assert (await server.call("PUT", f"/backup-storage/{STORAGE}/actions", json=body))[0] == 200
    assert await _tags(server, "system") == ["kept"]


async def test_tags_of_what_there_is_not(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    for of in ("BackupStorageVO", "ZoneVO"):
        status, body = await _give(server, "user", "x", UNKNOWN, of)
        assert (status, body["error"]["code"]) == (503, "SYS.1003")
        details = f"invalid field[resourceUuid], resource[uuid:{UNKNOWN}, type:{of}] not found"
        assert body["error"]["details"] == details
    assert (await _give(server, "user", "x", STORAGE, "ZoneVO"))[1]["error"]["code"] == "SYS.1003"
    assert (await _give(server, "user", "x", STORAGE, "VmInstanceVO"))[1]["error"]["code"] == "SYS.1007"
    assert (await _give(server, "user", ""))[1]["error"]["code"] == "SYS.1007"
    assert (await _give(server, "user", "x" * 2049))[1]["error"]["code"] == "SYS.1007"
    assert await _tags(server, "user") == []


INLINE: list[tuple[str, str, Any]] = [
    ("PUT", "/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}, "systemTags": ["s"], "userTags": ["u"]}),
    ("PUT", "/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {"systemTags": ["s"], "userTags": ["u"]}}),
    ("PUT", "/backup-storage/{uuid}/actions", {"updateBackupStorage": {"systemTags": ["s"], "userTags": ["u"]}}),
    (
        "PUT",
        "/backup-storage/{uuid}/actions",
        {"changeBackupStorageState": {"stateEvent": "disable", "systemTags": ["s"]}, "userTags": ["u"]},
    ),
    ("POST", "/zones/{zone}/backup-storage/{uuid}", {"params": {"systemTags": ["s"], "userTags": ["u"]}}),
]


@pytest.mark.parametrize(("method", "path", "body"), INLINE, ids=[str(case[2])[:50] for case in INLINE])
async def test_tags_that_travel_with_a_call(server: Server, method: str, path: str, body: Any) -> None:
    await server.store(storage_row(uuid=STORAGE))
    zone = (await server.call("POST", "/zones", json={"params": {"name": "z"}}))[1]["inventory"]["uuid"]
    status, answer = await server.call(method, path.format(uuid=STORAGE, zone=zone), json=body)
    assert status == 200, answer
    assert await _tags(server, "system", q=f"resourceUuid={STORAGE}") == ["s"]
    assert await _tags(server, "user", q=f"resourceUuid={STORAGE}") == ["u"]


async def test_tags_of_a_query_string_reach_a_detach(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    zone = (await server.call("POST", "/zones", json={"params": {"name": "z"}}))[1]["inventory"]["uuid"]
    path = f"/zones/{zone}/backup-storage/{STORAGE}"
    await server.call("POST", path, json={"params": {}})
    assert (await server.call("DELETE", path + "?userTags=moved+out&userTags=rack%207"))[0] == 200
    assert await _tags(server, "user") == ["moved out", "rack 7"]


async def test_the_tags_of_a_failed_call_are_not_kept(server: Server) -> None:
    body = {"updateBackupStorage": {"name": ""}, "userTags": ["u"]}
    await server.store(storage_row(uuid=STORAGE))
    assert (await server.call("PUT", f"/backup-storage/{STORAGE}/actions", json=body))[0] == 503
    assert await _tags(server, "user") == []


async def test_the_tags_of_a_zone_go_with_it(server: Server) -> None:
    body = {"params": {"name": "z", "systemTags": ["s", "s"], "userTags": ["u"]}}
    zone = (await server.call("POST", "/zones", json=body))[1]["inventory"]["uuid"]
    assert await _tags(server, "system", q="resourceType=ZoneVO") == ["s"]
    _, found = await server.call("GET", "/zones", params={"q": ["__systemTag__=s", "__userTag__!=x"]})
    assert [item["uuid"] for item in found["inventories"]] == [zone]
    await server.call("DELETE", f"/zones/{zone}")
    assert (await _tags(server, "system"), await _tags(server, "user")) == ([], [])


async def test_the_tags_of_a_storage_go_with_it(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE), storage_row(uuid="2" * 32))
    for uuid in (STORAGE, "2" * 32):
        await _give(server, "system", "s", uuid)
        await _give(server, "user", "u", uuid)
    async with stores(server.database) as one, one.turn(storage_key(STORAGE), "delete") as held:
        await one.storages.remove(held, STORAGE, [])
    assert await _tags(server, "system", q=f"resourceUuid={STORAGE}") == []
    assert (await _tags(server, "system"), await _tags(server, "user")) == (["s"], ["u"])


async def test_the_tag_that_shows_a_pinned_host_key_stays(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    shown = host_key_tag("SHA256:" + "a" * 43)
    (uuid,) = await TagStore(server.database).add(Tagged("BackupStorageVO", STORAGE), "System", [shown]) or []
    status, body = await server.call("DELETE", f"/tags/{uuid}")
    assert (status, body["error"]["code"]) == (503, "SYS.1004")
    assert await _tags(server, "system") == [shown]


@pytest.mark.parametrize("kind", ["user", "system"])
async def test_a_tag_that_only_looks_like_it_means_nothing(database: Database, kind: str) -> None:
    """A user tag is its user's, and so is a system tag in other letters: deleted by hand, and by nothing else."""
    shown = PINNED if kind == "user" else PINNED.upper()
    async with serving_node(database) as server:
        await server.store(storage_row(uuid=STORAGE))
        _, body = await _give(server, kind, shown)
        async with database.writing() as connection:
            await connection.execute(delete(tag).where(shown_keys(STORAGE, "")))
        assert await _tags(server, kind) == [shown]
        assert await server.call("DELETE", f"/tags/{body['inventory']['uuid']}") == (200, {})
        assert await _tags(server, kind) == []
