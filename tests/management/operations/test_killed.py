"""A management node that is killed while a job runs: the job has an end that says so, and its hosts keep nothing."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.beds.agent import AgentProcess
from tests.beds.arrivals import kill_during_add, owed
from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess, client_of
from tests.management.jobs.receiver import DEADLINE, receiving

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

JOB = "7" * 32


@pytest.fixture
def silent_ssh() -> Iterator[int]:
    """A port that takes connections and says nothing: an add call that enters by SSH waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def _poll(client: NodeClient) -> tuple[int, dict[str, object]]:
    """Read the job as clients do: without a session."""
    async with client.http.get(f"{client.url}/api-jobs/{JOB}") as answer:
        return answer.status, await answer.json()


async def _ended(client: NodeClient) -> tuple[int, dict[str, object]]:
    async with asyncio.timeout(DEADLINE):
        while True:
            found = await _poll(client)
            if found[0] != 202:
                return found
            await asyncio.sleep(0.05)


async def test_a_killed_node_leaves_no_job_without_an_end(tmp_path: Path, silent_ssh: int) -> None:
    settings: dict[str, dict[str, Any]] = {"ssh": {"connect_timeout": 600}, "hooks": {"allow_local": True}}
    parameters = {"name": "n", "hostname": "127.0.0.1", "sshPort": silent_ssh, "username": "root", "password": "x"}
    async with receiving() as receiver:
        with NodeProcess(tmp_path, settings) as node:
            async with client_of(node) as client:
                log_in = {"logInByAccount": {"accountName": "admin", "password": node.password}}
                session = (await client.call("PUT", "/accounts/login", log_in))["inventory"]["uuid"]
                headers = {"X-Job-UUID": JOB, "X-Web-Hook": receiver.url, "Authorization": f"OAuth {session}"}
                body = {"params": parameters | {"url": "/images"}}
                adding = client.http.post(f"{client.url}/backup-storage/image-store", json=body, headers=headers)
                async with adding as answer:
                    assert answer.status == 202
                assert await _poll(client) == (202, {})
                node.signal(signal.SIGKILL)
            node.stop()
            node.start()
            async with client_of(node) as client:
                status, shown = await _ended(client)
                told = (await receiver.until(1))[0]
    assert status == 503
    assert shown["error"] == {
        "code": "SYS.1006",
        "description": "The operation failed",
        "details": "the management node was stopped, or cut off from the database, while the job ran; "
        "look at the resource, then try again",
    }
    assert (told.headers["X-Job-UUID"], told.headers["X-Job-Success"], told.body) == (JOB, "false", shown)


async def test_a_node_that_is_killed_during_an_add_cleans_the_host_after_its_next_start(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    slow = tmp_path / "python"  # so that there is time to stop the node before the agent answers
    slow.write_text(f'#!/bin/sh\nsleep 2\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    settings = {"probe": {"interval": 20.0, "deadline": 20.0, "python": str(slow)}}
    poll = {"interval": 1.0, "timeout": 1.0}

    async def is_there() -> bool:
        return list(images.iterdir()) != []

    async def is_gone() -> bool:
        return not await is_there() and "test" not in agent.run("enrollments", "list").stdout

    with AgentProcess(tmp_path / "agent", settings) as agent, NodeProcess(tmp_path / "node", {"poll": poll}) as node:
        tags = [f"agentEnrollment::{agent.enroll().code}"]
        parameters = {"name": "images", "hostname": "127.0.0.1", "url": str(images)}
        async with client_of(node) as client:
            await client.log_in(node.password)
            body = {"params": parameters, "systemTags": tags}
            await kill_during_add(node, client, "/backup-storage/image-store", body, on=agent, is_there=is_there)
        assert len(owed(node.folder)) == 1
        node.start()
        async with client_of(node) as client:
            await client.log_in(node.password)
            assert (await client.call("GET", "/backup-storage"))["inventories"] == []
            await until(is_gone, seconds=120)
            assert owed(node.folder) == []
            # Nothing is in the way of the next one.
            await client.add(images, agent.enroll().code)
            assert owed(node.folder) == []
