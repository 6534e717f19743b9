"""A call may come in at any node, behind a load balancer that sends each request to the next: nothing sticks."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.beds.postgresql import PostgreSQL
from tests.nodes.cluster import Cluster, cluster, eventually
from tests.nodes.faults import FAULTS, check, in_the_middle
from tests.nodes.network import Network
from tests.nodes.traffic import Traffic

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory, wires: Network, server: PostgreSQL) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("nodes")
    settings: dict[str, dict[str, Any]] = {"jobs": {"finish": 60}, "server": {"stop_notice": 0.5}}
    async with cluster(folder, wires, server.new_database(), count=9, settings=settings) as running:
        await Traffic(running).settle(running.agents)
        await eventually(lambda: running.is_fair(running.nodes), running.shares)
        yield running


async def asked(made: Cluster, path: str) -> list[tuple[int, dict[str, Any]]]:
    """Return what each node answers, and the balancer three times."""
    found = []
    for url in (*(node.process.url for node in made.nodes), *[made.url] * 3):
        headers = {"Authorization": f"OAuth {made.session}"}
        async with made.http.get(f"{url}/zstack/v1{path}", headers=headers, ssl=False) as answer:
            found.append((answer.status, await answer.json()))
    return found


async def test_a_session_is_good_at_every_node_until_it_ends_at_one(made: Cluster) -> None:
    client = made.client()
    client.session = ""
    await client.log_in(made.nodes[0].process.password)
    mine, made.session = made.session, client.session
    try:
        answers = await asked(made, "/zones")
        assert [status for status, _ in answers] == [200] * 6
        assert await made.client().call("DELETE", f"/accounts/sessions/{client.session}") == {}
        answers = await asked(made, "/zones")
        assert [said["error"]["code"] for _, said in answers] == ["ID.1001"] * 6
    finally:
        made.session = mine


async def test_a_job_that_was_begun_at_one_node_is_known_at_all(made: Cluster) -> None:
    agent, uuid, traffic = made.agents[0], uuid4().hex, Traffic(made)
    agent.holds["PUT storages"] = asyncio.Event()
    path = f"/backup-storage/{agent.machine.uuid}/actions"
    body: dict[str, Any] = {"reconnectBackupStorage": {}}
    status, _ = await traffic.request("PUT", path, body, X_Job_UUID=uuid, X_Web_Hook=made.hooks_at)
    assert status == 202
    assert [status for status, _ in await asked(made, f"/api-jobs/{uuid}")] == [202] * 6
    assert uuid not in made.hooks
    agent.holds.pop("PUT storages").set()

    async def is_told() -> bool:
        return uuid in made.hooks

    await eventually(is_told)
    assert made.hooks[uuid] == [True], "once, by whichever node"
    answers = await asked(made, f"/api-jobs/{uuid}")
    assert [status for status, _ in answers] == [200] * 6
    assert all(said == answers[0][1] for _, said in answers)


async def test_a_node_that_stops_in_good_order_is_left_by_the_balancer_before(made: Cluster) -> None:
    """What a call waits for ends; nobody is sent there any more, and nobody hears of it."""
    node, agent, traffic = made.nodes[1], made.agents[1], Traffic(made, fails=frozenset())
    agent.holds["PUT storages"], before = asyncio.Event(), agent.asked["PUT storages"]
    path = f"/backup-storage/{agent.machine.uuid}/actions"
    waiting = asyncio.create_task(made.client(node).call("PUT", path, {"reconnectBackupStorage": {}}))

    async def is_asked() -> bool:
        return agent.asked["PUT storages"] > before

    await eventually(is_asked)
    running = asyncio.create_task(traffic.run(20, made.agents[2:]))
    node.process.signal(signal.SIGTERM)
    await running
    agent.holds.pop("PUT storages").set()
    assert (await waiting)["inventory"]["status"] == "Connected"
    assert await asyncio.to_thread(node.process.wait, 120) == 0
    assert not traffic.refused
    await made.start(node)
    await eventually(lambda: made.is_fair(made.nodes), made.shares)


async def test_a_node_is_killed_in_the_middle_of_calls(made: Cluster) -> None:
    """The short form of test_faults.py."""
    traffic = Traffic(made)
    await in_the_middle(traffic, 40, FAULTS[0], made.nodes[0])
    await check(traffic)
