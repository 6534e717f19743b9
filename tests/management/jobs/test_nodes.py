"""Jobs and web hooks of several real nodes: with clocks that are wrong, stopped in order, killed, and asleep."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bs_agent.management.config import HookSettings
from bs_agent.management.jobs import jobs as module
from bs_agent.management.store.database import Database
from bs_agent.management.store.jobs import RUNNING, JobStore, StoredJob
from bs_agent.management.store.schema import migrate
from tests.beds import clocks
from tests.beds.clocks import Clock
from tests.beds.fleet import until
from tests.beds.node import NodeProcess
from tests.beds.nodes import Member, Site, site
from tests.beds.played import Played, players
from tests.beds.postgresql import PostgreSQL
from tests.management.jobs.receiver import Receiver, receiving
from tests.management.server import PASSWORD, Server, serving_node, storage_row

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

HELD, SENT = "5" * 32, "6" * 32
HOUR, YEAR = 3600, 365 * 86400
HOOKS: dict[str, Any] = {"allow_local": True, "timeout": 600, "tries": 100}


async def _hang(_: web.Request) -> web.Response:
    await asyncio.sleep(3600)
    return web.Response()


async def _call(member: Member, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    sent["Authorization"] = f"OAuth {member.client.session}"
    async with member.client.http.request(method, member.client.url + path, json=body, headers=sent) as response:
        return response.status, await response.json()


async def _ended(member: Member, job: str) -> tuple[int, Any]:
    answer: tuple[int, Any] = (202, None)

    async def has_ended() -> bool:
        nonlocal answer
        answer = await _call(member, "GET", f"/api-jobs/{job}")
        return answer[0] != 202

    await until(has_ended)
    return answer


async def _begin(nodes: Site, agent: Played, slow: Receiver, well: Receiver) -> None:
    """Let the first node send a web hook to a receiver that hangs, and run a job that ends when the agent answers."""
    first = nodes.members[0]
    zone = {"params": {"name": "zone"}}
    assert (await _call(first, "POST", "/zones", zone, X_Job_UUID=SENT, X_Web_Hook=slow.url))[0] == 202
    await slow.until(1)
    agent.holds["PUT storages"] = asyncio.Event()
    parameters = {"name": "images", "hostname": "127.0.0.2", "url": "/images"}
    add = {"params": parameters, "systemTags": [f"agentEnrollment::{agent.code}"]}
    headers = {"X_Job_UUID": HELD, "X_Web_Hook": well.url}
    assert (await _call(first, "POST", "/backup-storage/image-store", add, **headers))[0] == 202

    async def is_asked() -> bool:
        return agent.asked["PUT storages"] > 0

    await until(is_asked)


@pytest.mark.parametrize("end", ["stop", "kill", "sleep"])
async def test_another_node_goes_on_with_what_a_lost_one_held(
    tmp_path: Path, postgresql_server: PostgreSQL, end: str
) -> None:
    """At once after an orderly stop: the lease is longer than the test."""
    database = {"url": postgresql_server.new_database(), "lease": 600 if end == "stop" else 3}
    async with receiving(_hang) as slow, receiving() as well, players(tmp_path) as stage:
        agent = await stage.add("127.0.0.2")
        async with site(tmp_path, str(database["url"]), 2, database=database, hooks=HOOKS) as nodes:
            first, second = nodes.members
            await _begin(nodes, agent, slow, well)
            if end == "stop":
                await asyncio.to_thread(first.process.stop)
            else:
                first.process.signal(signal.SIGKILL if end == "kill" else signal.SIGSTOP)
            status, answer = await _ended(second, HELD)
            assert (status, answer["error"]["code"]) == (503, "SYS.1006")
            assert "the management node was stopped, or cut off" in answer["error"]["details"]
            assert (await slow.until(2))[1] == slow.told[0]
            told = (await well.until(1))[0]
            assert (told.headers["X-Job-Success"], told.body) == ("false", answer)
            agent.holds.pop("PUT storages").set()
            if end == "sleep":
                first.process.signal(signal.SIGCONT)
                _, made = await _call(first, "POST", "/zones", {"params": {"name": "another"}})
                assert made["inventory"]["name"] == "another"
            assert await _ended(second, HELD) == (503, answer)
            assert all(again == told for again in well.told)


async def _others_kept_house(server: Server, number: int) -> None:
    """Wait until the other node has given up what nobody holds; the one of the test does not look."""
    lost = StoredJob(f"{number:032}", "ReconnectBackupStorage", RUNNING, None)
    await JobStore(server.database, "a killed node").add(lost, "account")

    async def is_given_up() -> bool:
        found = await JobStore(server.database, "any").find(lost.uuid)
        return found is not None and found.state != RUNNING

    await until(is_given_up)


@pytest.mark.skipif(bool(clocks.missing()), reason=clocks.missing())
async def test_a_node_with_a_wrong_clock_leaves_the_others_what_they_hold(
    tmp_path: Path, postgresql_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql_server.new_database()
    monkeypatch.setattr(module, "_HOUSEKEEPING", 3600.0)
    opened = Database.connect(url)
    await migrate(opened)
    clock, process = Clock(tmp_path, YEAR), NodeProcess(tmp_path / "other", {"database": {"url": url}, "hooks": HOOKS})
    process.environment, process.password = clock.environment, PASSWORD
    settings = HookSettings(**HOOKS)
    try:
        async with receiving(_hang) as slow, serving_node(opened, hooks=settings) as server:
            await _run_and_send(server, slow)
            with process:
                other = f"{process.url}/zstack/v1/backup-storage"
                for number, seconds in enumerate((YEAR, HOUR, 90, -90, -HOUR)):
                    clock.set(seconds)
                    await _others_kept_house(server, number)
                    assert (await server.call("GET", f"/api-jobs/{HELD}"))[0] == 202
                    headers = {"Authorization": f"OAuth {server.session}"}  # sessions live by the one clock, too
                    async with server.http.get(other, headers=headers) as response:
                        assert response.status == 200
            assert len(slow.told) == 1
            server.fleet.hold.set()

            async def is_done() -> bool:
                return (await server.call("GET", f"/api-jobs/{HELD}"))[0] == 200

            await until(is_done)
    finally:
        await opened.close()


async def _run_and_send(server: Server, slow: Receiver) -> None:
    """Let the server send a web hook to a receiver that hangs, and run a job that is held."""
    row = storage_row()
    await server.store(row)
    path = f"/backup-storage/{row['uuid']}/actions"
    body: dict[str, Any] = {"reconnectBackupStorage": {}}
    headers = {"X-Job-UUID": SENT, "X-Web-Hook": slow.url}
    assert (await server.call("PUT", path, json=body, headers=headers))[0] == 202
    await slow.until(1)
    held = body | {"systemTags": ["hold"]}
    assert (await server.call("PUT", path, json=held, headers={"X-Job-UUID": HELD}))[0] == 202
