"""The packages themselves, and where no host of a distribution boots: in the tree of one, or unpacked in a tree."""

import re
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from bs_agent import __version__
from tests.beds import debian, hosts
from tests.beds.image import base_image
from tests.beds.place import Namespace
from tests.deploy.packages import MEBIBYTE, Built, build, interpreter, weight
from tests.deploy.releases import ROOT

pytestmark = pytest.mark.timeout(900)

NEXT = "0.10.0"
PROGRAMS = {"bs-agent": 15, "bs-management": 30, "bs-cli": 15}  # with the most that each may weigh, in MiB
PARTS = {
    "bs-agent": ("contract", "daemon", "agent"),
    "bs-management": ("contract", "daemon", "management"),
    "bs-cli": ("contract", "client"),
}
LONG = pytest.mark.long
RPMLINT = ROOT / "systemd/packages/rpm/rpmlint.toml"


def output(*command: str | Path) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listed(package: Path) -> list[str]:
    """Return the files of a package of either form, without folders."""
    if package.suffix == ".rpm":
        return output("rpm", "-qpl", package).splitlines()
    lines = output("dpkg-deb", "--contents", package).splitlines()
    return [line.split()[5].removeprefix(".") for line in lines if not line.startswith("d")]


@pytest.mark.parametrize(
    ("form", "program"),
    [
        *product(["deb"], PROGRAMS),
        ("rpm", "bs-agent"),
        ("rpm", "bs-management"),
        pytest.param("rpm", "bs-cli", marks=LONG),
    ],
)
def test_a_package_holds_what_its_program_needs_and_no_more(packages: Built, form: str, program: str) -> None:
    package = packages.deb(program) if form == "deb" else packages.rpm(program)
    assert weight(packages.said(form, program), package) <= PROGRAMS[program]
    files = listed(package)
    unused = re.compile(r"/(tests?|__pycache__|pip|setuptools)/|\.(pyi|pyx|pxd|c|h|hpp|pyc)$")
    assert [name for name in files if unused.search(name)] == []
    section = 1 if program == "bs-cli" else 8
    for name in (
        f"/usr/bin/{program}",
        f"/usr/share/man/man{section}/{program}.{section}.gz",
        f"/usr/share/bash-completion/completions/{program}",
    ):
        assert name in files
    site = f"/usr/lib/{program}/lib/python3/site-packages"
    of_parts = output("git", "-C", ROOT, "ls-files", "--", *(f"bs_agent/{part}" for part in PARTS[program]))
    assert {f"{site}/{name}" for name in of_parts.splitlines()} <= set(files), "modules, and what lies beside them"
    held = {name.split("/")[8] for name in files if name.startswith(f"{site}/bs_agent/")}
    assert held == {"__init__.py", *PARTS[program]}


@pytest.mark.parametrize("program", ["bs-agent", *(pytest.param(each, marks=LONG) for each in list(PROGRAMS)[1:])])
def test_lintian_and_rpmlint_have_nothing_to_say(packages: Built, program: str) -> None:
    said = output("lintian", "--allow-root", "--fail-on", "error,warning,info", packages.deb(program))
    assert [line for line in said.splitlines() if line[:2] in ("E:", "W:", "I:")] == []
    assert "0 errors, 0 warnings" in output("rpmlint", "--config", RPMLINT, packages.rpm(program))


def test_the_papers_name_the_project_and_every_library(packages: Built, tmp_path: Path) -> None:
    package = packages.deb("bs-management")
    output("dpkg-deb", "--extract", package, tmp_path)
    fields = output("dpkg-deb", "--field", package)
    assert "localhost" not in fields
    assert "Homepage: https://" in fields
    papers = (tmp_path / "usr/share/doc/bs-management/copyright").read_text()
    site = tmp_path / "usr/lib/bs-management/lib/python3/site-packages"
    for info in site.glob("*.dist-info"):
        assert info.name.startswith("bs_agent-") or f"/{info.name}/*" in papers, f"{info.name} has no licence"
    texts = re.findall(r"(?m)^License: .*\n(?: \S.*\n)", papers)
    assert len(texts) > 20
    assert __version__ in output("zcat", tmp_path / "usr/share/doc/bs-management/changelog.gz").splitlines()[0]


@pytest.mark.long
def test_the_same_files_make_the_same_package(packages: Built, tmp_path: Path) -> None:
    for form in ("deb", "rpm"):
        for out in ("once", "again"):
            build(form, tmp_path / out, packages.wheelhouse(__version__), __version__, "--only", "bs-cli")
    once, again = ({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("once", "again"))
    assert len(once) == 2
    assert once == again


@pytest.fixture(scope="module")
def debian_13(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    try:
        tree = debian.LATER.tree()
    except debian.UnavailableError as error:
        pytest.skip(str(error))
    with Namespace(tmp_path_factory.mktemp("debian13"), tree) as place:
        yield place


def test_the_life_of_a_package_in_a_tree_of_debian_13(debian_13: Namespace, packages: Built) -> None:
    def dpkg(*words: str) -> str:
        # The tree is smaller than any host.
        command = debian_13.command("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--force-depends", *words)
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stderr

    lacks = re.findall(r"depends on (\S+?)[;,]", dpkg("--install", str(packages.deb("bs-agent"))))
    assert set(lacks) <= {"procps"}
    debian_13.run("sh", "-c", "[ -x /bin/kill ] || ln -s true /bin/kill")
    assert debian_13.run("bs-agent", "--version").strip().endswith(__version__)
    assert debian_13.run("stat", "--format=%U %a", "/var/lib/bs-agent").split() == ["bs-agent", "700"]
    assert debian_13.run("systemd-analyze", "verify", "/usr/lib/systemd/system/bs-agent.service") == ""
    assert '"storages"' in debian_13.run("bs-agent", "report")
    debian_13.run("/usr/share/python3/runtime.d/bs-agent.rtupdate", "rtupdate", "python3.11", "python3.13")
    assert debian_13.run("sh", "-c", "find /usr/lib/bs-agent -name '*.cpython-313.pyc' | head -n 1") != ""
    librados = "import rados, sys; print(sys.version_info.minor)"
    assert debian_13.run("/usr/bin/python3", "-c", librados).strip() == "13", "of the distribution, for the worker"
    dpkg("--install", str(packages.deb("bs-agent", NEXT)))
    assert debian_13.run("bs-agent", "--version").strip().endswith(NEXT)
    dpkg("--install", str(packages.deb("bs-agent")))
    dpkg("--remove", "bs-agent")
    assert debian_13.run("sh", "-c", "ls /usr/lib | grep bs-agent; ls /etc/bs-agent").split() == ["agent.toml"]
    dpkg("--purge", "bs-agent")
    left = "ls -d /etc/bs-agent /var/lib/bs-agent /usr/lib/bs-agent 2>/dev/null; getent passwd bs-agent; true"
    assert debian_13.run("sh", "-c", left) == ""


@pytest.fixture(scope="module")
def red_hat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A tree into which rpm installs: of Debian, as there is no other, with this machine's Python where RHEL's is."""
    if hosts.MISSING:
        pytest.skip(f"a tree needs {', '.join(hosts.MISSING)}")
    python = interpreter("3.12")
    prefix = python.parents[1]
    with Namespace(tmp_path_factory.mktemp("redhat"), base_image(), binds={str(prefix): prefix}) as tree:
        tree.run("ln", "-s", str(python), "/usr/bin/python3.12")
        yield tree


@pytest.mark.long
def test_the_life_of_an_rpm_in_a_tree(red_hat: Namespace, packages: Built) -> None:
    def rpm(*words: str) -> str:
        done = subprocess.run(red_hat.outside("rpm", *words), check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "failed" not in done.stderr
        return done.stdout + done.stderr

    def said(script: str) -> list[str]:
        return red_hat.run("sh", "-c", script).split()

    rpm("--install", "--nodeps", str(packages.rpm("bs-agent")))
    assert "set-password admin" in rpm("--install", "--nodeps", str(packages.rpm("bs-management")))
    assert said("stat --format='%U %a' /var/lib/bs-agent /var/lib/bs-management") == [
        "bs-agent",
        "700",
        "bs-management",
        "700",
    ]
    assert said("stat --format='%U %G %a' /etc/bs-agent/management.toml") == ["root", "bs-management", "640"]
    assert said("find /usr/lib/bs-agent -name '*.pyc' | head -n 1") != []
    assert red_hat.run("systemd-analyze", "verify", "/usr/lib/systemd/system/bs-agent.service") == ""
    assert red_hat.run("bs-agent", "--version").strip().endswith(__version__)
    assert '"storages"' in red_hat.run("bs-agent", "report")
    said("echo '# of the operator' >> /etc/bs-agent/agent.toml")
    rpm("--upgrade", "--nodeps", str(packages.rpm("bs-agent", NEXT)))
    assert "operator" in red_hat.run("cat", "/etc/bs-agent/agent.toml")
    assert red_hat.run("bs-agent", "--version").strip().endswith(NEXT)
    rpm("--upgrade", "--oldpackage", "--nodeps", str(packages.rpm("bs-agent")))
    assert rpm("--verify", "--nodeps", "bs-management") == ""
    rpm("--erase", "bs-agent", "bs-management")
    assert said("ls -d /usr/lib/bs-agent /usr/lib/bs-management 2>/dev/null; true") == []
    assert said("ls /etc/bs-agent; getent passwd bs-agent | cut -d: -f1") == ["agent.toml.rpmsave", "bs-agent"]


def test_the_build_says_what_each_mebibyte_is(packages: Built) -> None:
    for program in PROGRAMS:
        package, said = packages.deb(program), packages.said("deb", program)
        rows = re.search(rf"{package.name}: [\d.]+ MiB, installed ([\d.]+) MiB:\n((?: +[\d.]+  .*\n)+)", said)
        assert rows
        parts = [float(row.split()[0]) for row in rows[2].splitlines()]
        assert abs(sum(parts) - float(rows[1])) < 0.1 * len(parts)
        assert float(rows[1]) * MEBIBYTE > package.stat().st_size
