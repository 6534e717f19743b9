"""The packages of this source tree, of both forms, built once a run for all tests that install them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bs_agent import __version__
from tests.beds.shared import folder_of_run, locked
from tests.deploy.releases import ROOT, Wheelhouse

BUILD = ROOT / "systemd/packages/build.py"
BUILD_SECONDS = 300
PYTHONS = ("3.11", "3.12", "3.13")  # Debian 12, RHEL 9 and Ubuntu 24.04, Debian 13
MEBIBYTE = 1 << 20


class Built:
    """A folder of packages and what the build said of them."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._folder = folder_of_run(factory) / "packages"
        self._releases = folder_of_run(factory) / "releases"

    def deb(self, program: str, version: str = __version__) -> Path:
        """Return the Debian package of a program."""
        return self._built("deb", program, version) / f"{program}_{version}_amd64.deb"

    def rpm(self, program: str, version: str = __version__) -> Path:
        """Return the RPM of a program."""
        return self._built("rpm", program, version) / f"{program}-{version}-1.x86_64.rpm"

    def said(self, form: str, program: str) -> str:
        """Return what the build has printed."""
        return (self._built(form, program, __version__) / "said").read_text()

    def wheelhouse(self, version: str) -> Path:
        """Return a folder with the wheels of a release, for the Pythons of all distributions."""
        with locked(self._folder / "lock"):
            return self._wheels(version)

    def _wheels(self, version: str) -> Path:
        folder = self._folder / f"wheels-{version}"
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            Wheelhouse(partial, self._releases, PYTHONS).build(version)
            partial.rename(folder)
        return folder

    def _built(self, form: str, program: str, version: str) -> Path:
        folder = self._folder / f"{form}-{program}-{version}"
        with locked(self._folder / "lock"):
            if not folder.exists():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                # Other releases are only installed on hosts that boot, and in the tree.
                pythons = [] if version == __version__ or form == "rpm" else ["--python", "3.11", "--python", "3.13"]
                options = ["--quick", "--only", program, *pythons]
                said = build(form, partial, self._wheels(version), version, *options)
                (partial / "said").write_text(said)
                partial.rename(folder)
        return folder


def interpreter(version: str) -> Path:
    """Return a Python of this version, which is there and runs; else the test is skipped."""
    # Where pyenv has several they stand beside one another.
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python{version}"))
    for found in filter(None, [shutil.which(f"python{version}"), *beside]):
        words = [str(found), "-c", "import ensurepip, sys; print(sys.executable)"]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=30)
        if done.returncode == 0:
            return Path(done.stdout.strip())
    pytest.skip(f"this machine has no Python {version}")


def build(form: str, out: Path, wheelhouse: Path, version: str, *options: str) -> str:
    """Build packages as `make deb` and `make rpm` do; return what is printed."""
    words: list[str] = [form, "--out", str(out), "--wheelhouse", str(wheelhouse), "--version", version, *options]
    done = subprocess.run(
        [sys.executable, str(BUILD), *words], check=False, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def weight(said: str, package: Path) -> float:
    """Return the MiB that a package weighs, as the build has printed it."""
    found = re.search(rf"{re.escape(package.name)}: ([\d.]+) MiB", said)
    assert found, said
    assert abs(float(found[1]) - package.stat().st_size / MEBIBYTE) < 0.1
    return float(found[1])
