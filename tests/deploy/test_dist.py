"""What a release is for Python: the same from the same files, whole, and installed by each Python that it names."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from bs_agent import __version__
from tests.deploy.packages import PYTHONS, Built, interpreter
from tests.deploy.releases import ROOT

pytestmark = pytest.mark.timeout(900)

RELEASE = ROOT / "systemd/packages/release.py"
PROGRAMS = {"agent": "bs-agent", "management": "bs-management", "cli": "bs-cli"}

# Debian 12 and 13 install the packages in other tests.
SHORT = {*((each, "3.12") for each in PROGRAMS.values()), ("bs-management", "3.13")}
ENVIRONMENTS = [
    pytest.param(version, program, marks=() if (program, version) in SHORT else pytest.mark.long)
    for version in PYTHONS
    for program in PROGRAMS.values()
]


def output(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, check=False, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def released(packages: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    output(sys.executable, RELEASE, "--out", out, "--wheelhouse", packages.wheelhouse(__version__))
    return out


def wheel_of(folder: Path) -> Path:
    return folder / f"bs_agent-{__version__}-py3-none-any.whl"


def tracked(*under: str) -> set[str]:
    return {name for name in output("git", "ls-files", *under).splitlines() if (ROOT / name).exists()}


def test_the_same_files_make_the_same_release(released: Path, packages: Built, tmp_path: Path) -> None:
    again = tmp_path / "again"
    wheelhouse = packages.wheelhouse(__version__)
    output(
        "sh", "-c", 'umask 077; exec "$@"', "sh", sys.executable, RELEASE, "--out", again, "--wheelhouse", wheelhouse
    )
    assert (again / "SHA256SUMS").read_text() == (released / "SHA256SUMS").read_text()
    output("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=again)
    assert len((again / "SHA256SUMS").read_text().splitlines()) == 3


def test_the_sdist_is_whole_and_makes_the_wheel_that_the_tree_makes(released: Path, tmp_path: Path) -> None:
    with tarfile.open(released / f"bs_agent-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == {*tracked(), "PKG-INFO"}
    with zipfile.ZipFile(wheel_of(released)) as wheel:
        assert tracked("bs_agent") <= set(wheel.namelist()), "package data is named in setup.cfg"
    tree = tmp_path / "tree"
    for name in tracked("bs_agent", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    build = f"import setuptools.build_meta as backend; backend.build_wheel({str(tmp_path)!r})"
    output(sys.executable, "-c", build, cwd=tree, SOURCE_DATE_EPOCH="1767225600")
    assert sha256(wheel_of(tmp_path).read_bytes()).digest() == sha256(wheel_of(released).read_bytes()).digest()


def test_the_metadata_is_complete(released: Path) -> None:
    with zipfile.ZipFile(wheel_of(released)) as wheel:
        told = wheel.read(f"bs_agent-{__version__}.dist-info/METADATA").decode()
    for field in ("Author", "Author-email", "Maintainer", "License-Expression|License", "Keywords", "Summary"):
        assert re.search(rf"(?m)^({field}): \S", told), field
    assert set(re.findall(r"(?m)^Project-URL: (\w+),", told)) >= {"Documentation", "Changelog", "Security"}
    assert set(re.findall(r"(?m)^Provides-Extra: (\S+)", told)) >= set(PROGRAMS)
    assert set(re.findall(r"Python :: (3\.\d+)", told)) == set(PYTHONS)
    assert "Requires-Python: >=3.11" in told


def test_the_bill_of_materials_names_each_library_with_its_sums(released: Path, packages: Built) -> None:
    bill = json.loads((released / f"bs-agent-{__version__}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    wheels: set[str] = set()
    for archive in packages.wheelhouse(__version__).glob(f"*-{__version__}.tar"):
        with tarfile.open(archive) as bundle:
            wheels |= {Path(name).name for name in bundle.getnames() if "/wheels/" in name}
    files = {
        each["url"]: each["hashes"][0]["content"] for one in bill["components"] for each in one["externalReferences"]
    }
    assert set(files) == {name for name in wheels if not name.startswith("bs_agent-")}
    assert {len(digest) for digest in files.values()} == {64}
    assert all(one["licenses"][0]["expression"] not in ("", "unknown") for one in bill["components"])
    assert bill["dependencies"][0]["dependsOn"] == [one["bom-ref"] for one in bill["components"]]


@pytest.mark.parametrize(("version", "program"), ENVIRONMENTS)
def test_the_environment_of_a_package_runs_with_each_python(
    packages: Built, tmp_path: Path, version: str, program: str
) -> None:
    python = interpreter(version)
    output("dpkg-deb", "--extract", packages.deb(program), tmp_path)
    home = tmp_path / "usr/lib" / program
    (home / "bin/python").unlink()
    (home / "bin/python").symlink_to(python)
    (home / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    starter = home / "bin" / program
    said = output(home / "bin/python", "-B", starter, "--version")
    assert said.strip().endswith(__version__)
    every = (
        "import importlib, pkgutil, sys, bs_agent\n"
        "assert sys.prefix == sys.argv[1], sys.prefix\n"
        "for found in pkgutil.walk_packages(bs_agent.__path__, 'bs_agent.'):\n"
        "    if found.name.rpartition('.')[2] not in ('__main__', 'env', '0001_first'):\n"
        "        importlib.import_module(found.name)\n"
    )
    output(home / "bin/python", "-B", "-c", every, home, cwd=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("extra", PROGRAMS)
@pytest.mark.parametrize("version", PYTHONS)
def test_pip_installs_what_each_extra_needs(
    released: Path, packages: Built, tmp_path: Path, version: str, extra: str
) -> None:
    for archive in packages.wheelhouse(__version__).glob(f"*-{__version__}.tar"):
        with tarfile.open(archive) as bundle:
            bundle.extractall(tmp_path, filter="data")
    wheels = tmp_path / "bundle/wheels"
    shutil.copy(wheel_of(released), wheels)
    output(interpreter(version), "-m", "venv", tmp_path / "environment")
    pip = (tmp_path / "environment/bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels)
    output(*pip, f"bs-agent[{extra}]=={__version__}")
    assert output(tmp_path / "environment/bin" / PROGRAMS[extra], "--version").strip().endswith(__version__)
    assert "usage" in output(tmp_path / "environment/bin" / PROGRAMS[extra], "--help").lower()
