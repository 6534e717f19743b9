"""The Debian packages on a booted host without a network: installed, upgraded, removed, and nothing left by a purge."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bs_agent import __version__
from tests.beds.hosts import Host
from tests.deploy.agent import URL, ask, enroll
from tests.deploy.packages import Built
from tests.deploy.playbooks import Fleet
from tests.deploy.remains import remains

pytestmark = pytest.mark.timeout(900)

NEXT = "0.10.0"
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
def packaged(boot: Callable[..., Fleet], packages: Built) -> Packaged:
    fleet = boot("d")
    host = fleet.site.hosts["d"]
    host.run("mkdir /images; ! getent passwd bs-agent")
    before = remains(host)
    for version in (__version__, NEXT):
        for program in ("bs-agent", "bs-management"):
            place(fleet, host, packages.deb(program, version))
    place(fleet, host, packages.deb("bs-cli"))
    return Packaged(host, before)


def place(fleet: Fleet, host: Host, package: Path) -> None:
    copy = fleet.site.inside("scp", *fleet.site.ssh_options, str(package), f"root@{host.address}:/root/{package.name}")
    subprocess.run(copy, check=True, timeout=60)


def test_the_agent_runs_after_its_installation(packaged: Packaged) -> None:
    host = packaged.host
    packaged.install("bs-agent", __version__)
    assert host.output("systemctl is-active bs-agent.service bs-agent.socket").split() == ["active"] * 2
    assert host.output("systemctl is-enabled bs-agent.service bs-agent.socket").split() == ["enabled"] * 2
    assert host.output("bs-agent --version").endswith(__version__)
    assert host.output("dpkg --verify bs-agent") == "", "what is on the host is what was in the package"
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
    assert ask(host, "GET", "/v1/report", token)["agentVersion"] == NEXT
    assert "interval = 9" in host.output("cat /etc/bs-agent/agent.toml")
    packaged.install("bs-agent", __version__)
    assert ask(host, "GET", "/v1/report", token)["agentVersion"] == __version__, "the way back is the package before"


def test_a_faulty_configuration_is_told_and_the_service_goes_on(packaged: Packaged) -> None:
    host = packaged.host
    was = host.output("systemctl show bs-agent --property=MainPID --value")
    host.run("sed -i s/9/-9/ /etc/bs-agent/agent.toml")
    said = packaged.install("bs-agent", NEXT)
    assert "probe.interval" in said
    assert "is not started again, because of its configuration" in said
    assert host.output("systemctl show bs-agent --property=MainPID --value") == was
    assert host.output(f"curl -sk {URL}/livez") == "ok"
    host.run("sed -i s/-9/9/ /etc/bs-agent/agent.toml")
    packaged.install("bs-agent", __version__)
    assert host.output("systemctl show bs-agent --property=MainPID --value") != was


@pytest.mark.parametrize("state", ["unpack", "half-configured"])
def test_an_installation_that_was_cut_short_is_completed_by_the_next(packaged: Packaged, state: str) -> None:
    host = packaged.host
    if state == "unpack":
        packaged.dpkg("--unpack", f"/root/bs-agent_{NEXT}_*.deb")
    else:
        host.run("mv /usr/bin/py3compile /root/")
        assert packaged.dpkg("--install", f"/root/bs-agent_{NEXT}_*.deb", check=False).returncode
        host.run("mv /root/py3compile /usr/bin/")
    packaged.install("bs-agent", __version__)
    assert host.output("dpkg-query --show --showformat '${db:Status-Abbrev}' bs-agent").strip() == "ii"
    assert host.output("dpkg --verify bs-agent | grep -v agent.toml; true") == ""
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
    assert host.output("ls -d /usr/lib/bs-agent 2>&-; true") == "", "no compiled module is left"
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
    assert host.output("bs-management --version").endswith(__version__)


def test_the_client_has_its_own_package(packaged: Packaged) -> None:
    host = packaged.host
    packaged.install("bs-cli", __version__)
    assert host.output("bs-cli --version").endswith(__version__)
    assert "QueryBackupStorage" in host.output("bs-cli --help")
    complete = "source /usr/share/bash-completion/completions/bs-cli; complete -p bs-cli"
    assert "_bs_cli" in host.output(f"bash -c '{complete}'")
    packaged.dpkg("--purge", "bs-cli")
    assert host.output("ls -d /usr/lib/bs-cli 2>&-; true") == ""


def test_ansible_and_packages_are_not_mixed_on_one_host(packaged: Packaged) -> None:
    host = packaged.host
    host.run("mkdir -p /opt/bs-agent; ln -s releases/1 /opt/bs-agent/current")
    refused = packaged.dpkg("--install", f"/root/bs-agent_{__version__}_*.deb", check=False)
    host.run("rm -r /opt/bs-agent")
    assert refused.returncode
    assert "take it away with remove.yml first" in refused.stderr


def without_dpkg(lines: list[str]) -> list[str]:
    """Leave out what dpkg and systemd write on their own account."""
    own = ("file /var/lib/dpkg", "file /var/backups", "file /etc/systemd/system ")
    return [line for line in lines if not line.startswith(own)]
