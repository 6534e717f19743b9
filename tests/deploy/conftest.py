"""Hosts and releases that the tests of this folder share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.beds import hosts
from tests.beds.shared import folder_of_run
from tests.deploy.packages import Built
from tests.deploy.playbooks import Fleet
from tests.deploy.releases import Wheelhouse


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Wheelhouse:
    """The release of this source tree, ready to be installed without a network."""
    return Wheelhouse(tmp_path_factory.mktemp("wheelhouse") / "archives", folder_of_run(tmp_path_factory) / "releases")


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The packages of this source tree; each is built when the first test wants it."""
    return Built(tmp_path_factory)


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Wheelhouse) -> Iterator[Callable[..., Fleet]]:
    """Boot hosts of these names for the tests of one module."""
    if hosts.MISSING:
        pytest.skip(f"booted hosts need {', '.join(hosts.MISSING)}")
    with ExitStack() as stack:

        def booting(*names: str) -> Fleet:
            folder: Path = tmp_path_factory.mktemp("hosts")
            packed = folder_of_run(tmp_path_factory) / "packed-modules"
            return Fleet(stack.enter_context(hosts.booted(folder, *names)), wheelhouse, folder, packed)

        yield booting
