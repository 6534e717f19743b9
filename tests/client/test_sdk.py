"""The SDK against a server: the samples of the API page, typed values, sync and async, errors as values."""

import asyncio
import hashlib
from datetime import UTC, datetime

import pytest

from bs_agent.client.actions import action as actions
from bs_agent.client.sdk import (
    AddImageStoreBackupStorageAction,
    CallFailed,
    Client,
    DeleteBackupStorageAction,
    LogInByAccountAction,
    LogOutAction,
    QueryBackupStorageAction,
    ReconnectBackupStorageAction,
    configure,
)
from bs_agent.contract.inventory import (
    BackupStorageInventory,
    CephBackupStorageInventory,
    ImageStoreBackupStorageInventory,
)
from tests.client.fleet import CEPH, STORE
from tests.client.node import PASSWORD, SESSION, Node


def test_the_samples_of_the_api_page(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_default", [Client()])
    configure(hostname="127.0.0.1", port=int(node.url.rpartition(":")[2]))

    query = QueryBackupStorageAction()
    query.conditions = [f"uuid={STORE['uuid']}"]
    query.sessionId = SESSION
    found = query.call()
    assert found.error is None
    assert found.value is not None
    assert found.value.inventories is not None
    assert [one.name for one in found.value.inventories] == ["image-store"]

    reconnect = ReconnectBackupStorageAction()
    reconnect.uuid = str(CEPH["uuid"])
    reconnect.sessionId = SESSION
    again = reconnect.call()
    assert again.error is None
    assert again.value is not None
    assert isinstance(again.value.inventory, CephBackupStorageInventory)

    delete = DeleteBackupStorageAction()
    delete.uuid = str(STORE["uuid"])
    delete.deleteMode = "Permissive"
    delete.sessionId = SESSION
    gone = delete.call()
    assert gone.error is None
    assert gone.answer == {}
    assert [entry["name"] for entry in node.inventories] == ["ceph-bs"]


def test_log_in_sends_the_hash_and_takes_one(node: Node) -> None:
    client = Client(url=node.url)
    hashed = hashlib.sha512(PASSWORD.encode()).hexdigest()
    for password in (PASSWORD, hashed):
        session = LogInByAccountAction(accountName="admin", password=password).call(client).unwrap().inventory
        assert session.uuid == SESSION
        assert session.expiredDate.year == 2036
        assert node.bodies[-1] == {"logInByAccount": {"accountName": "admin", "password": hashed}}
        assert "Authorization" not in node.headers[-1]
    assert LogOutAction(sessionUuid=SESSION).call(client).error is None
    assert node.effects == [f"log out {SESSION}"]


def test_an_error_is_a_value_and_unwrap_raises_it(node: Node, client: Client) -> None:
    res = LogInByAccountAction(accountName="admin", password="wrong").call(client)
    assert res.value is None
    assert res.error is not None
    assert (res.error.code, res.error.details) == ("ID.1000", "wrong password")
    with pytest.raises(CallFailed, match=r"ID\.1000"):
        res.unwrap()

    unknown = ReconnectBackupStorageAction(uuid="0" * 32).call(client)
    assert unknown.error is not None
    assert unknown.error.code == "SYS.1003"

    stale = QueryBackupStorageAction(sessionId="f" * 32).call(client)
    assert stale.error is not None
    assert stale.error.code == "ID.1001"


def test_wrong_arguments_are_refused_before_anything_is_sent(node: Node, client: Client) -> None:
    missing = ReconnectBackupStorageAction().call(client)
    assert missing.error is not None
    assert (missing.error.code, missing.error.details) == ("SYS.1007", "field[uuid]: Field required")

    add = AddImageStoreBackupStorageAction(name="s", hostname="h", sshPort=70000, password="secret!", url="relative")
    refused = add.call(client).error
    assert refused is not None
    assert refused.details is not None
    assert "field[sshPort]" in refused.details
    assert "field[url]: must be the absolute path" in refused.details
    assert "secret!" not in str(refused)

    for text in ("", ".", ".."):
        error = DeleteBackupStorageAction(uuid=text).call(client).error
        assert error is not None
        assert error.code == "SYS.1007"
    assert node.requests == []


def test_a_mistyped_parameter_is_named(client: Client) -> None:
    action = QueryBackupStorageAction()
    with pytest.raises(AttributeError, match="no parameter condition; did you mean conditions"):
        action.condition = ["uuid=x"]  # type: ignore[attr-defined]  # the mistake that this is about
    with pytest.raises(AttributeError, match="did you mean uuid"):
        DeleteBackupStorageAction(uuidd="x")


def test_inventories_come_as_their_own_kinds(client: Client) -> None:
    res = QueryBackupStorageAction(replyWithCount=True, sortBy="name", sortDirection="desc").call(client).unwrap()
    assert res.total == 2
    assert res.inventories is not None
    store, ceph = res.inventories
    assert isinstance(store, ImageStoreBackupStorageInventory)
    assert store.createDate == datetime(2018, 4, 11, 14, 50, 54).astimezone(UTC)
    assert isinstance(ceph, CephBackupStorageInventory)
    assert ceph.statusReason is not None
    assert ceph.statusReason.code == "NoQuorum"
    counted = QueryBackupStorageAction(count=True).call(client).unwrap()
    assert (counted.total, counted.inventories) == (2, None)


def test_asked_fields_come_alone(client: Client) -> None:
    named = QueryBackupStorageAction(fields=["name", "status"], sortBy="name").call(client).unwrap()
    assert named.inventories is not None
    assert [(one.name, one.status) for one in named.inventories] == [
        ("ceph-bs", "Disconnected"),
        ("image-store", "Connected"),
    ]
    assert [str(one.uuid) for one in named.inventories] == ["None", "None"]
    assert all(isinstance(one, BackupStorageInventory) for one in named.inventories)
    of_ceph = QueryBackupStorageAction(fields=["fsid", "createDate"], conditions=["type=Ceph"]).call(client).unwrap()
    assert of_ceph.inventories is not None
    (one,) = of_ceph.inventories
    assert isinstance(one, CephBackupStorageInventory)
    assert one.fsid == CEPH["fsid"]
    assert one.createDate.year == 2019


@pytest.mark.asyncio
async def test_many_calls_share_a_connection(node: Node, client: Client) -> None:
    async with client.connect() as line:
        found = await asyncio.gather(*(QueryBackupStorageAction(limit=1).call_async(line) for _ in range(20)))
        again = await ReconnectBackupStorageAction(uuid=STORE["uuid"]).call_async(line)
    assert all(res.error is None for res in found)
    assert again.error is None


@pytest.mark.asyncio
async def test_call_inside_a_loop_says_what_to_do(client: Client) -> None:
    with pytest.raises(RuntimeError, match="await call_async"):
        QueryBackupStorageAction().call(client)
    assert (await QueryBackupStorageAction().call_async(client)).error is None
