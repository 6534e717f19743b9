"""The order of the tests: some processes share them file by file, so the slowest come first."""

import os
import signal

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling

from tests.beds import warm
from tests.beds.memory import keep_files_in_memory

SLOWEST = ("test_whole_fleet.py", "test_releases.py", "test_site.py", "test_site_faults.py", "test_faults.py")


def _turns(folder: str, files: set[str]) -> dict[str, int]:
    """Number the files of a folder, the slowest first."""
    names = {file: file.rpartition("/")[2] for file in files if file.startswith(f"tests/{folder}/")}
    ranks = {name: rank for rank, name in enumerate(SLOWEST)}
    return {file: turn for turn, file in enumerate(sorted(names, key=lambda file: (ranks.get(names[file], 99), file)))}


class _FilesAndGroups(LoadGroupScheduling):  # type: ignore[misc]
    """Gives a process the tests of a whole file, or those that are marked as a group."""

    def _split_scope(self, nodeid: str) -> str:
        return str(super()._split_scope(nodeid)).partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling | None:
    """Share the tests out by files and groups, where pytest is told to look at groups."""
    return _FilesAndGroups(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_configure() -> None:
    """Hear Ctrl-C, as the programs under test must, also when a shell has started the tests in the background."""
    keep_files_in_memory()
    warm.begin()
    # The same examples in each run, so that none stops another change; `HYPOTHESIS_PROFILE=default` looks for new ones.
    settings.register_profile("gate", derandomize=True, deadline=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # what is shared by parameters has been put together before
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    files = {item.nodeid.partition("::")[0] for item in items}
    # Deployments take the processor and clusters wait, so they go side by side.
    places = {file: 2 * turn for file, turn in _turns("deploy", files).items()}
    places |= {file: 2 * turn + 1 for file, turn in _turns("ceph", files).items()}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], 2 * len(files)))
