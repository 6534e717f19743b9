"""The clusters of these tests: one for all that only look, one to break and mend, and new ones to replace others."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.beds.ceph import MISSING, CephCluster


def _need_ceph() -> None:
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephCluster]:
    """Three mons, a mgr and three OSDs that nobody damages."""
    _need_ceph()
    with CephCluster(tmp_path_factory.mktemp("ceph")) as made:
        yield made


@pytest.fixture(scope="session")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephCluster]:
    """Three mons, a mgr and three OSDs for tests that break something and leave it as it was."""
    _need_ceph()
    with CephCluster(tmp_path_factory.mktemp("ceph")) as made:
        yield made


@pytest.fixture(scope="module")
def new_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., CephCluster]]:
    """Make clusters that a module's tests may break; each is stopped after the last test of the module."""
    _need_ceph()
    with ExitStack() as stack:

        def make(folder: Path | None = None, **parameters: Any) -> CephCluster:
            return stack.enter_context(CephCluster(folder or tmp_path_factory.mktemp("ceph"), **parameters))

        yield make
