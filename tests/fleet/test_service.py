"""The agent's units on a booted host: hardened, and all that the agent does works under it."""

import json
import re
import time
from collections.abc import Callable

import pytest

from tests.beds.hosts import Host
from tests.fleet.agent import URL, ask, enroll
from tests.fleet.playbooks import Fleet

pytestmark = pytest.mark.timeout(240)

SECONDS = 90

# Connections one after the other, side by side, for as long as three restarts take.
ASK = f"""#!/bin/sh
until [ -e /root/enough ]; do
    curl -sk --max-time 20 {URL}/livez || echo refused
done
"""
RESTART = """#!/bin/sh
for asker in 1 2 3; do
    /root/ask > /root/answers-$asker &
done
for time in 1 2 3; do
    sleep 0.3
    systemctl restart bs-agent
done
touch /root/enough
wait
cat /root/answers-* | sort | uniq -c
"""


@pytest.fixture(scope="module")
def host(boot: Callable[..., Fleet]) -> Host:
    """A host with an agent over the directory /images, which is not mounted anywhere yet."""
    fleet = boot("a")
    host = fleet.site.hosts["a"]
    host.run("mkdir /images /elsewhere")
    fleet.agent("a", bs_agent_imagestores=[{"name": "images", "directory": "/images"}])
    fleet.site_yml(bs_agent_management_addresses=["10.99.0.1"], bs_agent_register=False)
    return host


@pytest.fixture(scope="module")
def token(host: Host) -> str:
    return enroll(host)


def main_process(host: Host) -> int:
    return int(host.output("systemctl show bs-agent --property=MainPID --value"))


def wait_for(host: Host, what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, (
            f"not within {SECONDS} s: {what}\n{host.output('journalctl -u bs-agent -n 20')}"
        )
        time.sleep(0.3)


def test_exposure_is_small(host: Host) -> None:
    verdict = host.output("systemd-analyze security --no-pager bs-agent.service").splitlines()[-1]
    print(verdict)
    found = re.search(r"bs-agent.service: ([0-9.]+) OK", verdict)
    assert found
    assert float(found[1]) <= 2.0


def test_runs_as_its_own_user_without_capabilities(host: Host) -> None:
    status = host.output(f"cat /proc/{main_process(host)}/status")
    assert re.search(r"(?m)^Uid:\s+(\d+)\s+\1\s+\1\s+\1$", status)
    assert re.search(r"(?m)^Uid:\s+" + host.output("id -u bs-agent"), status)
    for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert re.search(rf"(?m)^{kind}:\s+0+$", status), kind
    assert re.search(r"(?m)^NoNewPrivs:\s+1$", status)
    assert re.search(r"(?m)^Seccomp:\s+2$", status)


def test_says_what_it_serves_and_has_limits(host: Host) -> None:
    names = ("StatusText", "WatchdogUSec", "MemoryMax", "TasksMax", "Type", "Restart")
    seen = dict(
        line.split("=", 1)
        for line in host.output("systemctl show bs-agent", *(f"-p {name}" for name in names)).splitlines()
    )
    assert "backup storages on 0.0.0.0:7765" in seen["StatusText"]
    assert (seen["Type"], seen["Restart"], seen["WatchdogUSec"]) == ("notify", "on-failure", "1min")
    assert int(seen["MemoryMax"]) == 1024**3
    assert int(seen["TasksMax"]) == 512


def test_serves_a_directory_whose_disk_is_mounted_later(host: Host, token: str) -> None:
    host.run("mount -t tmpfs -o size=64M,mode=0755 images /images && setfacl -m user:bs-agent:rwx /images")
    storage = "a" * 32
    report = ask(host, "PUT", f"/v1/storages/{storage}", token, {"type": "ImageStoreBackupStorage", "url": "/images"})
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


def test_reload_with_a_bad_file_fails_and_keeps_the_old_configuration(host: Host) -> None:
    before = main_process(host)
    good = host.output("cat /etc/bs-agent/agent.toml") + "\n"
    host.write("/etc/bs-agent/agent.toml", "[probe]\ninterval = -1\n")
    try:
        done = host.run("systemctl reload bs-agent", check=False)
        assert done.returncode != 0
        assert "probe.interval" in host.output("journalctl --unit bs-agent --lines 20 --output cat")
        assert host.output("systemctl is-active bs-agent") == "active"
    finally:
        host.write("/etc/bs-agent/agent.toml", good)
    host.run("systemctl reload bs-agent")
    wait_for(host, "reloaded", lambda: "reloaded" in host.output("journalctl --unit bs-agent --lines 3 --output cat"))
    assert host.output("systemctl is-active bs-agent") == "active"
    assert main_process(host) == before


def test_restart_drops_no_connection(host: Host) -> None:
    before = main_process(host)
    host.write("/root/ask", ASK, "0755")
    host.write("/root/restart", RESTART, "0755")
    asked = host.output("/root/restart")
    assert main_process(host) != before
    assert re.fullmatch(r"\s*\d+ ok", asked), asked


def test_stop_closes_the_port_and_start_opens_it(host: Host) -> None:
    host.run("systemctl stop bs-agent")
    assert ":7765" not in host.output("ss --listening --tcp --numeric")
    assert host.run("curl -sk --max-time 5", f"{URL}/livez", check=False).returncode == 7
    assert host.output("systemctl is-active bs-agent.service bs-agent.socket; true").split() == ["inactive"] * 2
    host.run("systemctl start bs-agent")
    assert host.output(f"curl -sk {URL}/livez") == "ok"


def test_comes_back_after_a_crash(host: Host) -> None:
    before = main_process(host)
    host.run(f"kill -SEGV {before}")
    wait_for(host, "another process", lambda: main_process(host) not in (0, before))
    wait_for(host, "an answer", lambda: host.run(f"curl -sk --max-time 5 {URL}/livez", check=False).stdout == "ok\n")


def test_stays_down_with_a_bad_configuration(host: Host) -> None:
    good = host.output("cat /etc/bs-agent/agent.toml") + "\n"
    host.write("/etc/bs-agent/agent.toml", "no toml")
    try:
        assert host.run("systemctl restart bs-agent", check=False).returncode != 0
        assert host.output("systemctl show bs-agent --property=ExecMainStatus --value") == "78"
        assert host.output("systemctl is-active bs-agent; true") == "failed"
    finally:
        host.write("/etc/bs-agent/agent.toml", good)
    host.run("systemctl restart bs-agent")


def test_watchdog_ends_an_agent_that_hangs(host: Host) -> None:
    host.run("mkdir -p /run/systemd/system/bs-agent.service.d")
    host.write("/run/systemd/system/bs-agent.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\nTimeoutAbortSec=2\n")
    host.run("systemctl daemon-reload; systemctl restart bs-agent")
    try:
        before = main_process(host)
        host.run(f"kill -STOP {before}")
        wait_for(host, "another process", lambda: main_process(host) not in (0, before))
        assert "Watchdog timeout" in host.output("journalctl --unit bs-agent --output cat")
    finally:
        host.run("rm -r /run/systemd/system/bs-agent.service.d; systemctl daemon-reload; systemctl restart bs-agent")


def test_comes_back_alone_after_a_reboot(host: Host, token: str) -> None:
    host.reboot()
    assert host.output("systemctl is-active bs-agent") == "active"
    report = ask(host, "GET", "/v1/report", token)
    assert [storage["uuid"] for storage in report["storages"]] == ["a" * 32]
