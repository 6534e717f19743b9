"""The file system that every booted host starts from: Debian by debootstrap, made once and kept for later runs."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.beds.shared import locked

CACHE = Path(os.environ.get("BS_AGENT_TESTS_CACHE", "/var/cache/bs-agent-tests"))
DEFAULT_MIRROR = "http://deb.debian.org/debian"
SUITE = "bookworm"
PACKAGES = """
    systemd systemd-sysv dbus openssh-server sudo acl ca-certificates curl iproute2 procps strace python3
    python3-rados ceph-common ceph-mgr ceph-mon ceph-osd firewalld nftables ufw
"""
# What a storage host runs besides is of no interest here, and would only make the boot slower.
MASKED = """
    apt-daily.timer apt-daily-upgrade.timer ceph-crash.service cron.service dm-event.socket dpkg-db-backup.timer
    e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@.service console-getty.service logrotate.timer
    blk-availability.service lvm2-monitor.service lvm2-lvmpolld.socket rbdmap.service smartmontools.service
    nvmefc-boot-connections.service nvmf-autoconnect.service uuidd.socket systemd-networkd-wait-online.service
    systemd-networkd.socket systemd-journal-flush.service systemd-update-utmp.service systemd-tmpfiles-clean.timer
"""
DISABLED = """
    firewalld.service nftables.service ufw.service ceph.target ceph-mon.target ceph-osd.target ceph-mgr.target
"""
ENABLED = "systemd-networkd.service ssh.service"
INSTALL = "env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends"
# What packages ask before they start or restart a service; some of them take it for a failure where none can be.
NO_SERVICES = "#!/bin/sh\nexit 101\n"
# Every Python of a host loads it at its start, that of a virtual environment too.
CUSTOM = "usr/lib/python3.11/sitecustomize.py"
ACCELERATOR = Path(__file__).with_name("remember_compiled.py")
COMPILED_FOR = 7 * 86400
BUILD_SECONDS = 900


def base_image() -> Path:
    """Return the folder with the base file system; the first call on a machine builds it (about two minutes)."""
    recipe = repr((SUITE, PACKAGES, MASKED, DISABLED, ENABLED, ACCELERATOR.read_text()))
    image = CACHE / f"base-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with locked(CACHE / "lock"):
        if not image.exists():
            _build(image)
    return image


def compiled() -> Path:
    """Return the folder in which all hosts of this machine remember what Python compiled; a new one each week."""
    folder = CACHE / f"compiled-{int(time.time() / COMPILED_FOR)}"
    with locked(CACHE / "lock"):
        for old in set(CACHE.glob("compiled-*")) - {folder}:
            shutil.rmtree(old)
        folder.mkdir(exist_ok=True)
    return folder


def _build(image: Path) -> None:
    beside = image.with_suffix(".partial")
    shutil.rmtree(beside, ignore_errors=True)
    run("debootstrap", "--variant=minbase", SUITE, str(beside), mirror(SUITE))
    install(beside, PACKAGES.split())
    run("systemctl", f"--root={beside}", "mask", *MASKED.split())
    run("systemctl", f"--root={beside}", "disable", *DISABLED.split())
    run("systemctl", f"--root={beside}", "enable", *ENABLED.split())
    for leftover in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):
        (beside / leftover).unlink(missing_ok=True)
    for key in (beside / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for download in (beside / "var/cache/apt/archives").glob("*.deb"):
        download.unlink()
    (beside / "root/.ssh").mkdir(mode=0o700)
    (beside / CUSTOM).unlink(missing_ok=True)
    shutil.copy(ACCELERATOR, beside / CUSTOM)
    run("chroot", str(beside), "python3", "-m", "compileall", "-q", f"/{CUSTOM}")
    beside.rename(image)


def install(tree: Path, packages: list[str]) -> None:
    """Install packages in a tree; debootstrap itself does not follow the alternatives among so many dependencies.

    Raises:
        RuntimeError: apt failed.
    """
    shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text(NO_SERVICES)
    policy.chmod(0o755)
    run(*in_tree(tree, *INSTALL.split(), *packages))
    policy.unlink()


def in_tree(tree: Path, *command: str) -> list[str]:
    """Return what runs a command in a tree, with a /proc of its own, which packages ask for; nothing outlives it."""
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--root={tree}", "--mount-proc", *command]


def mirror(suite: str) -> str:
    """Return the mirror that this machine itself uses for the suite, or for its own: that has the others too."""
    targets = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    printed = subprocess.run(targets, check=False, capture_output=True, text=True, timeout=30).stdout
    known = dict(line.split() for line in printed.splitlines())
    return known.get(suite) or known.get(SUITE, DEFAULT_MIRROR)


def run(*command: str) -> None:
    """Run one step of the making.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=BUILD_SECONDS)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
