"""A Debian 13 tree with its Ceph 18, a later release than this machine's: made once and kept, as the hosts' image is.

The agent's dependencies are in it too, for its Python, so that the agent runs there whole, from the source tree.
"""

import configparser
import hashlib
import os
import shutil
import sys
from pathlib import Path

from tests.beds.image import CACHE, INSTALL, mirror, run
from tests.beds.place import AGENT_PACKAGES, AGENT_PYTHON, REPOSITORY
from tests.beds.shared import locked

SUITE = "trixie"
PACKAGES = "acl ceph-mon ceph-mgr ceph-osd ceph-common python3-rados"
PYTHON = "3.13"  # as the place of the packages says too
TOOLS = ("chroot", "debootstrap", "nsenter", "unshare")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)] + ([] if os.geteuid() == 0 else ["root"])


def tree() -> Path:
    """Return the folder with the tree; the first call on a machine builds it (some minutes)."""
    needed = _needed_by_the_agent()
    recipe = hashlib.sha256(repr((SUITE, PACKAGES, PYTHON, needed)).encode()).hexdigest()[:12]
    made = CACHE / f"{SUITE}-{recipe}"
    with locked(CACHE / f"{SUITE}.lock"):
        if not made.exists():
            _build(made, needed)
    return made


def _needed_by_the_agent() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    return f"{setup['options']['install_requires']}\n{setup['options.extras_require']['agent']}".split()


def _build(made: Path, needed: list[str]) -> None:
    beside = made.with_suffix(".partial")
    shutil.rmtree(beside, ignore_errors=True)
    run("debootstrap", "--variant=minbase", SUITE, str(beside), mirror(SUITE))
    shutil.copy("/etc/resolv.conf", beside / "etc/resolv.conf")
    run("chroot", str(beside), *INSTALL.split(), *PACKAGES.split())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--python-version", PYTHON]
    run(*pip, "--target", f"{beside}{AGENT_PACKAGES}", *needed)
    environment = Path(f"{beside}{AGENT_PYTHON}").parents[1]
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to("/usr/bin/python3")
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\n")
    for download in (beside / "var/cache/apt/archives").glob("*.deb"):
        download.unlink()
    beside.rename(made)
