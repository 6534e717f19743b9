"""The Debian packages on a booted host without a network: installed, upgraded, removed, and nothing left by a purge."""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bs_agent import __version__
from tests.beds.hosts import Host
from tests.deploy.agent import URL, ask, enroll
from tests.deploy.playbooks import Fleet
from tests.deploy.releases import ROOT
from tests.deploy.remains import remains

pytestmark = pytest.mark.timeout(400)

NEXT = "0.2.0"
INSTALL_SECONDS = 180
KEYRING = "/etc/ceph/ceph.client.admin.keyring"
PUBLIC_API = "http://127.0.0.1:8080"


@dataclass
class Packaged:
    """A host, the packages of both releases on it, and what was there before them."""

    host: Host
    before: list[str]

    def dpkg(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run dpkg on the host; a conffile that was changed there stays."""
        return self.host.run(
            "DEBIAN_FRONTEND=noninteractive dpkg --force-confold", *words, check=check, seconds=INSTALL_SECONDS
        )

    def install(self, program: str, version: str) -> str:
        """Install a package and return what was said."""
        done = self.dpkg("--install", f"/root/{program}_{version}_*.deb")
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def packaged(boot: Callable[..., Fleet], tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    fleet = boot("d")
    host, out = fleet.site.hosts["d"], tmp_path_factory.mktemp("deb")
    fleet.wheelhouse.build(NEXT)
    host.run("mkdir /images; ! getent passwd bs-agent")
    before = remains(host)
    for version in (__version__, NEXT):
        environment = os.environ | {"WHEELHOUSE": str(fleet.wheelhouse.folder), "VERSION": version, "OUT": str(out)}
        # Not the virtual environment of this tree: it may be newer or older than what make would have.
        make = ["make", "--directory", str(ROOT), "--assume-old", ".venv/.installed", "deb"]
        built = subprocess.run(make, env=environment, check=False, capture_output=True, text=True, timeout=120)
        assert built.returncode == 0, built.stderr
    for package in out.glob("*.deb"):
        place(fleet, host, package)
    return Packaged(host, before)


def place(fleet: Fleet, host: Host, package: Path) -> None:
    copy = fleet.site.inside("scp", *fleet.site.ssh_options, str(package), f"root@{host.address}:/root/{package.name}")
    subprocess.run(copy, check=True, timeout=60)


def test_the_agent_runs_after_its_installation(packaged: Packaged) -> None:
    host = packaged.host
    packaged.install("bs-agent", __version__)
    assert host.output("systemctl is-active bs-agent.service bs-agent.socket").split() == ["active"] * 2
    assert host.output("systemctl is-enabled bs-agent.service bs-agent.socket").split() == ["enabled"] * 2
    assert host.output("readlink /opt/bs-agent/current") == f"releases/{__version__}"
    assert host.output("bs-agent --version").endswith(__version__)
    assert host.output("stat -c '%U %a' /var/lib/bs-agent") == "bs-agent 700"
    assert host.output(f"curl -sk {URL}/livez") == "ok"
    doctor = host.output("bs-agent doctor")
    print(doctor)
    for line in ("unit          active", "port          0.0.0.0:7765 is answered by the agent", "certificate   valid"):
        assert f"ok    {line}" in doctor
    assert re.search("(?m)^(ok|warn)  +clock ", doctor)


def test_the_doctor_says_what_is_wrong_with_the_service(packaged: Packaged) -> None:
    host = packaged.host
    host.run(f"mkdir --parents /etc/ceph; touch /etc/ceph/ceph.conf; install -m 0600 /dev/null {KEYRING}")
    doctor = host.run("bs-agent doctor", check=False)
    assert doctor.returncode == 1
    user = host.output("id -u bs-agent")
    assert f"FAIL  keyring       {KEYRING} cannot be read by user id {user}" in doctor.stdout
    assert "ok    librados      interface" in doctor.stdout
    host.run(f"setfacl --modify user:bs-agent:r {KEYRING}")
    host.run("systemctl stop bs-agent")
    host.run("systemctl start bs-agent.socket")
    stopped = host.run("bs-agent doctor", check=False)
    assert stopped.returncode == 1
    assert "FAIL  unit          inactive (dead)" in stopped.stdout
    assert "warn  port          0.0.0.0:7765 is open, but no agent runs" in stopped.stdout
    assert "ok    keyring" in stopped.stdout
    host.run("systemctl disable bs-agent.service 2>&1; systemctl start bs-agent")
    assert (
        "but not enabled -> Run `systemctl enable bs-agent.service`" in host.run("bs-agent doctor", check=False).stdout
    )
    host.run(f"systemctl enable bs-agent.service; rm /etc/ceph/ceph.conf {KEYRING}")


def test_an_upgrade_keeps_enrolments_and_what_the_operator_wrote(packaged: Packaged) -> None:
    host = packaged.host
    token = enroll(host)
    host.write("/etc/bs-agent/agent.toml", "[probe]\ninterval = 9\ndeadline = 9\n")
    packaged.install("bs-agent", NEXT)
    assert host.output("readlink /opt/bs-agent/current /opt/bs-agent/previous").split() == [
        f"releases/{NEXT}",
        f"releases/{__version__}",
    ]
    assert ask(host, "GET", "/v1/report", token)["agentVersion"] == NEXT
    assert "interval = 9" in host.output("cat /etc/bs-agent/agent.toml")
    packaged.install("bs-agent", __version__)
    assert ask(host, "GET", "/v1/report", token)["agentVersion"] == __version__, "the way back is the package before"


@pytest.mark.parametrize(
    "left",
    [
        "ln -s releases/{version} /opt/bs-agent/current.new",
        "ln -s nowhere /opt/bs-agent/current.new",
        "rm /opt/bs-agent/releases/{version}/.complete",
        ": > /opt/bs-agent/releases/{version}/.complete",
        "rm -r /opt/bs-agent/releases/{version}/lib",
        "ln -sfn releases/{version} /opt/bs-agent/previous",
    ],
)
def test_a_configuration_that_was_cut_short_is_completed_by_the_next(packaged: Packaged, left: str) -> None:
    host = packaged.host
    host.run("ln -sfn releases/gone /opt/bs-agent/current")
    if "/lib" in left:
        host.run(f"rm -f /opt/bs-agent/releases/{__version__}/.complete")
    host.run(left.format(version=__version__))
    packaged.dpkg("--install", f"/root/bs-agent_{__version__}_*.deb")
    assert host.output("readlink /opt/bs-agent/current") == f"releases/{__version__}"
    assert host.output("ls -A /opt/bs-agent").split() == ["current", "previous", "releases"]
    assert host.output("systemctl is-active bs-agent") == "active"
    assert host.output("bs-agent --version").endswith(__version__)


def test_the_doctor_is_in_the_groups_of_the_service(packaged: Packaged) -> None:
    host = packaged.host
    host.run(f"mkdir --parents /etc/ceph; touch /etc/ceph/ceph.conf; install -m 0640 -g ceph /dev/null {KEYRING}")
    drop_in = "/etc/systemd/system/bs-agent.service.d/groups.conf"
    try:
        assert "FAIL  keyring" in host.run("bs-agent doctor", check=False).stdout
        host.run("usermod --append --groups ceph bs-agent")
        assert "ok    keyring" in host.run("bs-agent doctor", check=False).stdout
        host.run("gpasswd --delete bs-agent ceph")
        host.write(drop_in, "[Service]\nSupplementaryGroups=ceph\n")
        host.run("systemctl daemon-reload")
        assert "ok    keyring" in host.run("bs-agent doctor", check=False).stdout
    finally:
        host.run(f"rm -rf {drop_in.rpartition('/')[0]} /etc/ceph/ceph.conf {KEYRING}")
        host.run("systemctl daemon-reload")


def test_the_doctor_misses_the_file_that_the_unit_starts_with(packaged: Packaged) -> None:
    host = packaged.host
    assert "ok    configuration" in host.run("bs-agent doctor", check=False).stdout
    host.run("mv /etc/bs-agent/agent.toml /root/agent.toml")
    said = host.run("bs-agent doctor", check=False).stdout
    host.run("mv /root/agent.toml /etc/bs-agent/agent.toml")
    assert "FAIL  configuration /etc/bs-agent/agent.toml is not there, so it does not start" in said


def test_a_removal_keeps_data_and_configuration_and_a_purge_nothing(packaged: Packaged) -> None:
    host = packaged.host
    host.write("/etc/systemd/system/bs-agent.service.d/override.conf", "[Service]\nReadWritePaths=-/images\n")
    packaged.dpkg("--remove", "bs-agent")
    assert host.output("ls /var/lib/bs-agent/agent.db /etc/bs-agent/agent.toml").split() == [
        "/etc/bs-agent/agent.toml",
        "/var/lib/bs-agent/agent.db",
    ]
    assert host.output("ls -d /opt/bs-agent 2>&-; true") == ""
    assert ":7765" not in host.output("ss --listening --tcp --numeric")
    packaged.install("bs-agent", __version__)
    assert host.output("systemctl is-active bs-agent") == "active", "it goes on where it was"
    packaged.dpkg("--purge", "bs-agent")
    assert without_dpkg(remains(host)) == without_dpkg(packaged.before)


def test_the_management_node_waits_for_a_password(packaged: Packaged) -> None:
    host = packaged.host
    said = packaged.install("bs-management", __version__)
    assert "bs-management set-password admin" in said
    assert host.output("systemctl is-active bs-management; true") == "inactive"
    host.run("bs-management set-password admin", stdin="a good password\n")
    host.run("systemctl enable --now bs-management")
    assert host.output(f"curl -s -o /dev/null -w '%{{http_code}}' {PUBLIC_API}/readyz") == "200"
    assert "password" not in host.output("journalctl --unit bs-management --output cat")
    assert host.output("stat -c '%U %G %a' /etc/bs-agent/management.toml") == "root bs-management 640"
    assert set(host.output("stat -c %U /var/lib/bs-management /var/lib/bs-management/*").split()) == {"bs-management"}
    assert host.output("bs-cli --version").endswith(__version__)
    assert "the public API is at http://127.0.0.1:8080" in host.output("systemctl show bs-management -p StatusText")
    packaged.dpkg("--purge", "bs-management")
    assert without_dpkg(remains(host)) == without_dpkg(packaged.before)


def test_an_upgrade_of_the_management_node_starts_only_what_ran(packaged: Packaged) -> None:
    host = packaged.host
    packaged.install("bs-management", __version__)
    packaged.install("bs-management", NEXT)
    assert host.output("systemctl is-active bs-management; systemctl is-enabled bs-management; true").split() == [
        "inactive",
        "disabled",
    ]
    host.run("systemctl enable --now bs-management")
    packaged.install("bs-management", __version__)
    assert host.output("systemctl is-active bs-management; systemctl is-enabled bs-management").split() == [
        "active",
        "enabled",
    ]
    assert host.output("readlink /opt/bs-management/current") == f"releases/{__version__}"


def without_dpkg(lines: list[str]) -> list[str]:
    """Leave out what dpkg and systemd write on their own account."""
    own = ("file /var/lib/dpkg", "file /var/backups", "file /etc/systemd/system ")
    return [line for line in lines if not line.startswith(own)]
