"""The environment of a package: bs_agent and its libraries in one folder, for each Python that a distribution has.

Modules in Python are the same for all of them, and the names of compiled ones tell their Python apart: so one folder
does for all, a virtual environment that needs no making on the host.
"""

import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from description import Order, Package, metadata

SITE = "lib/python3/site-packages"
# What is made for those who build or test the libraries, and what pip notes of its own work.
UNUSED_FOLDERS = ("tests", "testing", "__pycache__", "sboms")
UNUSED_FILES = re.compile(
    r"(RECORD|WHEEL|INSTALLER|REQUESTED|direct_url\.json|py\.typed|.*\.(pyi|pyx|pxd|pxi|c|cpp|h|hpp|hash|pyc))$"
)
NOTICE = re.compile(r"(?i)(licen[cs]e|copying|notice)")
STARTER = """#!/usr/lib/{package}/bin/python -I
import sys

from {module} import {name}

sys.exit({name}())
"""


class Unlike(Exception):
    """Two Pythons would want another content of the same file."""


def install(package: Package, order: Order, root: Path) -> Path:
    """Make /usr/lib/NAME below `root`; return the folder of the notices of the libraries.

    Raises:
        Unlike: the libraries cannot share one folder.
    """
    home = root / "usr/lib" / package.name
    notices = root.with_name(f"{root.name}-notices")
    for python in order.pythons:
        one = root.with_name(f"{root.name}-{python}")
        _pip(f"bs-agent[{','.join(package.extras)}]=={order.version}", order, python, one)
        _set_aside_notices(one, notices)
        _prune(one, package)
        _merge(one, home / SITE)
    for python in order.pythons:
        (home / "lib" / f"python{python}").symlink_to("python3")
    if order.machine == platform.machine() and shutil.which("strip"):
        for compiled in home.rglob("*.so*"):
            subprocess.run(["strip", "--strip-unneeded", "--remove-section=.comment", compiled], check=True, timeout=60)
    (home / "bin").mkdir()
    for command, told in package.commands.items():
        module, _, name = (told.main or told.click).partition(":")
        starter = home / "bin" / command
        starter.write_text(STARTER.format(package=package.name, module=module, name=name))
        starter.chmod(0o755)
    return notices


def start_with(package: Package, python: str, root: Path) -> None:
    """Let the environment below `root` run with the Python of this path on the host."""
    home = root / "usr/lib" / package.name
    (home / "bin/python").symlink_to(Path("../../..") / Path(python).relative_to("/usr"))
    (home / "pyvenv.cfg").write_text(f"home = {Path(python).parent}\ninclude-system-site-packages = false\n")


def weights(package: Package, root: Path) -> Counter[str]:
    """Return how many bytes each library takes, and all else together."""
    found: Counter[str] = Counter()
    site = root / "usr/lib" / package.name / SITE
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            name = path.relative_to(site).parts[0] if path.is_relative_to(site) else "units, manual, the rest"
            found[re.sub(r"(-[\d.]+)?(\.dist-info|\.py|\.libs|\.cpython.*)$", "", name)] += path.stat().st_size
    return found


def _pip(requirement: str, order: Order, python: str, target: Path) -> None:
    glibc = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
    words = ["--no-index", "--find-links", str(order.wheels), "--only-binary=:all:", "--no-compile"]
    words += ["--target", str(target), "--implementation", "cp", "--python-version", python]
    words += [f"--platform={each}_{order.machine}" for each in glibc]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
    ]
    done = subprocess.run([*pip, *words, requirement], check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"pip: {done.stderr}")


def _set_aside_notices(site: Path, notices: Path) -> None:
    """Keep the texts of the licences, of which the copyright file is made, and what belongs to which library."""
    for info in site.glob("*.dist-info"):
        kept = notices / str(metadata(info)["Name"])
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy(info / "METADATA", kept)
        for text in sorted(path for path in info.rglob("*") if path.is_file() and NOTICE.match(path.name)):
            shutil.copy(text, kept / f"{text.parent.name}-{text.name}.text")
        with (kept / "tops").open("a") as tops:
            for line in (info / "RECORD").read_text().splitlines():
                top, below, _ = line.partition(",")[0].partition("/")
                if top not in ("..", "bin"):
                    tops.write(f"{top}/*\n" if below else f"{top}\n")
        shutil.rmtree(info / "licenses", ignore_errors=True)


def _prune(site: Path, package: Package) -> None:
    for path in sorted(site.rglob("*"), reverse=True):
        if path.is_dir() and path.name in UNUSED_FOLDERS:
            shutil.rmtree(path)
        elif path.is_file() and UNUSED_FILES.match(path.name):
            path.unlink()
        elif path.suffix == ".py" and path.read_bytes().startswith(b"#!"):  # a module is no program
            path.write_bytes(b"#" + path.read_bytes().partition(b"\n")[1] + path.read_bytes().partition(b"\n")[2])
    for part in (site / "bs_agent").iterdir():
        if part.is_dir() and part.name not in package.parts:
            shutil.rmtree(part)
    shutil.rmtree(site / "bin", ignore_errors=True)


def _merge(one: Path, site: Path) -> None:
    site.mkdir(parents=True, exist_ok=True)
    for path in sorted(one.rglob("*")):
        target = site / path.relative_to(one)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif not target.exists():
            path.rename(target)
        elif path.read_bytes() != target.read_bytes():
            raise Unlike(f"{path.relative_to(one)} is another for {one.name}")
    shutil.rmtree(one)
