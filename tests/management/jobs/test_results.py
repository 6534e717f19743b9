"""How jobs ended is not lost while the database is away, and no other caller pushes it out."""

import asyncio
import logging
from typing import Any

import pytest

from bs_agent.management.config import HookSettings, JobSettings
from bs_agent.management.jobs import jobs as module
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.jobs import DONE, FAILED, RUNNING, JobStore, StoredJob
from tests.beds.node import free_port
from tests.management.jobs.receiver import DEADLINE
from tests.management.server import Server, lost_node, serving_node, storage_row

pytestmark = pytest.mark.asyncio

JOB, OTHER = "5" * 32, "6" * 32
HELD = {"reconnectBackupStorage": {}, "systemTags": ["hold"]}
OFTEN, NEVER = 0.01, 3600.0


class Away:
    """A database to which the ends of jobs can not be written, until it is back; `fault` is what it says of `uuid`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uuid: str = "", fault: Exception | None = None) -> None:
        self.is_back = asyncio.Event()
        self.tries = 0
        self.tried = asyncio.Condition()
        finish = JobStore.finish

        async def refuse(store: JobStore, ended: StoredJob) -> bool:
            if self.is_back.is_set() or (uuid and ended.uuid != uuid):
                return await finish(store, ended)
            async with self.tried:
                self.tries += 1
                self.tried.notify_all()
            raise fault or DatabaseUnavailable("it is away")

        monkeypatch.setattr(JobStore, "finish", refuse)

    async def until_tried(self, times: int) -> None:
        """Wait until it was tried so often."""
        async with asyncio.timeout(DEADLINE), self.tried:
            await self.tried.wait_for(lambda: self.tries >= times)


async def _start(server: Server, job: str = JOB, hook: str = "", body: Any = None) -> tuple[int, Any]:
    row = storage_row()
    await server.store(row)
    headers = ({"X-Job-UUID": job} if job else {}) | ({"X-Web-Hook": hook} if hook else {})
    path = f"/backup-storage/{row['uuid']}/actions"
    return await server.call("PUT", path, json=body or HELD, headers=headers)


async def _ended(server: Server, job: str = JOB) -> tuple[int, Any]:
    async with asyncio.timeout(DEADLINE):
        while True:
            polled = await server.call("GET", f"/api-jobs/{job}")
            if polled[0] != 202:
                return polled
            await asyncio.sleep(0.02)


async def test_a_result_is_written_when_the_database_is_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", OFTEN)
    away = Away(monkeypatch)
    async with serving_node(database) as server:
        await _start(server)
        server.fleet.hold.set()
        await away.until_tried(12)
        assert (await server.call("GET", f"/api-jobs/{JOB}"))[0] == 202
        away.is_back.set()
        assert (await _ended(server))[0] == 200


async def test_who_waits_for_a_job_is_told_its_result_while_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", NEVER)
    away = Away(monkeypatch)
    async with serving_node(database) as server:
        server.fleet.hold.set()
        status, answer = await _start(server, job="")
        assert (status, set(answer)) == (200, {"inventory"})
        assert away.tries == 1


async def test_results_that_are_not_written_count_as_jobs(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", OFTEN)
    away = Away(monkeypatch)
    async with serving_node(database, jobs=JobSettings(concurrent=1)) as server:
        server.fleet.hold.set()
        await _start(server)
        await away.until_tried(2)
        status, answer = await _start(server, OTHER)
        assert (status, answer["error"]["details"]) == (503, "1 jobs are running")
        away.is_back.set()
        await _ended(server)
        assert (await _start(server, OTHER))[0] == 202
        assert (await _ended(server, OTHER))[0] == 200


async def test_an_orderly_stop_writes_what_is_left(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", NEVER)
    away = Away(monkeypatch)
    async with serving_node(database) as server:
        server.fleet.hold.set()
        await _start(server)
        await away.until_tried(1)
        server.fleet.hold.clear()
        await _start(server, OTHER)
        away.is_back.set()
    store = JobStore(database, "any")
    states = {uuid: found.state for uuid in (JOB, OTHER) if (found := await store.find(uuid))}
    assert states == {JOB: DONE, OTHER: FAILED}


async def test_an_orderly_stop_does_not_wait_for_a_database_that_hangs(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", NEVER)
    monkeypatch.setattr(module, "_LAST_TRY", 0.1)

    async def hang(_store: JobStore, _ended: StoredJob) -> bool:
        return bool(await asyncio.Event().wait())

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "finish", hang)
        async with asyncio.timeout(DEADLINE), serving_node(database) as server:
            await _start(server)
    assert f"the result of job {JOB} (ReconnectBackupStorage) could not be stored: it was failed" in caplog.text
    async with serving_node(database) as server:  # its node has given its lease back, so the next one says so
        status, answer = await _ended(server)
        assert (status, answer["error"]["code"]) == (503, "SYS.1006")


async def test_a_result_that_the_database_refuses_holds_up_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", OFTEN)
    Away(monkeypatch, JOB, ValueError("a result that can not be written"))
    with caplog.at_level(logging.CRITICAL):
        async with serving_node(database) as server:
            server.fleet.hold.set()
            await _start(server)
            await _start(server, OTHER)
            assert (await _ended(server, OTHER))[0] == 200
            status, answer = await _ended(server)
            assert (status, answer["error"]["code"]) == (503, "SYS.1006")


async def test_after_an_outage_the_other_nodes_have_time_to_renew_their_leases(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node that hears the database first would else give up what the others have still to write."""
    monkeypatch.setattr(module, "_HOUSEKEEPING", NEVER)
    await JobStore(database, "other").add(StoredJob(JOB, "ReconnectBackupStorage", RUNNING, None), "account")
    async with serving_node(database) as server:
        jobs, store = server.jobs, JobStore(database, "any")
        assert (await _ended(server))[0] == 503  # the first look, at the start, gives it up
        await JobStore(database, "other").add(StoredJob(OTHER, "ReconnectBackupStorage", RUNNING, None), "account")
        await lost_node(database, "other")
        server.lose_lease()
        await jobs._give_up_lost()
        assert (found := await store.find(OTHER)) is not None
        assert found.state == RUNNING
        jobs._judges_after = 0
        await jobs._give_up_lost()
        assert (await _ended(server, OTHER))[0] == 503


async def test_calls_without_a_session_push_out_nothing_of_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that are refused are kept as jobs, too; those of nobody are many in no time."""
    monkeypatch.setattr(module, "_HOUSEKEEPING", OFTEN)
    monkeypatch.setattr(module, "_MOST_KEPT", 3)
    refused = {"params": {"name": "n", "hostname": "h", "url": "relative"}}
    path = "/backup-storage/image-store"
    async with serving_node(database, hooks=HookSettings(allow_local=True)) as server:
        hook = f"http://127.0.0.1:{free_port()}/"
        for job, headers in ((JOB, {}), (OTHER, {"X-Web-Hook": hook})):
            sent = {"X-Job-UUID": job} | headers
            assert (await server.call("POST", path, json=refused, headers=sent))[0] == 202
        for number in range(10):
            headers = {"X-Job-UUID": f"{number:032}"}
            assert (await server.call("POST", path, json=refused, headers=headers, oauth="no session"))[0] == 202
        await server.jobs._store.prune(600, 3)
        kept = [(await server.call("GET", f"/api-jobs/{job:032}"))[0] for job in range(10)]
        assert sorted(kept) == [404] * 7 + [503] * 3
        for job in (JOB, OTHER):
            status, answer = await server.call("GET", f"/api-jobs/{job}")
            assert (status, answer["error"]["code"]) == (503, "SYS.1007")
        assert await server.hooks._store.count(hook.rstrip("/")) == (1, 1)
