"""How the tests are shared between two processes: a folder that boots hosts or clusters stays whole, others by file."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
# The slowest first, so that both processes end at about the same time.
WHOLE = ("fleet", "ceph")


def _part(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: WHOLE.index(_part(item)) if _part(item) in WHOLE else len(WHOLE))
    for item in items:
        part = _part(item)
        item.add_marker(pytest.mark.xdist_group(part if part in WHOLE else str(item.path.relative_to(ROOT))))
