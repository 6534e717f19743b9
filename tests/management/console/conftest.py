"""Browsers that look at a management node in this process."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.management.console import browsing
from tests.management.console.looking import Looker, looker
from tests.management.server import Server


@pytest_asyncio.fixture
async def stranger(server: Server) -> AsyncIterator[Looker]:
    """A browser in which nobody is logged in."""
    async with looker(server) as browser:
        yield browser


@pytest_asyncio.fixture
async def browser(stranger: Looker) -> Looker:
    """A browser in which the administrator is logged in."""
    assert (await stranger.log_in()).status == 303
    return stranger


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[browsing.Bed]:
    """One node, one agent and one browser for all tests that look at pages."""
    async with browsing.bed(tmp_path_factory.mktemp("console")) as running:
        yield running
