"""Upgrades and rollbacks on booted hosts: host by host, with a gate, and back where a release does not come up."""

import json
import re
from collections.abc import Callable

import pytest

from bs_agent import __version__
from tests.beds.hosts import Host
from tests.deploy.agent import ask, enroll
from tests.deploy.api import Api
from tests.deploy.playbooks import Fleet

pytestmark = pytest.mark.timeout(400)

GOOD, DEAD, BLIND, STUCK = "0.10.0", "0.11.0", "0.12.0", "0.13.0"
FAULTS = {
    GOOD: {},
    # The agent does not start.
    DEAD: {"bs_agent/agent/app.py": ("async def start(", "raise SystemError\n\n\nasync def start(")},
    # The agent starts and is ready, but what probes the storages is broken.
    BLIND: {"bs_agent/agent/worker/probe.py": ("MAX_REQUEST = ", "raise SystemError\nMAX_REQUEST = ")},
    # The management node does not start.
    STUCK: {"bs_agent/management/serve.py": ("async def serve(", "raise SystemError\n\n\nasync def serve(")},
}
STORAGE, COMMAND = "a" * 32, "c" * 32


@pytest.fixture(scope="module")
def fleet(boot: Callable[..., Fleet]) -> Fleet:
    """A running fleet of two hosts; the tests go on where the one before ended."""
    fleet = boot("m", "a", "b")
    fleet.management("m")
    for name in ("a", "b"):
        fleet.site.hosts[name].run("mkdir /images /second")
        directories = [
            {"name": f"images-{name}", "directory": "/images"},
            {"name": f"second-{name}", "directory": "/second"},
        ]
        fleet.agent(name, bs_agent_imagestores=directories[:1] if name == "b" else directories)
    fleet.site_yml()
    for version, faults in FAULTS.items():
        fleet.wheelhouse.build(version, faults)
    return fleet


@pytest.fixture(scope="module")
def api(fleet: Fleet) -> Api:
    return Api(fleet.site.hosts["m"])


@pytest.fixture(scope="module")
def token(fleet: Fleet) -> str:
    """A token of the agent on a, with a storage that it connected and a cleanup of it that is done."""
    host = fleet.site.hosts["a"]
    token = enroll(host)
    host.run("mkdir /second/third; setfacl -m user:bs-agent:rwx /second/third")
    ask(host, "PUT", f"/v1/storages/{STORAGE}", token, {"type": "ImageStoreBackupStorage", "url": "/second/third"})
    ask(host, "POST", f"/v1/storages/{STORAGE}/cleanup", token, {"commandUuid": COMMAND})
    return token


def release_of(host: Host, program: str = "bs-agent") -> str:
    """Return the release that the running process comes from."""
    process = host.output(f"systemctl show {program} --property=MainPID --value")
    found = re.search(rf"/opt/{program}/releases/([^/]+)/", host.output(f"cat /proc/{process}/cmdline | tr '\\0' ' '"))
    return found[1] if found else ""


def check_nothing_is_lost(fleet: Fleet, api: Api, token: str) -> None:
    assert set(api.statuses().values()) == {"Connected"}
    assert len(api.statuses()) == 3
    command = ask(fleet.site.hosts["a"], "GET", f"/v1/commands/{COMMAND}", token)
    assert command["state"] == "done"


def test_an_upgrade_goes_host_by_host_and_loses_nothing(fleet: Fleet, api: Api, token: str) -> None:
    run = fleet.play("upgrade.yml", bs_agent_version=GOOD, bs_management_version=GOOD, bs_agent_serial=1)
    assert run.status == 0, run.output[-4000:]
    starts = re.findall(r"TASK \[bs_release : Start the service\] \*+\n(?:changed|ok): \[(\w)\]", run.output)
    assert starts == ["m", "a", "b"]
    hosts = fleet.site.hosts
    assert [release_of(hosts[name]) for name in ("a", "b")] == [GOOD, GOOD]
    assert release_of(hosts["m"], "bs-management") == GOOD
    check_nothing_is_lost(fleet, api, token)


def test_the_same_upgrade_again_changes_nothing(fleet: Fleet) -> None:
    run = fleet.play("upgrade.yml", bs_agent_version=GOOD, bs_management_version=GOOD)
    assert run.status == 0, run.output[-4000:]
    assert [run.count(name, "changed") for name in ("m", "a", "b")] == [0, 0, 0]


@pytest.mark.parametrize(("version", "cause"), [(DEAD, "SystemError"), (BLIND, "Worse than before")])
def test_a_release_that_does_not_come_up_is_taken_back_and_stops_the_upgrade(
    fleet: Fleet, api: Api, token: str, version: str, cause: str
) -> None:
    run = fleet.play("upgrade.yml", bs_agent_version=version, bs_management_version=GOOD, bs_agent_serial=1)
    assert run.status != 0
    said = " ".join(run.output.split())
    assert f"a: bs-agent {version} did not come up; the host is back on {GOOD}" in said
    assert cause in said
    hosts = fleet.site.hosts
    assert [release_of(hosts[name]) for name in ("a", "b")] == [GOOD, GOOD]
    assert hosts["b"].output("readlink /opt/bs-agent/current") == f"releases/{GOOD}"
    check_nothing_is_lost(fleet, api, token)


def test_a_management_node_that_does_not_come_up_goes_back_with_its_data(fleet: Fleet, api: Api, token: str) -> None:
    run = fleet.play("upgrade.yml", bs_agent_version=GOOD, bs_management_version=STUCK)
    assert run.status != 0
    assert f"bs-management {STUCK} did not come up; the host is back on {GOOD}" in " ".join(run.output.split())
    assert release_of(fleet.site.hosts["m"], "bs-management") == GOOD
    check_nothing_is_lost(fleet, api, token)


def test_a_rollback_loses_nothing_either(fleet: Fleet, api: Api, token: str) -> None:
    run = fleet.play("upgrade.yml", bs_agent_version=__version__, bs_management_version=__version__)
    assert run.status == 0, run.output[-4000:]
    run = fleet.play("rollback.yml")
    assert run.status == 0, run.output[-4000:]
    hosts = fleet.site.hosts
    assert [release_of(hosts[name]) for name in ("a", "b")] == [GOOD, GOOD]
    assert release_of(hosts["m"], "bs-management") == GOOD
    check_nothing_is_lost(fleet, api, token)


def test_only_the_last_releases_stay(fleet: Fleet) -> None:
    kept = fleet.site.hosts["a"].output("ls /opt/bs-agent/releases").split()
    assert GOOD in kept
    assert __version__ in kept
    assert len(kept) <= 3


def test_another_build_of_the_same_version_is_refused(fleet: Fleet) -> None:
    stamp = fleet.wheelhouse.folder / f"bs-agent-{GOOD}.tar.sha256"
    before = stamp.read_text()
    stamp.write_text(json.dumps("another build"))
    run = fleet.play("site.yml", "--limit", "b", bs_agent_version=GOOD)
    stamp.write_text(before)
    assert run.status != 0
    assert f"bs-agent {GOOD} on b was made from another wheelhouse" in " ".join(run.output.split())
