"""The whole fleet: three hosts with a Ceph mon each, one an ImageStore host too, and a management node outside them."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.beds.ceph_hosts import HostsCluster
from tests.beds.hosts import Host
from tests.deploy.api import Api
from tests.deploy.playbooks import Fleet
from tests.deploy.remains import remains

pytestmark = pytest.mark.timeout(600)

MONS = ("a", "b", "c")
ACCOUNT, PASSWORD = "keeper", "a word for SSH / with @ in it"
SECONDS = 120.0


@pytest.fixture(scope="module")
def fleet(boot: Callable[..., Fleet]) -> Fleet:
    """Nothing of ours on the hosts yet; the tests go on where the one before ended."""
    fleet = boot("m", *MONS)
    fleet.python = None  # as where nobody names it
    # Hosts are polled often, so that the tests need not wait.
    fleet.management("m", bs_management_settings={"poll": {"interval": 3, "timeout": 3}})
    for name in MONS:
        host = fleet.site.hosts[name]
        host.run(f"useradd --create-home {ACCOUNT} && chpasswd", stdin=f"{ACCOUNT}:{PASSWORD}\n")
        fleet.agent(
            name,
            bs_agent_ceph_storage={"name": "ceph", "pool": "images"},
            bs_agent_ceph_admin_socket=True,
            bs_agent_ssh_user=ACCOUNT,
            bs_agent_login_username=ACCOUNT,
            bs_agent_login_password=PASSWORD,
        )
    fleet.site.hosts["a"].run("mkdir /images")
    fleet.groups["bs_agents"]["hosts"]["a"]["bs_agent_imagestores"] = [{"name": "images", "directory": "/images"}]
    return fleet


@pytest.fixture(scope="module")
def cluster(fleet: Fleet) -> HostsCluster:
    cluster = HostsCluster([fleet.site.hosts[name] for name in MONS])
    cluster.start()
    cluster.pool("images")
    return cluster


@pytest.fixture(scope="module")
def before(fleet: Fleet, cluster: HostsCluster) -> dict[str, list[str]]:
    """What was on the hosts before us."""
    return {name: remains(host) for name, host in fleet.site.hosts.items()}


@pytest.fixture(scope="module")
def api(fleet: Fleet) -> Api:
    return Api(fleet.site.hosts["m"])


def wait_for(what: str, condition: Callable[[], bool], explain: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}: {explain()}"
        time.sleep(0.5)


def mons(api: Api) -> dict[str, str]:
    """Return the status of each mon host."""
    return {mon["hostname"]: mon["status"] for mon in api.storages()["ceph"]["mons"]}


def reconnect(api: Api, name: str) -> dict[str, Any]:
    uuid = api.storages()[name]["uuid"]
    return api.call("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})


def test_site_yml_brings_both_storages_up_with_true_numbers(
    fleet: Fleet, cluster: HostsCluster, before: dict[str, list[str]], api: Api
) -> None:
    fleet.site_yml()
    assert api.statuses() == {"images": "Connected", "ceph": "Connected"}
    assert set(mons(api).values()) == {"Connected"}
    assert len(mons(api)) == len(MONS)
    shown = api.storages()
    assert shown["ceph"]["fsid"] == cluster.fsid
    wait_for(
        "what `ceph df` says",
        lambda: numbers(api) == true_numbers(cluster),
        lambda: (numbers(api), true_numbers(cluster)),
    )
    filesystem = fleet.site.hosts["a"].output("stat --file-system --format '%b %S' /images").split()
    assert shown["images"]["totalCapacity"] == int(filesystem[0]) * int(filesystem[1])
    assert 0 < shown["images"]["availableCapacity"] <= shown["images"]["totalCapacity"]


def numbers(api: Api) -> dict[str, int]:
    shown = api.storages()["ceph"]
    return {name: shown[name] for name in ("totalCapacity", "availableCapacity", "poolMaxAvail", "poolStored")}


def true_numbers(cluster: HostsCluster) -> dict[str, int]:
    answer = cluster.ceph("df", "detail")
    pool = next(pool["stats"] for pool in answer["pools"] if pool["name"] == "images")
    return {
        "totalCapacity": answer["stats"]["total_bytes"],
        "availableCapacity": answer["stats"]["total_avail_bytes"],
        "poolMaxAvail": pool["max_avail"],
        "poolStored": pool["stored"],
    }


def sees_the_socket(host: Host) -> bool:
    """Tell what the service's user may do: the folder is closed to others than Ceph, and made anew at every boot."""
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect('/run/ceph/ceph-mon.{host.name}.asok')"
    return host.run(f'runuser -u bs-agent -- python3 -c "{connect}"', check=False).returncode == 0


def test_the_agent_may_ask_the_mon_of_its_host(fleet: Fleet) -> None:
    for name in MONS:
        assert sees_the_socket(fleet.site.hosts[name])


def test_the_next_run_changes_nothing(fleet: Fleet) -> None:
    run = fleet.site_yml()
    assert [run.count(name, "changed") for name in ("m", *MONS)] == [0, 0, 0, 0], run.changed


def test_a_stopped_agent_is_shown_and_a_reconnect_starts_it_over_ssh(fleet: Fleet, api: Api) -> None:
    host = fleet.site.hosts["a"]
    host.run("systemctl stop bs-agent")
    wait_for("the API shows it", lambda: mons(api)[host.address] == "Disconnected", lambda: (mons(api), api.storages()))
    wait_for("the ImageStore is lost", lambda: api.statuses()["images"] == "Disconnected", api.statuses)
    # The others speak for the cluster.
    assert api.statuses()["ceph"] == "Connected"
    answer = reconnect(api, "images")
    assert answer["inventory"]["status"] == "Connected", answer
    assert host.output("systemctl is-active bs-agent") == "active"
    wait_for("all mon hosts are back", lambda: set(mons(api).values()) == {"Connected"}, lambda: mons(api))


def test_a_rebooted_host_comes_back_alone(fleet: Fleet, cluster: HostsCluster, api: Api) -> None:
    host = fleet.site.hosts["a"]
    host.reboot()
    assert host.output("systemctl is-active bs-agent bs-agent.socket").split() == ["active", "active"]
    cluster.settle()
    wait_for("the mon's socket is open to the agent", lambda: sees_the_socket(host), lambda: host.output("ls -la /run"))
    wait_for(
        "everything is connected",
        lambda: set(api.statuses().values()) == {"Connected"} and set(mons(api).values()) == {"Connected"},
        lambda: (api.statuses(), mons(api)),
    )


def test_one_mon_host_goes_and_comes_again_without_touching_the_others(
    fleet: Fleet, before: dict[str, list[str]], api: Api
) -> None:
    run = fleet.play("remove.yml", "--limit", "c")
    assert run.status == 0, run.output[-6000:]
    assert remains(fleet.site.hosts["c"]) == before["c"]
    assert len(mons(api)) == len(MONS) - 1
    assert reconnect(api, "ceph")["inventory"]["status"] == "Connected"
    fleet.site_yml("--limit", "c")
    assert mons(api)[fleet.site.hosts["c"].address] == "Connected"
    assert api.statuses() == {"images": "Connected", "ceph": "Connected"}


def test_deleted_storages_leave_their_hosts_clean(fleet: Fleet, cluster: HostsCluster, api: Api) -> None:
    for storage in api.storages().values():
        answer = api.call("DELETE", f"/backup-storage/{storage['uuid']}?deleteMode=Permissive")
        assert "error" not in answer, answer
    assert api.storages() == {}
    assert fleet.site.hosts["a"].output("ls -A /images") == ""
    cluster.settle()
    assert cluster.hosts[0].output("rados -p images ls --all | awk '{print $NF}'") == "an-image"


def test_remove_yml_leaves_nothing(fleet: Fleet, cluster: HostsCluster, before: dict[str, list[str]]) -> None:
    run = fleet.play("remove.yml")
    assert run.status == 0, run.output[-6000:]
    for name, host in fleet.site.hosts.items():
        assert remains(host) == before[name], name
    assert "client.bs-agent" not in json.dumps(cluster.ceph("auth", "ls"))
