"""The clusters of these tests: one for all that only look, one to break and mend, and new ones to replace others.

Each test of a live cluster is there for each release; that of a later release than this machine's is long, unless it
has the mark `every_release`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.beds import trixie
from tests.beds.ceph import MISSING, CephCluster
from tests.beds.place import HERE, Namespace, Place

OWN_RELEASE, LATER_RELEASE = "16", "18"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test of a cluster once a release."""
    if "ceph_release" in metafunc.fixturenames:
        marks = () if metafunc.definition.get_closest_marker("every_release") else (pytest.mark.long,)
        releases = [pytest.param(OWN_RELEASE), pytest.param(LATER_RELEASE, marks=marks)]
        metafunc.parametrize("ceph_release", releases, indirect=True, scope="package")


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one process run all tests that share a cluster: clusters that only wait would take half a processor."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "clusters" in names:
            item.add_marker(pytest.mark.xdist_group("breakable" if "breakable" in names else "whole"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the tree of the later release before the tests that need it: it takes longer than a test may."""
    releases = {item.callspec.params.get("ceph_release") for item in session.items if hasattr(item, "callspec")}
    if LATER_RELEASE in releases and not session.config.option.collectonly and not trixie.MISSING:
        trixie.tree()


@pytest.fixture(scope="package")
def ceph_release(request: pytest.FixtureRequest) -> str:
    """The release of Ceph whose cluster the test looks at."""
    return str(request.param)


@pytest.fixture(scope="package")
def place(ceph_release: str, places: Callable[[str], Place]) -> Place:
    """Where the programs of that release are."""
    return places(ceph_release)


@pytest.fixture(scope="package")
def cluster(ceph_release: str, clusters: Callable[[str, str], CephCluster]) -> CephCluster:
    """Three mons, a mgr and three OSDs that nobody damages."""
    return clusters(ceph_release, "whole")


@pytest.fixture(scope="package")
def breakable(ceph_release: str, clusters: Callable[[str, str], CephCluster]) -> CephCluster:
    """Three mons, a mgr and three OSDs for tests that break something and leave it as it was."""
    return clusters(ceph_release, "breakable")


@pytest.fixture(scope="module")
def new_cluster(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Callable[..., CephCluster]]:
    """Make clusters that a module's tests may break; each is stopped after the last test of the module."""
    with ExitStack() as stack:

        def make(folder: Path | None = None, **parameters: Any) -> CephCluster:
            made = CephCluster(folder or tmp_path_factory.mktemp("ceph"), **{"place": place, **parameters})
            return stack.enter_context(made)

        yield make


@pytest.fixture(scope="package")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Place]]:
    """Give the place of a release; it is kept until a test of another folder comes."""
    with ExitStack() as stack:
        made: dict[str, Place] = {}

        def give(release: str) -> Place:
            if missing := MISSING if release == OWN_RELEASE else trixie.MISSING:
                pytest.skip(f"not installed: {', '.join(missing)}")
            if release not in made:
                made[release] = HERE if release == OWN_RELEASE else _later(stack, tmp_path_factory.mktemp("trixie"))
            return made[release]

        yield give


def _later(stack: ExitStack, folder: Path) -> Place:
    return stack.enter_context(Namespace(folder, trixie.tree()))


@pytest.fixture(scope="package")
def clusters(
    tmp_path_factory: pytest.TempPathFactory, places: Callable[[str], Place]
) -> Iterator[Callable[[str, str], CephCluster]]:
    """Give the cluster of a release and a use; each is kept until a test of another folder comes."""
    with ExitStack() as stack:
        made: dict[tuple[str, str], CephCluster] = {}

        def give(release: str, use: str) -> CephCluster:
            if (release, use) not in made:
                cluster = CephCluster(tmp_path_factory.mktemp("ceph"), place=places(release))
                made[release, use] = stack.enter_context(cluster)
            return made[release, use]

        yield give
