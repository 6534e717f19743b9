"""Disks that come and go under a running service: what it shows is what the host has, and it holds on to none."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.beds.hosts import Host
from tests.deploy.agent import ask, enroll
from tests.deploy.playbooks import Fleet

pytestmark = pytest.mark.timeout(400)

MIB = 1024**2
ODD = '/srv/with blank %n "quoted" back\\slash $HOME ü'
DROP_IN = "/etc/systemd/system/bs-agent.service.d/storages.conf"
UUIDS = {"data": "a" * 32, "top": "b" * 32, "odd": "c" * 32, "plain": "d" * 32}


class Disk:
    """A disk of the host that is mounted somewhere, with a directory in it that the agent may use."""

    def __init__(self, host: Host, mount: str, directory: str) -> None:
        self.host, self.mount, self.directory = host, mount, directory

    def on(self, size: int) -> None:
        """Mount a new disk of so many MiB."""
        self.script(
            f'mount -t tmpfs -o size={size}M,mode=0755 "disk-{size}" "$MOUNT" && mkdir -p "$DIRECTORY"'
            ' && setfacl -m user:bs-agent:rwx "$DIRECTORY"'
        )

    def off(self, how: str = "") -> None:
        """Unmount the topmost disk."""
        self.script(f'umount {how} "$MOUNT"')

    def script(self, text: str) -> str:
        """Run a script that finds mount point and directory in its variables, whatever these are called."""
        names = f"MOUNT={_quoted(self.mount)}\nDIRECTORY={_quoted(self.directory)}\n"
        return self.host.output("sh", "-eu", stdin=names + text)

    def held(self) -> list[str]:
        """Return what the service has mounted there."""
        process = self.host.output("systemctl show bs-agent --property=MainPID --value")
        lines = self.host.output(f"cat /proc/{process}/mountinfo").splitlines()
        return [line.split(" - ")[1].split()[1] for line in lines if line.split(" - ")[1].startswith("tmpfs disk-")]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@pytest.fixture(scope="module")
def fleet(boot: Callable[..., Fleet]) -> Fleet:
    fleet = boot("a")
    host = fleet.site.hosts["a"]
    disks = disks_of(host)
    host.run("mkdir -p /data /images /plain/images")
    disks["odd"].script('mkdir -p "$MOUNT"')
    host.run("useradd --system bs-agent")
    for number, disk in enumerate(disks.values(), start=1):
        disk.on(64 * number)
    fleet.agent(
        "a",
        bs_agent_firewall="none",
        bs_agent_imagestores=[
            {"name": name, "directory": disk.directory} for name, disk in disks.items()
        ] + [{"name": "plain", "directory": "/plain/images"}],
    )  # fmt: skip
    fleet.site_yml(bs_agent_register=False)
    again = fleet.site_yml(bs_agent_register=False)
    assert again.count("a", "changed") == 0, again.changed
    return fleet


@pytest.fixture(scope="module")
def host(fleet: Fleet) -> Host:
    return fleet.site.hosts["a"]


@pytest.fixture(scope="module")
def token(host: Host) -> str:
    return enroll(host)


def disks_of(host: Host) -> dict[str, Disk]:
    return {
        "data": Disk(host, "/data", "/data/images"),
        "top": Disk(host, "/images", "/images"),
        "odd": Disk(host, ODD, f"{ODD}/images 100%"),
    }


def connect(host: Host, token: str, name: str) -> Any:
    directory = disks_of(host)[name].directory if name != "plain" else "/plain/images"
    wanted = {"type": "ImageStoreBackupStorage", "url": directory}
    return ask(host, "PUT", f"/v1/storages/{UUIDS[name]}", token, wanted)


def usage(host: Host, token: str, name: str) -> tuple[str, int]:
    """Return the code of the reason and the capacity in MiB that the agent reports."""
    report = ask(host, "GET", "/v1/report?fresh=true", token)
    (section,) = (storage["usage"] for storage in report["storages"] if storage["uuid"] == UUIDS[name])
    return (section["reason"] or {"code": ""})["code"], (section["value"] or {"totalCapacity": 0})[
        "totalCapacity"
    ] // MIB


def test_the_unit_names_disks_and_not_directories_below_them(host: Host) -> None:
    drop_in = host.output(f"cat {DROP_IN}").splitlines()
    written = ODD.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    assert [line for line in drop_in if line.startswith("ReadWritePaths")] == [
        'ReadWritePaths="-/data"',
        'ReadWritePaths="-/images"',
        'ReadWritePaths="-/plain/images"',
        f'ReadWritePaths="-{written}"',
    ]
    assert host.output("systemctl is-active bs-agent") == "active"


@pytest.mark.parametrize(
    ("name", "how", "started"),
    [
        ("data", "", "mounted"),
        ("data", "--lazy", "unmounted"),
        ("top", "--lazy", "mounted"),
        ("top", "", "unmounted"),
        ("odd", "", "mounted"),
    ],
)
def test_a_disk_that_the_host_unmounts_and_replaces(host: Host, token: str, name: str, how: str, started: str) -> None:
    disk, size = disks_of(host)[name], 64 * (list(UUIDS).index(name) + 1)
    if started == "unmounted":
        disk.off()
        host.run("systemctl restart bs-agent")
        disk.on(size)
    else:
        host.run("systemctl restart bs-agent")
    disk.script(f"echo '{json.dumps({'storage': UUIDS[name]})}' > \"$DIRECTORY/.bs-agent.json\"")
    report = connect(host, token, name)
    assert report["usage"]["reason"] is None, report
    assert report["usage"]["value"]["totalCapacity"] == size * MIB
    keeper = disk.script('exec 3< "$MOUNT"; sleep 600 >&- 2>&- & echo $!') if how else ""
    disk.off(how)
    gone, shown = usage(host, token, name)
    assert (gone in {"MarkerMissing", "DirectoryMissing"}, shown) == (True, size), "the last number, and that it is old"
    assert f"disk-{size}" not in disk.held()
    disk.on(size + 1)
    assert usage(host, token, name) == ("MarkerMissing", size), "another disk has no marker of ours"
    assert connect(host, token, name)["error"]["code"] == "BS.MarkerMissing"
    disk.script(f"echo '{json.dumps({'storage': UUIDS[name]})}' > \"$DIRECTORY/.bs-agent.json\"")
    assert usage(host, token, name) == ("", size + 1)
    disk.off()
    if keeper:
        host.run(f"kill {keeper}")
    disk.on(size)
    disk.script('rm -f "$DIRECTORY/.bs-agent.json"')
    assert usage(host, token, name) == ("MarkerMissing", size + 1)


def test_a_directory_without_a_disk_of_its_own_may_get_one(host: Host, token: str) -> None:
    assert connect(host, token, "plain")["usage"]["reason"] is None
    disk = Disk(host, "/plain", "/plain/images")
    host.run("systemctl restart bs-agent")
    disk.on(40)
    assert usage(host, token, "plain")[0] == "MarkerMissing"
    disk.off()
    assert "disk-40" not in disk.held()
    assert usage(host, token, "plain")[0] == ""


def test_a_unit_that_was_edited_by_hand_to_hold_a_disk_is_told_of(host: Host, token: str) -> None:
    disk = disks_of(host)["data"]
    good = host.output(f"cat {DROP_IN}")
    host.write(DROP_IN, good.replace('ReadWritePaths="-/data"', "ReadWritePaths=-/data/images"))
    host.run("systemctl daemon-reload; systemctl restart bs-agent")
    disk.script(f"echo '{json.dumps({'storage': UUIDS['data']})}' > \"$DIRECTORY/.bs-agent.json\"")
    assert connect(host, token, "data")["usage"]["reason"] is None
    doctor = host.run("bs-agent doctor", check=False).stdout
    assert "warn  sandbox       the service keeps the disk at /data when the host unmounts it" in doctor
    assert "Let ReadWritePaths be -/data with" in doctor
    disk.off()
    assert "disk-64" in disk.held(), "this is the fault that there is no way around"
    assert usage(host, token, "data") == ("DirectoryUnmounted", 64)
    assert connect(host, token, "data")["error"]["code"] == "BS.DirectoryUnmounted"
    disk.on(70)
    assert usage(host, token, "data") == ("DirectoryUnmounted", 64), "the new disk lies below the old one"
    host.write(DROP_IN, good)
    host.run("systemctl daemon-reload; systemctl restart bs-agent")
    assert usage(host, token, "data")[0] == "MarkerMissing"
    disk.script(f"echo '{json.dumps({'storage': UUIDS['data']})}' > \"$DIRECTORY/.bs-agent.json\"")
    assert usage(host, token, "data") == ("", 70)
    assert "sandbox" not in host.run("bs-agent doctor", check=False).stdout


@pytest.mark.parametrize("directory", ["/data\nReadWritePaths=/", "relative", "/\u2028"])
def test_a_name_that_a_unit_cannot_hold_is_refused(fleet: Fleet, host: Host, directory: str) -> None:
    before = host.output(f"cat {DROP_IN}")
    run = fleet.play("site.yml", bs_agent_imagestores=[{"name": "x", "directory": directory}])
    assert run.status != 0
    assert "must be absolute paths without line ends" in " ".join(run.output.split())
    assert host.output(f"cat {DROP_IN}") == before
