"""Many receivers of web hooks at once: none holds up the others, however slow it is or its name is to look up."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import select

from bs_agent.management.config import HookSettings
from bs_agent.management.jobs import delivery
from bs_agent.management.jobs.outward import outward_connector
from bs_agent.management.store.database import Database
from bs_agent.management.store.hooks import HookStore
from bs_agent.management.store.jobs import DONE, JobStore, StoredJob, WebHook
from bs_agent.management.store.tables import hook
from tests.management.jobs.receiver import DEADLINE, receiving, status
from tests.management.server import Server, living_node, serving_node, storage_row

pytestmark = pytest.mark.asyncio

RECONNECT: dict[str, Any] = {"reconnectBackupStorage": {}}


async def _reconnect(server: Server, url: str, number: int) -> tuple[int, Any]:
    row = storage_row()
    await server.store(row)
    headers = {"X-Web-Hook": url, "X-Job-UUID": f"{number:032}"}
    return await server.call("PUT", f"/backup-storage/{row['uuid']}/actions", json=RECONNECT, headers=headers)


async def _until_none_waits(server: Server) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            if await server.hooks._store.count("") == (0, 0):
                return
            await asyncio.sleep(0.02)


async def _hang(_: web.Request) -> web.Response:
    await asyncio.sleep(3600)
    return web.Response()


async def test_a_receiver_that_never_answers_does_not_hold_up_the_others(database: Database) -> None:
    settings = HookSettings(allow_local=True, timeout=600, concurrent=4, pending=100)
    async with receiving(*[_hang] * 9) as slow, receiving() as well, serving_node(database, hooks=settings) as server:
        for number in range(9):
            assert (await _reconnect(server, slow.url, number))[0] == 202
        await slow.until(1)
        for number in range(10, 19):
            assert (await _reconnect(server, well.url, number))[0] == 202
        await well.until(9)
        assert len(slow.told) == 1


async def test_one_receiver_has_a_share_of_what_may_wait(database: Database) -> None:
    settings = HookSettings(allow_local=True, timeout=600, concurrent=4, pending=8)
    async with receiving(_hang) as slow, receiving() as well, serving_node(database, hooks=settings) as server:
        for number in range(2):
            assert (await _reconnect(server, slow.url, number))[0] == 202
        refused, answer = await _reconnect(server, slow.url.replace("webhook", "elsewhere"), 3)
        said = f"2 web hooks wait for their delivery to http://127.0.0.1:{slow.port}"
        assert (refused, answer["error"]["details"]) == (503, said)
        assert (await _reconnect(server, well.url, 4))[0] == 202
        await well.until(1)


async def test_who_waits_with_few_goes_before_the_later_ones_of_who_waits_with_many(database: Database) -> None:
    await living_node(database, "this")
    jobs, hooks = JobStore(database, "this"), HookStore(database, "this")
    for number, name in enumerate("aaaaabbc"):
        to = WebHook(f"http://{name}/", f"http://{name}", with_schema=False)
        await jobs.add(StoredJob(f"{number:032}", "DeleteBackupStorage", DONE, "{}"), "account", hook_to=to)
        await hooks.tell(f"{number:032}")
    first = await hooks.claim(4, 3, {})
    assert sorted(due.receiver[-1] for due in first)[:1] + sorted({due.receiver[-1] for due in first}) == list("aabc")
    under_way = {due.job.uuid: due.receiver for due in first}
    second = await hooks.claim(9, 3, under_way)
    under_way |= {due.job.uuid: due.receiver for due in second}
    assert sorted(receiver[-1] for receiver in under_way.values()) == list("aaabbc")
    assert await hooks.claim(9, 3, under_way) == []
    assert await hooks.pause(3, under_way) is None  # their end wakes who waits; looking before would find nothing
    assert await hooks.pause(4, under_way) == 0


async def test_a_hook_that_can_not_be_sent_is_given_up_after_its_tries(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fail(job: StoredJob, **_: bool) -> bytes:
        tries.append(job.uuid)
        raise RuntimeError("a bug")

    monkeypatch.setattr(delivery, "ended_body", fail)
    settings = HookSettings(allow_local=True, pause=0.01, tries=3)
    async with receiving() as receiver, serving_node(database, hooks=settings) as server:
        await _reconnect(server, receiver.url, 1)
        await _until_none_waits(server)
    assert (tries, receiver.told) == ([f"{1:032}"] * 3, [])
    assert "given up: an unexpected fault" in caplog.text


async def test_the_end_of_a_call_of_another_version_is_told_without_its_schema(database: Database) -> None:
    settings = HookSettings(allow_local=True)
    async with receiving() as receiver, serving_node(database, hooks=settings) as server:
        to = WebHook(receiver.url, f"http://127.0.0.1:{receiver.port}", with_schema=True)
        store = JobStore(database, "another")
        await store.add(StoredJob("7" * 32, "FromTheFuture", DONE, '{"inventory":{}}'), "account", hook_to=to)
        await server.hooks.release("7" * 32)
        assert (await receiver.until(1))[0].body == {"inventory": {}}
        assert await server.call("GET", f"/api-jobs/{'7' * 32}", headers={"X-JSON-Schema": "true"}) == (
            200,
            {"inventory": {}},
        )


async def test_a_node_that_has_lost_its_lease_lets_go_of_what_it_sends(database: Database) -> None:
    settings = HookSettings(allow_local=True, timeout=600)
    async with receiving(_hang, status(200)) as receiver, serving_node(database, hooks=settings) as server:
        await _reconnect(server, receiver.url, 1)
        await receiver.until(1)
        server.lose_lease()
        await receiver.until(2)  # by whoever holds a lease then: the same node, here


async def test_an_orderly_stop_gives_back_what_is_under_way(database: Database) -> None:
    settings = HookSettings(allow_local=True, timeout=600)
    async with receiving(_hang) as receiver:
        async with serving_node(database, hooks=settings) as server:
            await _reconnect(server, receiver.url, 1)
            await receiver.until(1)
        async with database.reading() as connection:
            assert (await connection.execute(select(hook.c.leaseOwner, hook.c.tries))).all() == [(None, 0)]


@pytest.fixture
def asked_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A look-up, played, that never answers for names that begin with `hung`; the names that it was asked."""
    asked: list[str] = []
    stop = threading.Event()

    def look_up(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if host.startswith("hung"):
            stop.wait(DEADLINE)
            raise socket.gaierror("no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield asked
    stop.set()


async def test_names_that_are_never_looked_up_hold_up_nothing_else(asked_names: list[str]) -> None:
    async def post(http: aiohttp.ClientSession, host: str, port: int) -> None:
        await http.post(f"http://{host}:{port}/", data=b"{}")

    async with receiving() as receiver:
        connector = outward_connector(16, allow_local=True)
        async with aiohttp.ClientSession(connector=connector) as http:
            hung = [asyncio.create_task(post(http, f"hung-{number % 3}.test", 80)) for number in range(12)]
            async with asyncio.timeout(DEADLINE):
                await post(http, "well.test", receiver.port)
                # The rest of the process looks its names up elsewhere, and as before.
                await asyncio.gather(*(asyncio.to_thread(socket.getaddrinfo, "other.test", 80) for _ in range(64)))
            for task in hung:
                task.cancel()
            await asyncio.gather(*hung, return_exceptions=True)
    assert len(receiver.told) == 1
    assert sorted(name for name in asked_names if name.startswith("hung")) == [
        "hung-0.test",
        "hung-1.test",
        "hung-2.test",
    ]
