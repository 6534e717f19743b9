"""The clusters of these tests: one for all that only look, one to break and mend, and new ones to replace others.

Each test of a live cluster is there for this machine's release and for a later one, with which it is long, unless it
has the mark `every_release`. With that or the mark `also_ends` it is there for the oldest and the newest release too,
and long.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.beds.ceph import MISSING, CephCluster
from tests.beds.debian import LATER, NEWEST, OLDEST, UnavailableError
from tests.beds.place import HERE, Namespace, Place

OWN_RELEASE, LATER_RELEASE, NEWEST_RELEASE = "16", LATER.ceph, NEWEST.ceph
DEBIANS = {debian.ceph: debian for debian in (OLDEST, LATER, NEWEST)}
ENDS = (OLDEST.ceph, NEWEST.ceph)
# A test that has this mark is for the newest release alone.
OF_THE_NEWEST = pytest.mark.parametrize(
    "ceph_release", [pytest.param(NEWEST.ceph, marks=pytest.mark.long)], indirect=True, scope="package"
)
REASON_CHARACTERS = 400


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test of a cluster once a release."""
    if "ceph_release" not in metafunc.fixturenames or OF_THE_NEWEST.mark in metafunc.definition.iter_markers():
        return
    every, ends = (metafunc.definition.get_closest_marker(name) for name in ("every_release", "also_ends"))
    releases = [pytest.param(OWN_RELEASE), pytest.param(LATER_RELEASE, marks=() if every else pytest.mark.long)]
    if every or ends:
        releases += [pytest.param(release, marks=pytest.mark.long) for release in ENDS]
    metafunc.parametrize("ceph_release", releases, indirect=True, scope="package")


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one process run all tests that share a cluster: clusters that only wait would take half a processor."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if release_of(item) in ENDS:
            item.add_marker(pytest.mark.xdist_group(f"Ceph {release_of(item)}"))
        elif "clusters" in names:
            item.add_marker(pytest.mark.xdist_group("breakable" if "breakable" in names else "whole"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the trees of other releases before the tests that need them: it takes longer than a test may."""
    if not session.config.option.collectonly:
        for release in {release_of(item) for item in session.items} & DEBIANS.keys():
            tree_or_reason(release)


def release_of(item: pytest.Item) -> str:
    """Return the release that a test is for, if it is for one."""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("ceph_release", "")) if callspec else ""


@functools.cache
def tree_or_reason(release: str) -> Path | str:
    """Return the tree with a release, or why there is none."""
    try:
        return DEBIANS[release].tree()
    except UnavailableError as error:
        return str(error)


def tree_of(release: str) -> Path | None:
    """Return the tree with a release, None for this machine's own; where there is none the test is skipped."""
    found = tree_or_reason(release) if release in DEBIANS else None
    if isinstance(found, str):
        pytest.skip(found[-REASON_CHARACTERS:])
    return found


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
            if release == OWN_RELEASE and MISSING:
                pytest.skip(f"not installed: {', '.join(MISSING)}")
            if release not in made:
                tree = tree_of(release)
                made[release] = stack.enter_context(Namespace(tmp_path_factory.mktemp("tree"), tree)) if tree else HERE
            return made[release]

        yield give


@pytest.fixture(scope="package")
def clusters(
    tmp_path_factory: pytest.TempPathFactory, places: Callable[[str], Place]
) -> Iterator[Callable[[str, str], CephCluster]]:
    """Give the cluster of a release and a use; each is kept until a test of another folder comes, or of an end."""
    made: dict[tuple[str, str], CephCluster] = {}

    def stop(releases: set[str]) -> None:
        for key in [key for key in made if key[0] in releases]:
            made.pop(key).__exit__(None, None, None)

    def give(release: str, use: str) -> CephCluster:
        stop({OWN_RELEASE, *DEBIANS} - {release} if release in ENDS else {*ENDS})
        if (release, use) not in made:
            made[release, use] = CephCluster(tmp_path_factory.mktemp("ceph"), place=places(release)).__enter__()
        return made[release, use]

    yield give
    stop({OWN_RELEASE, *DEBIANS})
