"""What the tests of the agent share: a running agent in this process, its clients, workers, and mounts."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from bs_agent.agent import app, state
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.storages.base import Host
from bs_agent.agent.trust.commands import make_enrollment
from tests.beds import mounts
from tests.beds.agent import AgentClient, client_of

UUID = "1" * 32
OTHER_UUID = "2" * 32


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates of all agents of the tests: making them takes half a second."""
    directory = tmp_path_factory.mktemp("state")
    return asyncio.run(state.prepare(directory)).certificate.parent


@pytest.fixture
def settings(tmp_path: Path, tls: Path) -> AgentSettings:
    """An agent that probes often and gives up soon."""
    shutil.copytree(tls, tmp_path / "state" / "tls")
    return AgentSettings.model_validate(
        {
            "server": {"listen": "127.0.0.1:0"},
            "state": {"directory": tmp_path / "state"},
            "probe": {"interval": 2.0, "deadline": 2.0},
        }
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory to be a storage, with content of its own."""
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / "image.qcow2").write_text("an image")
    return directory


@pytest.fixture
def mountable() -> None:
    """Skip where nothing can be mounted."""
    if why := mounts.missing():
        pytest.skip(why)


@asynccontextmanager
async def running_agent(settings: AgentSettings) -> AsyncIterator[app.Agent]:
    """Run an agent in this process."""
    async with AsyncExitStack() as stack:
        yield await app.start(settings, stack)


@pytest_asyncio.fixture
async def agent(settings: AgentSettings) -> AsyncIterator[app.Agent]:
    async with running_agent(settings) as running:
        yield running


@asynccontextmanager
async def enrolled(agent: app.Agent, label: str = "test") -> AsyncIterator[AgentClient]:
    """Talk to an agent under an enrolment of one's own."""
    enrollment = await make_enrollment(agent.host.settings, label)
    async with client_of(agent.address, enrollment) as client:
        yield client


@pytest_asyncio.fixture
async def client(agent: app.Agent) -> AsyncIterator[AgentClient]:
    async with enrolled(agent) as talking:
        yield talking


@pytest_asyncio.fixture
async def host(settings: AgentSettings) -> AsyncIterator[Host]:
    """What storages need, without an agent around it."""
    host = Host(settings)
    async with host.workers.running():
        yield host


async def eventually(condition: Callable[[], bool], deadline: float = 30.0) -> None:
    """Wait until something is so."""
    until = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < until, "it did not come to be"
        await asyncio.sleep(0.01)


def tree(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Describe all that a directory holds: names, modes, contents."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
    }
