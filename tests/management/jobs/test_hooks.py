"""Web hooks: who names an address is told there how the job ended, once the 202 is out, whatever fails in between."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select

from bs_agent.management.config import HookSettings
from bs_agent.management.store.database import Database
from bs_agent.management.store.hooks import DueHook, HookStore
from bs_agent.management.store.jobs import DONE, JobStore, StoredJob, WebHook
from bs_agent.management.store.tables import hook
from tests.beds.node import free_port
from tests.management.jobs.receiver import DEADLINE, Receiver, receiving, status
from tests.management.server import Server, living_node, lost_node, serving_node, storage_row

pytestmark = pytest.mark.asyncio

JOB = "5" * 32
TO = "http://10.0.0.1/"
HERE = HookSettings(allow_local=True, pause=0.05)
RECONNECT: dict[str, Any] = {"reconnectBackupStorage": {}}
HELD = RECONNECT | {"systemTags": ["hold"]}


async def _reconnect(
    server: Server, url: str, body: Any = None, job: str = JOB, **headers: str
) -> tuple[str, int, dict[str, Any]]:
    row = storage_row()
    await server.store(row)
    sent = {"X-Web-Hook": url, "X-Job-UUID": job} | {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/backup-storage/{row['uuid']}/actions"
    code, answer = await server.call("PUT", path, json=body or RECONNECT, headers=sent)
    return row["uuid"], code, answer


async def _tries(database: Database) -> list[int]:
    async with database.reading() as connection:
        return list((await connection.execute(select(hook.c.tries))).scalars())


async def _until_tries(database: Database, *wanted: int) -> None:
    """Wait until the hooks that are left have been tried so often; none left, when nothing is wanted."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found = await _tries(database)
            if len(found) == len(wanted) and all(tries >= least for tries, least in zip(found, wanted, strict=True)):
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _both(
    database: Database, *answers: Any, settings: HookSettings = HERE
) -> AsyncIterator[tuple[Server, Receiver]]:
    async with receiving(*answers) as receiver, serving_node(database, hooks=settings) as server:
        yield server, receiver


async def test_a_hook_brings_what_the_job_url_shows(database: Database) -> None:
    async with _both(database) as (server, receiver):
        uuid, code, answer = await _reconnect(server, receiver.url)
        assert (code, answer) == (202, {"location": f"http://{server.address}/zstack/v1/api-jobs/{JOB}"})
        told = (await receiver.until(1))[0]
        assert (told.path, told.body["inventory"]["uuid"], set(told.body)) == ("/webhook", uuid, {"inventory"})
        assert (told.headers["X-Job-UUID"], told.headers["X-Job-Success"]) == (JOB, "true")
        assert told.headers["Content-Type"] == "application/json; charset=utf-8"
        assert told.headers["User-Agent"] == "bs-management"
        assert await server.call("GET", f"/api-jobs/{JOB}") == (200, told.body)
        await _until_tries(database)

        await _reconnect(server, receiver.url, job="6" * 32, X_JSON_Schema="true")
        told = (await receiver.until(2))[1]
        assert told.body["schema"] == {
            "inventory": "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory"
        }


async def test_failures_after_dispatch_go_to_the_hook(database: Database) -> None:
    async with _both(database) as (server, receiver):
        bad = {"params": {"name": "n", "hostname": "h", "url": "relative"}}
        headers = {"X-Web-Hook": receiver.url}
        code, answer = await server.call("POST", "/backup-storage/image-store", json=bad, headers=headers)
        assert code == 202
        told = (await receiver.until(1))[0]
        assert told.headers["X-Job-UUID"] == answer["location"].rpartition("/")[2]
        assert (told.headers["X-Job-Success"], told.body["error"]["code"]) == ("false", "SYS.1007")


async def test_nothing_is_sent_for_callers_without_a_session(database: Database) -> None:
    async with _both(database) as (server, receiver):
        headers = {"X-Web-Hook": receiver.url}
        bodies: tuple[dict[str, Any], ...] = ({"params": {"name": "z"}}, {"params": {}})
        for body in bodies:
            code, answer = await server.call("POST", "/zones", json=body, headers=headers, oauth="wrong")
            assert (code, answer["error"]["code"]) in {(503, "ID.1001"), (503, "SYS.1007")}
        assert await HookStore(database, "any").count("") == (0, 0)


async def test_a_hook_never_comes_before_the_202(database: Database) -> None:
    accepted: list[bytes] = []

    async def look(_: web.Request) -> web.Response:
        accepted.append(caller.recv(100, socket.MSG_DONTWAIT))
        return web.Response()

    async with _both(database, look) as (server, receiver):
        caller = socket.create_connection(server.address)
        body = b'{"params":{}}'  # fails at once: the job has ended when the 202 is written
        lines = ["POST /zstack/v1/zones HTTP/1.1", f"Host: {server.address}", f"Content-Length: {len(body)}"]
        lines += [f"Authorization: OAuth {server.session}", f"X-Web-Hook: {receiver.url}", "", ""]
        caller.sendall("\r\n".join(lines).encode() + body)
        await receiver.until(1)
        await _until_tries(database)
        caller.close()
    assert accepted[0].startswith(b"HTTP/1.1 202")


async def test_calls_that_are_no_jobs_ignore_the_header(database: Database) -> None:
    async with _both(database) as (server, receiver):
        for url in (receiver.url, "no address"):
            headers = {"X-Web-Hook": url, "X-Job-UUID": JOB}
            assert (await server.call("GET", "/backup-storage", headers=headers))[0] == 200
            log_in = {"logInByAccount": {"accountName": "admin", "password": "x"}}
            refused = await server.call("PUT", "/accounts/login", json=log_in, headers=headers)
            assert refused[1]["error"]["code"] == "ID.1000"
        assert await _tries(database) == []


async def test_a_receiver_that_is_down_is_told_when_it_is_up(database: Database) -> None:
    port = free_port()
    async with serving_node(database, hooks=HERE) as server:
        await _reconnect(server, f"http://127.0.0.1:{port}/webhook")
        await _until_tries(database, 2)
        async with receiving(port=port) as receiver:
            assert (await receiver.until(1))[0].headers["X-Job-Success"] == "true"
            await _until_tries(database)


async def test_failing_and_hanging_receivers_are_told_again(database: Database) -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async def babble(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    settings = HookSettings(allow_local=True, pause=0.05, timeout=1)
    async with _both(database, status(500), hang, status(404), babble, settings=settings) as (server, receiver):
        await _reconnect(server, receiver.url)
        told = await receiver.until(4)  # what the last one goes on to say is not read
        await _until_tries(database)
        assert all(again == told[0] for again in told)


async def test_tries_are_bounded(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    settings = HookSettings(allow_local=True, pause=0.01, tries=3)
    secret = "http://127.0.0.1:{port}/token-1234"
    async with _both(database, *[status(500)] * 3, settings=settings) as (server, receiver):
        with caplog.at_level(logging.WARNING):
            await _reconnect(server, secret.format(port=receiver.port))
            await receiver.until(3)
            await _until_tries(database)
        await _reconnect(server, receiver.url, job="6" * 32)
        assert [told.headers["X-Job-UUID"] for told in await receiver.until(4)] == [JOB] * 3 + ["6" * 32]
    said = [record.message for record in caplog.records if "web hook" in record.message]
    origin = f"the web hook of job {JOB} to http://127.0.0.1:{receiver.port} is"
    assert said == [f"{origin} tried again: it answered 500", f"{origin} given up: it answered 500"]


async def test_redirects_are_not_followed(database: Database) -> None:
    settings = HookSettings(allow_local=True, pause=0.01, tries=2)
    away = [status(code, Location="/inside") for code in (302, 307)]
    async with _both(database, *away, settings=settings) as (server, receiver):
        await _reconnect(server, receiver.url)
        await _until_tries(database)
        assert [told.path for told in receiver.told] == ["/webhook", "/webhook"]


async def test_hooks_do_not_lead_to_this_host(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    settings = HookSettings(tries=1)
    async with _both(database, settings=settings) as (server, receiver):
        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]", "[::]"):
            _, code, answer = await _reconnect(server, f"http://{host}:{receiver.port}/")
            assert (code, answer["error"]["code"]) == (400, "SYS.1007")
            assert "Invalid header[X-Web-Hook]" in answer["error"]["details"]
        # What a name or a strange spelling leads to shows only when it is looked up.
        with caplog.at_level(logging.WARNING):
            for number, host in enumerate(("localhost", "127.1", "2130706433")):
                assert (await _reconnect(server, f"http://{host}:{receiver.port}/", job=f"{number:032}"))[1] == 202
            await _until_tries(database)
        assert receiver.told == []
    assert "127.0.0.1 is a loopback address: see [hooks] allow_local" in caplog.text


@pytest.mark.parametrize(
    "url", ["nothing", "ftp://10.0.0.1/", "http://", "http://u:p@10.0.0.1/", "http://10.0.0.1/" + "x" * 2048]
)
async def test_bad_addresses_are_refused_at_once(server: Server, url: str) -> None:
    _, code, answer = await _reconnect(server, url)
    assert (code, answer["error"]["details"][:28]) == (400, "Invalid header[X-Web-Hook], ")


async def test_as_many_wait_as_are_allowed(database: Database) -> None:
    settings = HookSettings(allow_local=True, pending=1)
    async with _both(database, settings=settings) as (server, receiver):
        await _reconnect(server, receiver.url, HELD)
        _, code, answer = await _reconnect(server, receiver.url, job="6" * 32)
        assert (code, answer["error"]["details"]) == (503, "1 web hooks wait for their delivery")
        server.fleet.hold.set()
        await receiver.until(1)
        await _until_tries(database)
        assert (await _reconnect(server, receiver.url, job="6" * 32))[1] == 202
        await receiver.until(2)


async def test_hooks_survive_the_end_of_their_node(database: Database) -> None:
    port = free_port()
    async with serving_node(database, hooks=HERE) as server:
        await _reconnect(server, f"http://127.0.0.1:{port}/done")
        await _reconnect(server, f"http://127.0.0.1:{port}/cut-short", HELD, job="6" * 32)
        await _until_tries(database, 0, 0)
    async with receiving(port=port) as receiver, serving_node(database, hooks=HERE):
        told = {told.path: told for told in await receiver.until(2)}
    assert told["/done"].headers["X-Job-Success"] == "true"
    assert told["/cut-short"].headers["X-Job-Success"] == "false"
    assert "the management node was stopped, or cut off" in told["/cut-short"].body["error"]["details"]


async def test_one_node_sends_a_hook_until_its_lease_runs_out(database: Database) -> None:
    await living_node(database, "a")
    await living_node(database, "b")
    jobs, a, b = JobStore(database, "a"), HookStore(database, "a"), HookStore(database, "b")
    ended = StoredJob(JOB, "DeleteBackupStorage", DONE, "{}")
    await jobs.add(ended, "account", hook_to=WebHook(TO, TO, with_schema=False))
    assert await a.claim(9, 9, {}) == []  # the caller is not told of the job yet
    await a.tell(JOB)
    assert await a.pause(9, {}) == 0
    assert await a.claim(9, 9, {}) == [DueHook(TO, TO, with_schema=False, tries=0, job=ended)]
    assert await a.claim(9, 9, {JOB: TO}) == await b.claim(9, 9, {}) == []
    assert await a.pause(9, {JOB: TO}) is await b.pause(9, {}) is None
    assert len(await a.claim(9, 9, {})) == 1  # its answer was lost, or the end of its delivery was not written

    await lost_node(database, "a")
    assert await a.claim(9, 9, {}) == []
    assert len(await b.claim(9, 9, {})) == 1
    await a.postpone(JOB, 7, 0)  # what the lost one goes on to say does not count
    await a.drop(JOB)
    await a.release()
    assert await a.claim(9, 9, {}) == []
    await b.release()
    assert [due.tries for due in await b.claim(9, 9, {})] == [0]
    assert await a.count(TO) == (1, 1)
    assert await a.count("http://10.0.0.2/") == (1, 0)
    await b.drop(JOB)
    assert await a.count(TO) == (0, 0)
