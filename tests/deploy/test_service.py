"""The units of both daemons on one booted host: hardened, restarted unnoticed, and what they do works under it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.beds.hosts import Host
from tests.deploy.agent import URL, ask, enroll
from tests.deploy.playbooks import Fleet

pytestmark = pytest.mark.timeout(240)

SECONDS = 90

# Connections one after the other, side by side, for as long as three restarts take.
ASK = """#!/bin/sh
until [ -e /root/enough ]; do
    curl -sk --max-time 20 --output /dev/null --write-out '%{http_code}\\n' "$1"
done
"""
RESTART = """#!/bin/sh
rm -f /root/enough
for asker in 1 2 3; do
    /root/ask "$2" > /root/answers-$asker &
done
for time in 1 2 3; do
    sleep 0.3
    systemctl restart "$1"
done
touch /root/enough
wait
cat /root/answers-* | sort | uniq -c
"""


@dataclass(frozen=True)
class Unit:
    """One of the services: its configuration, a key of it that allows no -1, and how it shows that it works."""

    name: str
    file: str
    key: str
    url: str
    port: int
    status: str
    memory: int

    def process(self, host: Host) -> int:
        """Return the id of the process that runs; 0 is none."""
        return int(host.output(f"systemctl show {self.name} --property=MainPID --value"))

    def answers(self, host: Host) -> bool:
        """Tell whether it is ready."""
        return host.run(f"curl -skf --max-time 5 {self.url}", check=False).returncode == 0

    def said(self, host: Host, lines: int = 20) -> str:
        """Return the end of its log."""
        return host.output(f"journalctl --unit {self.name} --lines {lines} --output cat")

    @property
    def bad(self) -> str:
        """A configuration that is refused."""
        section, _, key = self.key.partition(".")
        return f"[{section}]\n{key} = -1\n"

    @contextmanager
    def configured(self, host: Host, content: str) -> Iterator[None]:
        """Have another content in its configuration file, which keeps its owner and mode."""
        host.run(f"cp --preserve=all {self.file} /root/good")
        host.run(f"cat > {self.file}", stdin=content)
        try:
            yield
        finally:
            host.run(f"cp --preserve=all /root/good {self.file}")


AGENT = Unit(
    name="bs-agent",
    file="/etc/bs-agent/agent.toml",
    key="probe.interval",
    url=f"{URL}/livez",
    port=7765,
    status="backup storages on 0.0.0.0:7765",
    memory=1024**3,
)
MANAGEMENT = Unit(
    name="bs-management",
    file="/etc/bs-agent/management.toml",
    key="poll.interval",
    url="http://127.0.0.1:8080/readyz",
    port=8080,
    status="the public API is at http://127.0.0.1:8080/zstack/v1",
    memory=2 * 1024**3,
)
both = pytest.mark.parametrize("unit", [AGENT, MANAGEMENT], ids=lambda unit: unit.name)


@pytest.fixture(scope="module")
def host(boot: Callable[..., Fleet]) -> Host:
    """A host with a management node, and an agent over the directory /images, which is not mounted anywhere yet."""
    fleet = boot("a")
    host = fleet.site.hosts["a"]
    host.run("mkdir /images /elsewhere")
    fleet.management("a")
    fleet.agent("a", bs_agent_imagestores=[{"name": "images", "directory": "/images"}])
    fleet.site_yml(bs_agent_register=False)
    return host


@pytest.fixture(scope="module")
def token(host: Host) -> str:
    return enroll(host)


def wait_for(host: Host, unit: Unit, what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}\n{unit.said(host)}"
        time.sleep(0.3)


@both
def test_exposure_is_small(host: Host, unit: Unit) -> None:
    verdict = host.output(f"systemd-analyze security --no-pager {unit.name}.service").splitlines()[-1]
    print(verdict)
    found = re.search(rf"{unit.name}.service: ([0-9.]+) OK", verdict)
    assert found
    assert float(found[1]) <= 2.0


@both
def test_runs_as_its_own_user_without_capabilities(host: Host, unit: Unit) -> None:
    status = host.output(f"cat /proc/{unit.process(host)}/status")
    assert re.search(r"(?m)^Uid:\s+(\d+)\s+\1\s+\1\s+\1$", status)
    assert re.search(r"(?m)^Uid:\s+" + host.output(f"id -u {unit.name}"), status)
    for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert re.search(rf"(?m)^{kind}:\s+0+$", status), kind
    assert re.search(r"(?m)^NoNewPrivs:\s+1$", status)
    assert re.search(r"(?m)^Seccomp:\s+2$", status)


@both
def test_says_what_it_serves_and_has_limits(host: Host, unit: Unit) -> None:
    names = ("StatusText", "WatchdogUSec", "MemoryMax", "TasksMax", "Type", "Restart")
    seen = dict(
        line.split("=", 1)
        for line in host.output(f"systemctl show {unit.name}", *(f"-p {name}" for name in names)).splitlines()
    )
    assert unit.status in seen["StatusText"]
    assert (seen["Type"], seen["Restart"], seen["WatchdogUSec"]) == ("notify", "on-failure", "1min")
    assert int(seen["MemoryMax"]) == unit.memory
    assert int(seen["TasksMax"]) == 512


def test_serves_a_directory_whose_disk_is_mounted_later(host: Host, token: str) -> None:
    host.run("mount -t tmpfs -o size=64M,mode=0755 images /images && setfacl -m user:bs-agent:rwx /images")
    storage = "a" * 32
    wanted = {"type": "ImageStoreBackupStorage", "url": "/images", "reportTo": {"url": "http://127.0.0.1:8080"}}
    report = ask(host, "PUT", f"/v1/storages/{storage}", token, wanted)
    assert report["usage"]["value"]["totalCapacity"] == 64 * 1024**2
    assert report["usage"]["reason"] is None
    marker = json.loads(host.output("cat /images/.bs-agent.json"))
    assert storage in marker.values()
    host.run("umount --lazy /images")
    fresh = ask(host, "GET", "/v1/report?fresh=true", token)
    assert fresh["storages"][0]["usage"]["reason"]["code"] == "MarkerMissing"


def test_writes_nowhere_else(host: Host, token: str) -> None:
    host.run("setfacl -m user:bs-agent:rwx /elsewhere")
    refused = ask(
        host, "PUT", f"/v1/storages/{'b' * 32}", token, {"type": "ImageStoreBackupStorage", "url": "/elsewhere"}
    )
    assert refused["error"]["code"] == "BS.ReadOnly"
    assert host.output("ls -A /elsewhere") == ""


def test_looks_at_its_processes_and_addresses_under_the_hardening(host: Host, token: str) -> None:
    metrics = host.output(f"curl -sk -H 'Authorization: Bearer {token}' {URL}/metrics")
    assert re.search(r"(?m)^process_resident_memory_bytes [1-9]", metrics)
    address = host.address
    refused = ask(
        host,
        "PUT",
        f"/v1/storages/{'c' * 32}",
        token,
        {"type": "ImageStoreBackupStorage", "url": "/nowhere", "service": f"{address}:22"},
    )
    assert refused["error"]["code"] == "BS.DirectoryMissing"


def test_the_doctor_compares_the_clock_with_that_of_the_node(host: Host) -> None:
    doctor = host.run("bs-agent doctor", check=False).stdout
    print(doctor)
    assert re.search(r"(?m)^(ok|warn)  +clock .*, agrees with http://127.0.0.1:8080", doctor)


@both
def test_reload_with_a_bad_file_fails_and_keeps_the_old_configuration(host: Host, unit: Unit) -> None:
    before = unit.process(host)
    with unit.configured(host, unit.bad):
        assert host.run(f"systemctl reload {unit.name}", check=False).returncode != 0
        assert unit.key in unit.said(host)
        assert host.output(f"systemctl is-active {unit.name}") == "active"
        assert unit.answers(host)
    host.run(f"systemctl reload {unit.name}")
    wait_for(host, unit, "reloaded", lambda: "reloaded" in unit.said(host, 3))
    assert host.output(f"systemctl is-active {unit.name}") == "active"
    assert unit.process(host) == before


@both
def test_restart_drops_no_connection(host: Host, unit: Unit) -> None:
    before = unit.process(host)
    host.write("/root/ask", ASK, "0755")
    host.write("/root/restart", RESTART, "0755")
    url = unit.url.replace("/readyz", "/livez")  # a node that stops is not ready
    asked = host.output(f"/root/restart {unit.name} {url}")
    print(asked)
    assert unit.process(host) != before
    assert re.fullmatch(r"\s*\d+ 200", asked), asked


@both
def test_stop_closes_the_port_and_start_opens_it(host: Host, unit: Unit) -> None:
    host.run(f"systemctl stop {unit.name}")
    assert f":{unit.port} " not in host.output("ss --listening --tcp --numeric")
    assert host.run(f"curl -sk --max-time 5 {unit.url}", check=False).returncode == 7
    assert host.output(f"systemctl is-active {unit.name}.service {unit.name}.socket; true").split() == ["inactive"] * 2
    host.run(f"systemctl start {unit.name}")
    assert unit.answers(host)


@both
def test_comes_back_after_a_crash(host: Host, unit: Unit) -> None:
    before = unit.process(host)
    host.run(f"kill -SEGV {before}")
    wait_for(host, unit, "another process", lambda: unit.process(host) not in (0, before))
    wait_for(host, unit, "an answer", lambda: unit.answers(host))


@both
def test_stays_down_with_a_bad_configuration(host: Host, unit: Unit) -> None:
    with unit.configured(host, "no toml"):
        assert host.run(f"systemctl restart {unit.name}", check=False).returncode != 0
        assert host.output(f"systemctl show {unit.name} --property=ExecMainStatus --value") == "78"
        assert host.output(f"systemctl is-active {unit.name}; true") == "failed"
    host.run(f"systemctl restart {unit.name}")


@both
def test_watchdog_ends_a_process_that_hangs(host: Host, unit: Unit) -> None:
    drop_in = f"/run/systemd/system/{unit.name}.service.d"
    host.run(f"mkdir -p {drop_in}")
    host.write(f"{drop_in}/watchdog.conf", "[Service]\nWatchdogSec=3\nTimeoutAbortSec=2\nRestartSec=100ms\n")
    host.run(f"systemctl daemon-reload; systemctl restart {unit.name}")
    try:
        before = unit.process(host)
        host.run(f"kill -STOP {before}")
        wait_for(host, unit, "another process", lambda: unit.process(host) not in (0, before))
        assert "Watchdog timeout" in unit.said(host)
        wait_for(host, unit, "an answer", lambda: unit.answers(host))
    finally:
        host.run(f"rm -r {drop_in}; systemctl daemon-reload; systemctl restart {unit.name}")


def test_both_come_back_alone_after_a_reboot(host: Host, token: str) -> None:
    host.reboot()
    assert host.output(f"systemctl is-active {AGENT.name} {MANAGEMENT.name}").split() == ["active"] * 2
    assert MANAGEMENT.answers(host)
    report = ask(host, "GET", "/v1/report", token)
    assert [storage["uuid"] for storage in report["storages"]] == ["a" * 32]
