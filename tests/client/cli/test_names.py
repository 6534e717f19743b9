"""A name where a uuid is wanted: taken when one resource has it, and else the message says which there are."""

import json
from pathlib import Path

import pytest

from bs_agent.client.cli import catalog
from bs_agent.client.cli.names import places
from bs_agent.client.cli.session import Session, save
from bs_agent.client.cli.values import names_uuids
from bs_agent.client.sdk import Client
from bs_agent.contract.api import APIS
from bs_agent.contract.calls_ceph import UPDATE_MON
from bs_agent.contract.declaration import Api
from tests.client.fleet import CEPH, STORE
from tests.client.node import SESSION, Node, running
from tests.client.terminal import bs_cli

NONE_YET = {"sessionUuid", "userUuid"}  # a secret of the caller; and what no call lists
UUID = str(STORE["uuid"])


@pytest.fixture
def home(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".local/state"))
    save(Session(node.url, SESSION, "admin"))
    return tmp_path


def test_the_only_one_of_a_name_is_taken(node: Node, home: Path) -> None:
    done = bs_cli(home, "DeleteBackupStorage", "uuid=image-store")
    assert (done.returncode, done.stderr) == (0, "")
    assert node.effects == [f"DELETE /backup-storage/{UUID}"]


def test_of_several_of_a_name_none_is_taken(node: Node, home: Path) -> None:
    twin = "2" * 32
    node.inventories.append({**STORE, "uuid": twin, "hostname": "172.20.1.116"})
    done = bs_cli(home, "DeleteBackupStorage", "uuid=image-store")
    assert done.returncode == 2
    assert "uuid=image-store: 2 resources have this name: " in done.stderr
    assert f"{UUID} (image-store, 172.20.1.115 /zstack_imagestore), {twin} (image-store, 172.20.1.116 " in done.stderr
    assert "write the uuid" in done.stderr
    assert node.effects == []


@pytest.mark.parametrize(
    ("name", "hint"), [("imge-store", "did you mean image-store?"), ("x", "there are image-store, ")]
)
def test_a_name_that_nothing_has(node: Node, home: Path, name: str, hint: str) -> None:
    done = bs_cli(home, "DeleteBackupStorage", f"uuid={name}")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "SYS.1003"
    assert f"uuid={name}: no resource has this uuid or name; {hint}" in done.stderr
    assert node.effects == []


def test_names_in_a_list(node: Node, home: Path) -> None:
    bs_cli(home, "GetBackupStorageCapacity", f"backupStorageUuids=ceph-bs,{UUID}")
    assert f"backupStorageUuids={CEPH['uuid']}&backupStorageUuids={UUID}" in node.requests[-1][1]


def test_a_mon_by_its_hostname() -> None:
    rest = {"backupStorageUuid": CEPH["uuid"], "monAddr": "m", "monPort": 6789, "sshPort": 22, "status": "Connected"}
    dates = {name: CEPH[name] for name in ("createDate", "lastOpDate")}
    mons = [{"monUuid": f"{number}" * 32, "hostname": f"mon-{number}", **rest, **dates} for number in (3, 4)]
    (place,) = places(UPDATE_MON, "monUuid", {})
    assert (place.api.name, place.table, place.field, place.handle) == (
        "QueryCephBackupStorage", "mons", "monUuid", "hostname",
    )  # fmt: skip
    with running(Node(inventories=[{**CEPH, "mons": mons}])) as node:
        found = list(place.named(Client(url=node.url, session_id=SESSION)))
    assert [(one.uuid, one.name) for one in found] == [("3" * 32, "mon-3"), ("4" * 32, "mon-4")]


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_every_uuid_of_a_call_is_looked_for_somewhere(api: Api) -> None:
    named = {name for name in catalog.parameters(api) if names_uuids(name)} - NONE_YET
    given = {"resourceType": "ZoneVO"}
    assert {name for name in named if not places(api, name, given)} == set()


def test_a_uuid_that_is_left_out(node: Node, home: Path) -> None:
    done = bs_cli(home, "ReconnectBackupStorage")
    assert done.returncode == 2
    assert "ReconnectBackupStorage: uuid is left out: write uuid=UUID or uuid=NAME; there are " in done.stderr
    assert f"{UUID} (image-store, 172.20.1.115 /zstack_imagestore), {CEPH['uuid']} (ceph-bs, bak-t-" in done.stderr
    assert node.effects == []
    elsewhere = bs_cli(home, "--url", "http://127.0.0.1:1", "UpdateCephBackupStorageMon", "sshPort=2")
    assert elsewhere.stderr.endswith("monUuid is left out: write monUuid=UUID or monUuid=HOSTNAME\n")


def test_a_lookup_with_an_old_session_says_so(node: Node, home: Path) -> None:
    save(Session(node.url, "e" * 32, "admin"))
    done = bs_cli(home, "ReconnectBackupStorage", "uuid=image-store")
    assert done.returncode == 3
    assert "ID.1001" in done.stderr
    assert "Log in again" in done.stderr
