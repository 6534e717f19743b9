"""The order of the tests: two processes share them file by file, so the slowest come first."""

import signal

import pytest

from tests.beds import warm
from tests.beds.memory import keep_files_in_memory

SLOWEST = (
    *(f"deploy/test_{name}.py" for name in ("whole_fleet", "releases", "site")),
    *("deploy/", "ceph/test_site", "ceph/"),
)


def _place(item: pytest.Item) -> int:
    within = item.nodeid.removeprefix("tests/")
    return next((place for place, name in enumerate(SLOWEST) if within.startswith(name)), len(SLOWEST))


def pytest_configure() -> None:
    """Hear Ctrl-C, as the programs under test must, also when a shell has started the tests in the background."""
    keep_files_in_memory()
    warm.begin()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)
