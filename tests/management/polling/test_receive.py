"""Push from end to end: a management node that polls once an hour hears at once what a real agent sees."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.beds.agent import AgentProcess
from tests.beds.certificate import ensure_certificate
from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess, client_of

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

SELDOM = {"poll": {"interval": 3600}}
MARKER = ".bs-agent.json"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", {"probe": {"interval": 2.0, "deadline": 2.0}}) as running:
        yield running


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


async def reaches(client: NodeClient, uuid: str, status: str, reason: str = "") -> None:
    async def there() -> bool:
        return await client.status(uuid) == (status, reason)

    await until(there, lambda: client.status(uuid))


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_change_is_known_long_before_the_next_poll(
    tmp_path: Path, agent: AgentProcess, images: Path, tls: bool
) -> None:
    node = NodeProcess(tmp_path / "node", SELDOM)
    if tls:
        certificate, key = await ensure_certificate(tmp_path / "tls", "node")
        node.configure({"server": {"tls_certificate": str(certificate), "tls_key": str(key)}})
    node.configure({"server": {"advertise_url": node.url}})
    with node:
        async with client_of(node) as client:
            uuid = await client.add(images, agent.enroll().code)
            marker = (images / MARKER).read_text()
            (images / MARKER).unlink()
            await reaches(client, uuid, "Disconnected", "MarkerMissing")
            (images / MARKER).write_text(marker)
            await reaches(client, uuid, "Connected")
            # The agent has kept where to push to; the change falls into the time when it does not run.
            agent.stop()
            (images / MARKER).unlink()
            agent.start()
            await reaches(client, uuid, "Disconnected", "MarkerMissing")


async def test_a_push_that_was_lost_comes_again(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    node = NodeProcess(tmp_path / "node", SELDOM)
    node.configure({"server": {"advertise_url": node.url}})
    with node:
        async with client_of(node) as client:
            uuid = await client.add(images, agent.enroll().code)
        node.stop()
        (images / MARKER).unlink()

        async def has_failed() -> bool:
            return "cannot be pushed" in agent.log.read_text()

        await until(has_failed)
        node.start()
        async with client_of(node) as client:
            await reaches(client, uuid, "Disconnected", "MarkerMissing")
    assert agent.log.read_text().count("cannot be pushed") == 1


async def test_without_the_setting_nothing_is_pushed(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    node = NodeProcess(tmp_path / "node", SELDOM)
    node.configure({"server": {"advertise_url": node.url}})
    with node:
        async with client_of(node) as client:
            uuid = await client.add(images, agent.enroll().code)
        assert told(agent) == [f'{{"url":"{node.url}","fingerprint":""}}']
        node.stop()
        node.configure({"server": {"advertise_url": ""}})
        node.start()
        async with client_of(node) as client:
            await client.call("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
        assert told(agent) == [None]


def told(agent: AgentProcess) -> list[str | None]:
    """Return what the agent keeps of where to push to."""
    with closing(sqlite3.connect(agent.state / "agent.db")) as connection:
        return [text for (text,) in connection.execute("SELECT report_to FROM enrollments")]
