"""The calls on backup storages that ask no host: state, name, capacities, types; and what is looked up first."""

import time
from typing import Any

import pytest
from sqlalchemy import insert, select

from bs_agent.contract.calls_past import CapacityHistoryReply
from bs_agent.contract.errors import OperationFailed
from bs_agent.management.store.database import Database
from bs_agent.management.store.past_tables import capacity_history
from bs_agent.management.store.tables import backup_storage, host
from bs_agent.management.store.watched import claim, watched
from tests.beds.stores import agent, stores
from tests.management.server import Server, ceph_row, mon_row, serving_node, storage_row

pytestmark = pytest.mark.asyncio

UNKNOWN = "0" * 32
STORAGE = "1ab3b836a88342e1bbc1b1a17d092f0f"


async def _act(server: Server, body: Any, uuid: str = STORAGE, **more: Any) -> tuple[int, Any]:
    return await server.call("PUT", f"/backup-storage/{uuid}/actions", json=body, **more)


async def _capacity(server: Server, query: str) -> tuple[int, Any]:
    return await server.call("GET", f"/backup-storage/capacities?{query}")


async def test_a_storage_is_disabled_and_enabled(database: Database) -> None:
    async with serving_node(database) as server:
        await server.store(storage_row(uuid=STORAGE))
        for event, state in (("disable", "Disabled"), ("disable", "Disabled"), ("enable", "Enabled")):
            status, body = await _act(server, {"changeBackupStorageState": {"stateEvent": event}})
            assert (status, body["inventory"]["state"], body["inventory"]["status"]) == (200, state, "Connected")
            assert (await server.query(q=f"state={state}", count="true"))[1]["total"] == 1


async def test_a_disabled_storage_is_polled(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE, state="Disabled"))
    at = agent("10.0.0.1")
    async with stores(server.database) as node:
        await node.meet(at)
        async with server.database.writing() as connection:
            await connection.execute(insert(host).values(**mon_row(STORAGE, at.hostname), agentUuid=at.uuid))
        claimed = await claim(server.database, node.node.uuid)
        polled = [found async for found in watched(server.database, claimed.uuids)]
    assert [each.storage_uuid for found in polled for each in found.hosts] == [STORAGE]


@pytest.mark.parametrize("event", ["Enable", "maintain", "", None])
async def test_another_event_is_refused(server: Server, event: Any) -> None:
    await server.store(storage_row(uuid=STORAGE))
    status, body = await _act(server, {"changeBackupStorageState": {"stateEvent": event}})
    assert (status, body["error"]["code"]) == (503, "SYS.1007")
    assert "field[stateEvent]" in body["error"]["details"]


IMAGE_STORE = {"name": "s", "hostname": "10.0.0.1", "url": "/images"}
OPTIONAL: list[tuple[str, dict[str, Any], str]] = [
    ("/backup-storage/image-store", IMAGE_STORE, "/backup-storage"),
    ("/backup-storage/ceph", {"name": "s", "monUrls": ["10.0.0.1"]}, "/backup-storage"),
    ("/zones", {"name": "s"}, "/zones"),
    ("/accesskeys", {}, "/accesskeys"),
]


@pytest.mark.parametrize(("path", "needed", "queried"), OPTIONAL, ids=[path for path, *_ in OPTIONAL])
async def test_a_description_is_null_until_one_is_given(
    server: Server, path: str, needed: dict[str, Any], queried: str
) -> None:
    """An empty one is one: it is shown, as on the API's page, and is not null."""
    for given, shown in (
        ({}, None),
        ({"description": None}, None),
        ({"description": ""}, ""),
        ({"description": "d"}, "d"),
    ):
        status, made = await server.call("POST", path, json={"params": needed | given})
        assert (status, made["inventory"].get("description")) == (200, shown)
    for condition, wanted in (("is null", {None}), ("not null", {"", "d"}), ("=", {""}), ("!=d", {""})):
        _, found = await server.call(
            "GET", queried, params={"q": f"description{'' if '=' in condition else ' '}{condition}"}
        )
        assert {item.get("description") for item in found["inventories"]} == wanted, condition


async def test_name_and_description_are_changed(database: Database) -> None:
    async with serving_node(database) as server:
        await server.store(storage_row(uuid=STORAGE, description="old"))
        _, body = await _act(server, {"updateBackupStorage": {"name": "new"}})
        assert (body["inventory"]["name"], body["inventory"]["description"]) == ("new", "old")
        _, body = await _act(server, {"updateBackupStorage": {"description": ""}})
        assert (body["inventory"]["name"], body["inventory"]["description"]) == ("new", "")
        before = body["inventory"]
        status, body = await _act(server, {"updateBackupStorage": {}})
        assert (status, body["inventory"]["name"]) == (200, before["name"])
        assert body["inventory"]["createDate"] == before["createDate"]


async def test_an_imagestore_is_reconnected_by_its_own_call(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE), ceph_row(uuid="2" * 32))
    body: dict[str, Any] = {"reconnectImageStoreBackupStorage": {}}
    path = "/backup-storage/image-store/{}/actions"
    headers = {"X-JSON-Schema": "true"}
    status, answer = await server.call("PUT", path.format(STORAGE), json=body, headers=headers)
    assert (status, answer["inventory"]["uuid"]) == (200, STORAGE)
    kind = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory"
    assert answer["schema"] == {"inventory": kind}
    for other in ("2" * 32, UNKNOWN):
        status, answer = await server.call("PUT", path.format(other), json=body)
        assert (status, answer["error"]["code"]) == (503, "SYS.1003")


ACTIONS: list[Any] = [
    {"reconnectBackupStorage": {}},
    {"changeBackupStorageState": {"stateEvent": "enable"}},
    {"updateBackupStorage": {"name": "n"}},
]


@pytest.mark.parametrize("body", ACTIONS, ids=[next(iter(body)) for body in ACTIONS])
@pytest.mark.parametrize("oauth", [None, "no such session"], ids=["session", "no session"])
async def test_an_unknown_storage_is_told_before_the_session_is_checked(
    server: Server, body: Any, oauth: str | None
) -> None:
    details = f"invalid field[uuid], resource[uuid:{UNKNOWN}, type:BackupStorageVO] not found"
    status, answer = await _act(server, body, UNKNOWN, oauth=oauth)
    assert (status, answer["error"]["code"], answer["error"]["details"]) == (503, "SYS.1003", details)
    job = "5" * 32
    assert (await _act(server, body, UNKNOWN, oauth=oauth, headers={"X-Job-UUID": job}))[0] == 202
    status, answer = await server.call("GET", f"/api-jobs/{job}")
    assert (status, answer["error"]["details"]) == (503, details)


async def test_a_known_storage_is_not_touched_without_a_session(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    server.fleet.fail = OperationFailed("it was touched")
    for body in ACTIONS:
        status, answer = await _act(server, body, oauth="no such session")
        assert (status, answer["error"]["code"]) == (503, "ID.1001")
    async with server.database.reading() as connection:
        assert (await connection.execute(select(backup_storage.c.name))).scalars().all() == ["image-store"]


async def test_capacities_are_summed_up(database: Database) -> None:
    async with serving_node(database) as server:
        amounts = [(2**62, 2**61), (2**62, 7), (10, 5)]
        rows = [
            storage_row(uuid=str(number) * 32, totalCapacity=total, availableCapacity=available)
            for number, (total, available) in enumerate(amounts)
        ]
        await server.store(*rows)
        zones = []
        for name, attached in (("z1", [0, 2]), ("z2", [2])):
            zone = (await server.call("POST", "/zones", json={"params": {"name": name}}))[1]["inventory"]["uuid"]
            zones.append(zone)
            for member in attached:
                await server.call("POST", f"/zones/{zone}/backup-storage/{str(member) * 32}", json={"params": {}})
        sums: list[tuple[str, list[int]]] = [
            ("all=true", [0, 1, 2]),
            ("all=false&backupStorageUuids=" + "1" * 32, [1]),
            (f"all=false&zoneUuids={zones[0]}&zoneUuids={zones[1]}", [0, 2]),
            (f"zoneUuids={zones[1]}&backupStorageUuids={'1' * 32}&backupStorageUuids={'2' * 32}", [1, 2]),
            (f"zoneUuids={UNKNOWN}&backupStorageUuids=z+2", []),
        ]
        for query, members in sums:
            total, available = (sum(amounts[member][side] for member in members) for side in (0, 1))
            assert await _capacity(server, query) == (200, {"totalCapacity": total, "availableCapacity": available})


async def test_capacities_of_nothing_are_refused(server: Server) -> None:
    for query in ("", "all=false", "sessionId=x"):
        status, body = await _capacity(server, query)
        assert (status, body["error"]["code"]) == (503, "SYS.1007")
        assert body["error"]["details"] == (
            "zoneUuids, backupStorageUuids must have at least one be none-empty list, or all is set to true"
        )
    assert (await _capacity(server, "all=maybe"))[0] == 400


async def test_the_types_are_listed(server: Server) -> None:
    _, body = await server.call("GET", "/backup-storage/types", headers={"X-JSON-Schema": "true"})
    assert body["types"] == ["ImageStoreBackupStorage", "Ceph"]
    assert body["schema"] == {"types[0]": "java.lang.String", "types[1]": "java.lang.String"}


async def test_a_dry_run_deletes_nothing_and_shows_what_would_be_done(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    path = f"/backup-storage/{STORAGE}"
    status, body = await server.call("DELETE", path, params={"dryRun": "true"}, headers={"X-JSON-Schema": "true"})
    preview = body["inventory"]
    assert (status, preview["uuid"], preview["permissive"], preview["enforcing"]) == (
        200,
        STORAGE,
        "Deleted",
        "Deleted",
    )
    assert body["schema"]["inventory"].endswith("DeletePreviewInventory")
    assert (await server.query(count="true"))[1]["total"] == 1
    assert (await server.call("DELETE", path, params={"dryRun": "perhaps"}))[0] == 400
    assert (await server.call("DELETE", path, headers={"X-JSON-Schema": "true"})) == (200, {"schema": {}})
    assert (await server.query(count="true"))[1]["total"] == 0


async def test_the_history_of_capacities_is_shown_with_when_it_is_full(server: Server) -> None:
    await server.store(storage_row(uuid=STORAGE))
    now = int(time.time())
    day = {"backupStorageUuid": STORAGE, "totalCapacity": 1000}
    rows = [
        day | {"resolution": 3600, "slot": now - now % 3600 - hour * 3600, "availableCapacity": 100 + hour}
        for hour in range(48)
    ]
    async with server.database.writing() as connection:
        await connection.execute(insert(capacity_history), rows)
    path = f"/backup-storage/{STORAGE}/capacity-history"
    status, month = await server.call("GET", path, params={"period": "month"}, headers={"X-JSON-Schema": "true"})
    assert (status, month["resolution"], len(month["points"])) == (200, 3600, 48)
    assert set(month["points"][0]) == {"date", "totalCapacity", "availableCapacity"}
    assert [month["points"][at]["availableCapacity"] for at in (0, -1)] == [147, 100], "the oldest first"
    assert month["daysUntilFull"] == pytest.approx(100 / 24, abs=0.1)
    assert set(month["schema"].values()) == {"org.zstack.bsagent.CapacityPoint"}
    assert CapacityHistoryReply.model_validate(month)
    status, hours = await server.call("GET", path)
    assert (status, hours["resolution"], hours["points"]) == (200, 60, [])
    for wrong, code in ((f"{path}?period=week", "SYS.1007"), (path.replace(STORAGE, "0" * 32), "SYS.1003")):
        assert (await server.call("GET", wrong))[1]["error"]["code"] == code
