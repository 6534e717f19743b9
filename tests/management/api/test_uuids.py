"""A uuid means the same resource in capitals, with hyphens and with blanks around it; another text names nothing."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import insert
from yarl import URL

from bs_agent.management.access.sessions import ADMIN_UUID
from bs_agent.management.store.tables import host
from tests.management.server import PASSWORD, Server, ceph_row, mon_row, storage_row

pytestmark = pytest.mark.asyncio

STORAGE, CEPH, ZONE = "1ab3b836a88342e1bbc1b1a17d092f0f", "2" * 31 + "c", "3" * 31 + "d"

Form = Callable[[str], str]


def _hyphens(uuid: str) -> str:
    return "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:])).upper()


FORMS: dict[str, Form] = {"capitals": str.upper, "hyphens": _hyphens, "blanks": lambda uuid: f" {uuid.upper()} "}


@pytest.fixture(params=list(FORMS.values()), ids=list(FORMS))
def form(request: pytest.FixtureRequest) -> Form:
    written: Form = request.param
    return written


async def _fill(server: Server) -> dict[str, str]:
    """Make one resource of each kind; return what cannot be named beforehand."""
    await server.store(storage_row(uuid=STORAGE, availableCapacity=7), ceph_row(uuid=CEPH))
    mons = [mon_row(CEPH, "mon-1"), mon_row(CEPH, "mon-2")]
    async with server.database.writing() as connection:
        await connection.execute(insert(host), mons)
    await server.call("POST", "/zones", json={"params": {"name": "z", "resourceUuid": ZONE}})
    await server.call("POST", f"/zones/{ZONE}/backup-storage/{STORAGE}", json={"params": {}})
    body = {"params": {"resourceType": "BackupStorageVO", "resourceUuid": STORAGE, "tag": "t"}}
    _, tag = await server.call("POST", "/user-tags", json=body)
    _, key = await server.call("POST", "/accesskeys", json={"params": {}})
    return {"mon": mons[0]["monUuid"], "tag": tag["inventory"]["uuid"], "key": key["inventory"]["uuid"]}


async def _ask(server: Server, method: str, path: str, *uuids: str, **more: Any) -> Any:
    url = URL(server.url + path.format(*(quote(uuid, safe="") for uuid in uuids)), encoded=True)
    headers = {"Authorization": f"OAuth {server.session}"}
    async with server.http.request(method, url, headers=headers, **more) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer


async def _has(server: Server, path: str, uuid: str) -> bool:
    return bool((await _ask(server, "GET", path, uuid))["inventories"])


async def test_a_delete_deletes(server: Server, form: Form) -> None:
    made = await _fill(server)
    for path, looked_at, uuid in (
        ("/tags/{}", "/user-tags/{}", made["tag"]),
        ("/accesskeys/{}", "/accesskeys/{}", made["key"]),
        ("/zones/{}", "/zones/{}", ZONE),
        ("/backup-storage/{}", "/backup-storage/{}", STORAGE),
    ):
        assert await _has(server, looked_at, form(uuid))
        assert await _ask(server, "DELETE", path, form(uuid)) == {}
        assert not await _has(server, looked_at, uuid), path


async def test_a_change_changes(server: Server, form: Form) -> None:
    made = await _fill(server)
    storage = "/backup-storage/{}/actions"
    bodies: list[dict[str, Any]] = [
        {"updateBackupStorage": {"name": "new"}},
        {"changeBackupStorageState": {"stateEvent": "disable"}},
        {"reconnectBackupStorage": {}},
    ]
    for body in bodies:
        changed = await _ask(server, "PUT", storage, form(STORAGE), json=body)
        assert changed["inventory"]["uuid"] == STORAGE
    assert (changed["inventory"]["name"], changed["inventory"]["state"]) == ("new", "Disabled")
    reconnected = await _ask(
        server,
        "PUT",
        "/backup-storage/image-store/{}/actions",
        form(STORAGE),
        json={"reconnectImageStoreBackupStorage": {}},
    )
    assert reconnected["inventory"]["uuid"] == STORAGE
    mons = "/backup-storage/ceph/{}/mons"
    await _ask(server, "POST", mons, form(CEPH), json={"params": {"monUrls": ["mon-3"]}})
    body = {"updateCephBackupStorageMon": {"sshPort": 2222}}
    await _ask(server, "PUT", "/backup-storage/ceph/mons/{}/actions", form(made["mon"]), json=body)
    left = await _ask(server, "DELETE", mons + "?monHostnames=mon-2", form(CEPH))
    assert {mon["hostname"]: mon["sshPort"] for mon in left["inventory"]["mons"]} == {"mon-1": 2222, "mon-3": 22}
    pair = "/zones/{}/backup-storage/{}"
    assert (await _ask(server, "DELETE", pair, form(ZONE), form(STORAGE)))["inventory"]["attachedZoneUuids"] == []
    attached = await _ask(server, "POST", pair, form(ZONE), form(STORAGE), json={"params": {}})
    assert attached["inventory"]["attachedZoneUuids"] == [ZONE]
    body = {"updateAccount": {"password": PASSWORD}}
    assert (await _ask(server, "PUT", "/accounts/{}", form(ADMIN_UUID), json=body))["inventory"]["uuid"] == ADMIN_UUID


async def test_what_a_body_or_a_query_string_names_is_found(server: Server, form: Form) -> None:
    await _fill(server)
    for kind in ("user", "system"):
        body = {"params": {"resourceType": "BackupStorageVO", "resourceUuid": form(STORAGE), "tag": "named"}}
        assert (await _ask(server, "POST", f"/{kind}-tags", json=body))["inventory"]["resourceUuid"] == STORAGE
    key = await _ask(server, "POST", "/accesskeys", json={"params": {"accountUuid": form(ADMIN_UUID)}})
    assert key["inventory"]["accountUuid"] == ADMIN_UUID
    for name, uuid in (("backupStorageUuids", STORAGE), ("zoneUuids", ZONE)):
        summed = await _ask(server, "GET", f"/backup-storage/capacities?{name}={{}}&{name}=nothing", form(uuid))
        assert summed["availableCapacity"] == 7


@pytest.mark.parametrize(
    ("path", "condition", "found"),
    [
        ("/backup-storage", "uuid={0}", [STORAGE]),
        ("/backup-storage", "uuid!={0}", [CEPH]),
        ("/backup-storage", "uuid?={0},{1}", [STORAGE, CEPH]),
        ("/backup-storage", "uuid!?={0}", [CEPH]),
        ("/backup-storage", "attachedZoneUuids={2}", [STORAGE]),
        ("/backup-storage", "zone.uuid?={2}", [STORAGE]),
        ("/backup-storage", "mons.backupStorageUuid={1}", [CEPH]),
        ("/zones", "uuid={2}", [ZONE]),
    ],
)
async def test_conditions_on_uuids(server: Server, form: Form, path: str, condition: str, found: list[str]) -> None:
    await _fill(server)
    asked = condition.format(form(STORAGE), form(CEPH), form(ZONE))
    status, answer = await server.call("GET", path, params={"q": asked, "sort": "name"})
    assert status == 200, answer
    assert sorted(item["uuid"] for item in answer["inventories"]) == found


async def test_patterns_on_uuids_and_fsids_do_not_look_at_capitals(server: Server) -> None:
    await _fill(server)
    for condition, uuid in (("uuid~=1AB3B8%", STORAGE), ("fsid=D53902BC-FF50-4D08-8769-9D83448478D3", CEPH)):
        _, answer = await server.query(q=condition)
        assert [item["uuid"] for item in answer["inventories"]] == [uuid]


async def test_a_session_ends_and_counts_in_every_form(server: Server, form: Form) -> None:
    opened = await server.auth.log_in("admin", PASSWORD, "127.0.0.1")
    path = "/accounts/sessions/{}"
    assert (await _ask(server, "GET", path + "/valid", form(opened.secret)))["validSession"] is True
    assert (await server.call("GET", "/zones", oauth=form(opened.secret)))[0] == 200
    await _ask(server, "DELETE", path, form(opened.secret))
    assert (await _ask(server, "GET", path + "/valid", opened.secret))["validSession"] is False
    other = (await _ask(server, "GET", "/accounts/open-sessions"))["inventories"][0]["uuid"]
    async with server.http.delete(
        URL(f"{server.url}/accounts/open-sessions/{quote(form(other))}", encoded=True),
        headers={"Authorization": f"OAuth {server.session}"},
    ) as response:
        assert response.status == 200
    assert not await server.auth.is_valid(server.session)


async def test_a_new_resource_has_the_one_form(server: Server, form: Form) -> None:
    body = {"params": {"name": "z", "resourceUuid": form(ZONE)}}
    assert (await _ask(server, "POST", "/zones", json=body))["inventory"]["uuid"] == ZONE
    status, refused = await server.call("POST", "/zones", json={"params": {"name": "y", "resourceUuid": ZONE}})
    assert (status, refused["error"]["code"]) == (503, "SYS.1007")


@pytest.mark.parametrize("text", ["nothing", "1" * 31, "1" * 33, "ä/ö", "..a", "%25"])
async def test_a_text_that_is_no_uuid_names_nothing(server: Server, text: str) -> None:
    await _fill(server)
    for path in ("/backup-storage/{}", "/backup-storage/ceph/{}", "/zones/{}", "/user-tags/{}", "/accounts/{}"):
        assert (await _ask(server, "GET", path, text))["inventories"] == []
    for path in ("/backup-storage/{}", "/zones/{}", "/tags/{}", "/accesskeys/{}", "/accounts/open-sessions/{}"):
        assert await _ask(server, "DELETE", path, text) == {}
    status, answer = await server.call(
        "PUT", f"/backup-storage/{quote(text, safe='')}/actions", json={"reconnectBackupStorage": {}}
    )
    assert (status, answer["error"]["code"]) == (503, "SYS.1003")
