"""Wheelhouses of this source tree under other version numbers, with or without a fault put in on purpose."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bs_agent import __version__
from tests.beds.image import CACHE

ROOT = Path(__file__).parents[2]
SOURCES = ("bs_agent", "systemd", "ansible", "setup.cfg", "pyproject.toml", "LICENSE")
BUILD_SECONDS = 300
# The distribution's Python on the hosts: Debian 12 has 3.11.
HOST_PYTHON = "3.11"


class Wheelhouse:
    """A folder with one archive per program and release, as `make wheelhouse` fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.build(__version__)

    def build(self, version: str, faults: dict[str, tuple[str, str]] | None = None) -> None:
        """Add a release; `faults` maps a file to a text in it and what stands there instead."""
        tree = self.folder.parent / f"tree-{version}"
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                tree.mkdir(exist_ok=True)
                shutil.copy(source, tree / name)
        changes = {"bs_agent/__init__.py": (f'"{__version__}"', f'"{version}"')} | (faults or {})
        for name, (old, new) in changes.items():
            text = (tree / name).read_text()
            assert old in text, f"{name} has no {old!r}"
            (tree / name).write_text(text.replace(old, new))
        environment = os.environ | {"PYTHON": sys.executable, "OUT": str(self.folder), "CACHE": str(CACHE / "wheels")}
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "wheels.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the downloads are kept for all
            done = subprocess.run(
                [tree / "ansible/wheelhouse.sh", HOST_PYTHON],
                env=environment,
                check=False,
                capture_output=True,
                text=True,
                timeout=BUILD_SECONDS,
            )
        assert done.returncode == 0, done.stdout + done.stderr
        (self.folder / "version").write_text(f"{__version__}\n")
        shutil.rmtree(tree)
