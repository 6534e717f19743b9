"""How the tests are shared between two processes: those that boot hosts or clusters in three parts, others by file."""

import pytest

# The slowest first, so that both processes end at about the same time.
PARTS = {
    "one half of the fleet": (
        "fleet/test_whole_fleet.py",
        "fleet/test_firewalls.py",
        "fleet/test_service.py",
        "fleet/test_deb.py",
    ),
    "the other half of it": ("fleet/",),
    "clusters": ("ceph/",),
}
EACH_FILE = len(PARTS)


def _part(item: pytest.Item) -> int:
    within = item.nodeid.removeprefix("tests/")
    return next((number for number, names in enumerate(PARTS.values()) if within.startswith(names)), EACH_FILE)


@pytest.hookimpl(tryfirst=True)  # what shares out the tests reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_part)
    for item in items:
        part = _part(item)
        group = item.nodeid.partition("::")[0] if part == EACH_FILE else [*PARTS][part]
        item.add_marker(pytest.mark.xdist_group(group))
