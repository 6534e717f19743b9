"""Wheelhouses of this source tree under other version numbers, with or without a fault put in on purpose."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bs_agent import __version__
from tests.beds.image import CACHE
from tests.beds.shared import locked

ROOT = Path(__file__).parents[2]
SOURCES = ("bs_agent", "systemd", "ansible", "setup.cfg", "pyproject.toml", "LICENSE")
BUILD_SECONDS = 300
# The distribution's Python on the hosts, Debian 12 has 3.11, and the one of this machine.
PYTHONS = sorted({"3.11", f"{sys.version_info.major}.{sys.version_info.minor}"})


class Wheelhouse:
    """A folder with one archive per program and release, as `make wheelhouse` fills it.

    `built` is where releases are kept that others may want too; `pythons` are those of the hosts.
    """

    def __init__(self, folder: Path, built: Path, pythons: Sequence[str] = PYTHONS) -> None:
        self.folder = folder
        self._built, self._pythons = built, pythons
        folder.mkdir()
        self.build(__version__)
        (folder / "version").write_text(f"{__version__}\n")

    def build(self, version: str, faults: dict[str, tuple[str, str]] | None = None) -> None:
        """Add a release; `faults` maps a file to a text in it and what stands there instead."""
        changes = {"bs_agent/__init__.py": (f'"{__version__}"', f'"{version}"')} | (faults or {})
        release = self._built / hashlib.sha256(repr((changes, self._pythons)).encode()).hexdigest()[:12]
        with locked(CACHE / "wheels.lock"):  # the downloads are kept for all
            if not release.exists():
                _build(version, changes, release.with_suffix(".partial"), self._pythons)
                release.with_suffix(".partial").rename(release)
        for archive in release.glob("bs-*"):
            shutil.copy(archive, self.folder)


def _build(version: str, changes: dict[str, tuple[str, str]], out: Path, pythons: Sequence[str]) -> None:
    tree = out.with_suffix(".tree")
    for left in (out, tree):  # by one that was cut short
        shutil.rmtree(left, ignore_errors=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            tree.mkdir(exist_ok=True)
            shutil.copy(source, tree / name)
    for name, (old, new) in changes.items():
        text = (tree / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (tree / name).write_text(text.replace(old, new))
    cache = CACHE / "-".join(["wheels", *pythons])  # of one release of the downloads alone each
    environment = os.environ | {"PYTHON": sys.executable, "OUT": str(out), "CACHE": str(cache)}
    if version != __version__:  # the same again, so without fetching what builds it
        environment["PIP_NO_BUILD_ISOLATION"] = "false"
    done = subprocess.run(
        [tree / "ansible/wheelhouse.sh", *pythons],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(tree)
