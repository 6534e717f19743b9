"""The design's rules on the source itself: who imports whom, how long a file and a function may be."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bs_agent"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MAY_IMPORT = {
    "contract": {"contract"},
    "daemon": {"contract", "daemon"},
    "agent": {"contract", "daemon", "agent"},
    "management": {"contract", "daemon", "management"},
    "client": {"contract", "client"},
}
FLOORS = {
    # From the ground up: a room imports rooms of lower floors, and those of its own folder.
    "agent": (
        {"config", "worker"},
        {"journal"},
        {"state"},
        {"storages"},
        {"trust"},
        {"probing"},
        {"served"},
        {"commands"},
        {"local_report", "push"},
        {"doctor", "metrics"},
        {"http"},
        {"app"},
        {"main"},
        {"__main__"},
    ),
    "management": (
        {"config", "secrets", "model"},
        {"hosts", "store"},
        {"access", "backup", "operations"},
        {"polling", "jobs"},
        {"metrics"},
        {"api", "console"},
        {"fleet", "leaving"},
        {"app"},
        {"commands"},
        {"serve"},
        {"main"},
    ),
    "client": ({"wire"}, {"actions"}, {"sdk"}, {"cli"}),
}
LIVES_IN = {
    "rados": "bs_agent/agent/worker/probe.py",
    "psutil": "bs_agent/agent/",
    "asyncssh": "bs_agent/management/hosts/ssh.py",
    "sqlalchemy": "bs_agent/management/store/",
    "alembic": "bs_agent/management/store/",
}
MAX_FILE, MAX_FUNCTION = 400, 60


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_relative(path)}:{node.lineno}: write the whole module name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_parts_import_only_what_they_may(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0]
    for name in _imports(path):
        first, *rest = name.split(".")
        if first == "bs_agent" and rest and rest[0] in MAY_IMPORT:
            assert rest[0] in MAY_IMPORT[part], f"{part} may not import {name}"
        if first in LIVES_IN:
            assert _relative(path).startswith(LIVES_IN[first]), f"{first} belongs in {LIVES_IN[first]}"


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_rooms_import_only_lower_floors(path: Path) -> None:
    part, *below = path.relative_to(PACKAGE).with_suffix("").parts
    if part not in FLOORS or below == ["__init__"]:
        return
    floor_of = {room: number for number, floor in enumerate(FLOORS[part]) for room in floor}
    room = below[0]
    for name in _imports(path):
        parts = name.split(".")
        if parts[:2] == ["bs_agent", part] and len(parts) > 2 and parts[2] != room:
            assert floor_of[parts[2]] < floor_of[room], f"{room} stands below {parts[2]}: it may not import {name}"


@pytest.mark.parametrize("part", FLOORS)
def test_every_room_has_its_floor(part: str) -> None:
    rooms = {
        path.stem for path in (PACKAGE / part).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set().union(*FLOORS[part]) == rooms - {"__init__"}


@pytest.mark.parametrize("path", TESTS, ids=_relative)
def test_tests_lie_where_their_rooms_lie(path: Path) -> None:
    part, *folders = path.relative_to(ROOT / "tests").parent.parts or [""]
    if part in FLOORS and path.name.startswith("test_"):
        assert (PACKAGE / part / Path(*folders)).is_dir(), "a folder of tests mirrors a folder of rooms"


def test_there_is_no_import_cycle() -> None:
    modules = {_module(path): path for path in SOURCES}
    graph = {name: {found for found in _imports(path) if found in modules} - {name} for name, path in modules.items()}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=_relative)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=_relative)
def test_packages_re_export_nothing(path: Path) -> None:
    assert list(_imports(path)) == []
