"""An orderly stop: a node says that it is not ready, serves on, lets end what is under way, and stops."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess, client_of
from tests.beds.played import Played, players

pytestmark = pytest.mark.asyncio

HOST = "127.0.0.2"


@asynccontextmanager
async def adding(folder: Path) -> AsyncIterator[tuple[NodeProcess, NodeClient, Played, "asyncio.Task[dict[str, Any]]"]]:
    """Have a node in the middle of an add, whose caller waits for it, and let it be told to stop."""
    settings: dict[str, dict[str, Any]] = {"jobs": {"finish": 600}, "server": {"stop_notice": 0.1}}
    async with players(folder) as stage:
        agent = await stage.add(HOST)
        agent.holds["PUT storages"] = asyncio.Event()
        with NodeProcess(folder / "node", settings) as node:
            async with client_of(node) as client:
                parameters = {"name": "images", "hostname": HOST, "url": "/images"}
                body = {"params": parameters, "systemTags": [f"agentEnrollment::{agent.code}"]}
                call = asyncio.create_task(client.call("POST", "/backup-storage/image-store", body))
                await until(lambda: is_asked(agent))
                node.signal(signal.SIGTERM)
                await until(lambda: is_unready(node, client))
                yield node, client, agent, call


async def is_asked(agent: Played) -> bool:
    return agent.asked["PUT storages"] > 0


async def is_unready(node: NodeProcess, client: NodeClient) -> bool:
    async with client.http.get(f"{node.url}/readyz") as answer:
        return answer.status == 503 and await answer.json() == {
            "status": "not ready", "reason": "this node is stopping",
        }  # fmt: skip


async def test_what_is_under_way_ends_and_calls_are_served_meanwhile(tmp_path: Path) -> None:
    async with adding(tmp_path) as (node, client, agent, call):
        assert (await client.call("GET", "/backup-storage"))["inventories"] == []
        async with client.http.get(f"{node.url}/livez") as answer:
            assert answer.status == 200
            assert answer.headers["Connection"] == "close", "the next request of who keeps it would find nobody"
        agent.holds.pop("PUT storages").set()
        assert (await call)["inventory"]["status"] == "Connected"
        assert await asyncio.to_thread(node.wait) == 0


async def test_a_second_signal_cuts_short_what_is_under_way(tmp_path: Path) -> None:
    async with adding(tmp_path) as (node, _, agent, call):
        node.signal(signal.SIGTERM)
        await until(lambda: is_said(node, "1 jobs are cut short"))
        agent.holds.pop("PUT storages").set()
        assert (await call)["error"]["code"] == "SYS.1006"
        assert await asyncio.to_thread(node.wait) == 0
        assert not agent.storages


async def is_said(node: NodeProcess, text: str) -> bool:
    return text in node.log.read_text()
