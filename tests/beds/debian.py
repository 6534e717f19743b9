"""Trees of other Debians with their Ceph, other releases than this machine's: made once and kept, as the hosts' image.

Where a tree's Python runs the agent, what the agent needs is in it too: there it runs whole, from the source tree.
"""

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.beds.image import CACHE, in_tree, install, mirror, run
from tests.beds.place import AGENT_HOME, REPOSITORY
from tests.beds.shared import locked

PACKAGES = "acl ceph-mon ceph-mgr ceph-osd ceph-common python3-rados"
# The script of every Debian since 2021; a suite that is younger than this machine's debootstrap has none of its name.
SCRIPT = "/usr/share/debootstrap/scripts/sid"
AGENT_RUNS_ON = (3, 11)
SECONDS = 30.0
TOOLS = ("chroot", "debootstrap", "nsenter", "unshare")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)] + ([] if os.geteuid() == 0 else ["root"])


class UnavailableError(RuntimeError):
    """Why there is no tree: its suite cannot be had or installed, or has another Ceph by now."""


@dataclass(frozen=True)
class Debian:
    """A Debian by the name of its suite, and the release of Ceph that is looked for there."""

    suite: str
    ceph: str

    def tree(self) -> Path:
        """Return the folder with the tree; the first call on a machine builds it (a minute or two).

        Raises:
            UnavailableError: it says why.
        """
        if MISSING:
            raise UnavailableError(f"not installed: {', '.join(MISSING)}")
        needed = _needed_by_the_agent()
        recipe = hashlib.sha256(repr((PACKAGES, needed)).encode()).hexdigest()[:12]
        made = CACHE / f"{self.suite}-{recipe}"
        with locked(CACHE / f"{self.suite}.lock"):
            if not made.exists():
                try:
                    self._build(made, needed)
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    raise UnavailableError(f"no tree of Debian {self.suite}: {error}") from error
        if (found := ceph_version(made)).partition(".")[0] != self.ceph:
            raise UnavailableError(f"the Ceph of Debian {self.suite} is {found}, and not {self.ceph}")
        return made

    def _build(self, made: Path, needed: list[str]) -> None:
        beside = made.with_suffix(".partial")
        shutil.rmtree(beside, ignore_errors=True)
        run("debootstrap", "--variant=minbase", self.suite, str(beside), mirror(self.suite), SCRIPT)
        install(beside, PACKAGES.split())
        version = _said(beside, "python3", "-c", "import sys; print(*sys.version_info[:2], sep='.')")
        if tuple(map(int, version.split("."))) >= AGENT_RUNS_ON:
            _add_agent(beside, version, needed)
        for download in (beside / "var/cache/apt/archives").glob("*.deb"):
            download.unlink()
        beside.rename(made)


OLDEST, LATER, NEWEST = Debian("bullseye", "14"), Debian("trixie", "18"), Debian("forky", "20")


def ceph_version(tree: Path) -> str:
    """Return the version of Ceph in a tree: what a suite has today it need not have tomorrow."""
    said = _said(tree, "ceph-mon", "--version")
    found = re.match(r"ceph version (\S+)", said)
    return found[1] if found else said


def _said(tree: Path, *words: str) -> str:
    done = subprocess.run(in_tree(tree, *words), check=True, capture_output=True, text=True, timeout=SECONDS)
    return done.stdout.strip()


def _needed_by_the_agent() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    return f"{setup['options']['install_requires']}\n{setup['options.extras_require']['agent']}".split()


def _add_agent(tree: Path, python: str, needed: list[str]) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--python-version", python]
    environment = Path(f"{tree}{AGENT_HOME}")
    run(*pip, "--target", f"{environment}/lib/python{python}/site-packages", *needed)
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to("/usr/bin/python3")
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\n")
