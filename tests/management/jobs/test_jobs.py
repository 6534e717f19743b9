"""Long calls as jobs: polled, repeated, refused, timed out, and cut short by the end of their node."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json
from sqlalchemy import ColumnElement, select, update

from bs_agent.contract.errors import OperationFailed, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.config import JobSettings
from bs_agent.management.jobs.jobs import Order
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.jobs import DONE, FAILED, RUNNING, JobStore, StoredJob, WebHook
from bs_agent.management.store.schema import migrate
from bs_agent.management.store.tables import job
from tests.management.server import Server, living_node, lost_node, serving_node, storage_row

pytestmark = pytest.mark.asyncio

JOB = "5" * 32
HELD = {"reconnectBackupStorage": {}, "systemTags": ["hold"]}


_LAST = {"a": "34", "b": "34", "c": "01"}
_GIVEN_UP = '{"error":{"code":"SYS.1006","details":"the management node was stopped"}}'


def _known(_: str) -> bool:
    """Stand for a node that runs nothing."""
    return False


async def _age(database: Database, which: ColumnElement[bool], seconds: int) -> None:
    dates = {"createDate": job.c.createDate - seconds, "endDate": job.c.endDate - seconds}
    async with database.writing() as connection:
        await connection.execute(update(job).where(which).values(**dates))


async def _start(server: Server, body: Any = None, **headers: str) -> tuple[str, int, Any]:
    row = storage_row()
    await server.store(row)
    sent = {"X-Job-UUID": JOB} | {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/backup-storage/{row['uuid']}/actions"
    status, answer = await server.call("PUT", path, json=body or HELD, headers=sent)
    return row["uuid"], status, answer


async def _poll(server: Server, uuid: str = JOB, **headers: str) -> tuple[int, Any]:
    """Read a job without a session, as clients with an access key do."""
    async with server.http.get(f"{server.url}/api-jobs/{uuid}", headers=headers) as response:
        return response.status, await response.json()


async def _ended(server: Server, uuid: str = JOB) -> tuple[int, Any]:
    async with asyncio.timeout(20):
        while True:
            polled = await _poll(server, uuid)
            if polled[0] != 202:
                return polled
            await asyncio.sleep(0.02)


async def test_a_job_is_accepted_polled_and_read_again(server: Server) -> None:
    uuid, status, accepted = await _start(server)
    assert (status, accepted) == (202, {"location": f"http://{server.address}/zstack/v1/api-jobs/{JOB}"})
    assert await _poll(server) == (202, {})
    server.fleet.hold.set()
    status, answer = await _ended(server)
    assert (status, answer["inventory"]["uuid"], set(answer)) == (200, uuid, {"inventory"})
    assert await _poll(server) == (200, answer)
    status, described = await _poll(server, **{"X-JSON-Schema": "true"})
    kind = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory"
    assert described == answer | {"schema": {"inventory": kind}}


async def test_a_failed_job_shows_its_error(server: Server) -> None:
    server.fleet.fail = OperationFailed("the host is on fire")
    server.fleet.hold.set()
    await _start(server)
    status, answer = await _ended(server)
    assert (status, answer["error"]["code"], answer["error"]["details"]) == (503, "SYS.1006", "the host is on fire")


async def test_a_job_that_a_storage_fails_has_the_code_of_the_reason(server: Server) -> None:
    """Such an error has no code but by its reason: it must end the job all the same, run or refused."""
    problem = StorageProblem.of(ReasonCode.AGENT_UNREACHABLE, "nobody is there")
    server.fleet.fail = problem
    await _start(server, {"reconnectBackupStorage": {}})
    _, answer = await _ended(server)
    refused = await server.jobs.reject(Order(), "ReconnectBackupStorage", "", problem)
    assert answer["error"]["code"] == (await _ended(server, refused))[1]["error"]["code"] == "BS.AgentUnreachable"
    async with server.database.reading() as connection:
        codes = (await connection.execute(select(job.c.errorCode))).scalars().all()
    assert codes == ["BS.AgentUnreachable"] * 2


async def test_a_job_uuid_is_used_once(server: Server) -> None:
    await _start(server)
    _, status, answer = await _start(server)
    assert (status, answer["error"]["details"]) == (400, f"Duplicate job uuid[{JOB}]")
    server.fleet.hold.set()
    await _ended(server)


async def test_a_job_uuid_has_32_characters(server: Server) -> None:
    for wrong in ("short", "5" * 33, "5" * 31 + "/"):
        _, status, answer = await _start(server, X_Job_UUID=wrong)
        assert status == 400
        assert answer["error"]["details"] == "Invalid header[X-Job-UUID], it must be a UUID with '-' stripped"


async def test_an_unknown_job_has_expired(server: Server) -> None:
    status, answer = await _poll(server, "6" * 32)
    assert (status, answer["error"]["details"]) == (404, "the job has been expired")
    assert (await server.call("PUT", f"/api-jobs/{JOB}"))[0] == 405


async def test_failures_after_dispatch_show_on_the_job(server: Server) -> None:
    path = "/backup-storage/image-store"
    bad = {"params": {"name": "n", "hostname": "h", "url": "relative"}}
    headers = {"X-Job-UUID": "7" * 32}
    assert (await server.call("POST", path, json=bad, headers=headers))[0] == 202
    status, answer = await _poll(server, "7" * 32)
    assert (status, answer["error"]["code"]) == (503, "SYS.1007")
    headers = {"X-Job-UUID": "8" * 32}
    good = {"params": {"name": "n", "hostname": "h", "url": "/images"}}
    assert (await server.call("POST", path, json=good, headers=headers, oauth="wrong"))[0] == 202
    assert (await _poll(server, "8" * 32))[1]["error"]["code"] == "ID.1001"
    assert (await server.query(count="true"))[1]["total"] == 0


async def test_the_callers_time_limit_ends_the_job(server: Server) -> None:
    _, status, accepted = await _start(server, X_API_Timeout="1")
    assert (status, accepted["apiTimeout"]) == (202, 1000)
    status, answer = await _ended(server)
    assert (status, answer["error"]["code"]) == (503, "SYS.1001")
    assert answer["error"]["details"] == "ReconnectBackupStorage timeout after 1s"
    for wrong in ("0", "soon", "-1"):
        assert (await _start(server, X_Job_UUID="9" * 32, X_API_Timeout=wrong))[1] == 400


async def test_a_request_that_waits_is_told_where_the_job_goes_on(database: Database) -> None:
    async with serving_node(database, jobs=JobSettings(wait=0.1)) as server:
        row = storage_row()
        await server.store(row)
        status, answer = await server.call("PUT", f"/backup-storage/{row['uuid']}/actions", json=HELD)
        assert (status, answer["error"]["code"]) == (503, "SYS.1001")
        server.fleet.hold.set()
        assert (await _ended(server, answer["error"]["details"].rpartition("/")[2]))[0] == 200


async def test_more_jobs_than_allowed_are_refused(database: Database) -> None:
    async with serving_node(database, jobs=JobSettings(concurrent=1)) as server:
        await _start(server)
        _, status, answer = await _start(server, X_Job_UUID="6" * 32)
        assert (status, answer["error"]["details"]) == (503, "1 jobs are running")
        server.fleet.hold.set()
        await _ended(server)
        assert (await _start(server, X_Job_UUID="6" * 32))[1] == 202
        await _ended(server, "6" * 32)


async def test_calls_at_once_do_not_pass_the_bound(database: Database) -> None:
    async with serving_node(database, jobs=JobSettings(concurrent=3)) as server:
        calls = (_start(server, X_Job_UUID=f"{number:032}") for number in range(12))
        statuses = [status for _, status, _ in await asyncio.gather(*calls)]
        server.fleet.hold.set()
        assert sorted(statuses) == [202] * 3 + [503] * 9


async def test_a_database_that_is_away_does_not_end_a_job_for_its_caller(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _start(server)

    async def find(_self: JobStore, _uuid: str) -> StoredJob | None:
        raise DatabaseUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "find", find)
        assert (await _poll(server))[0] == 202
    server.fleet.hold.set()
    assert (await _ended(server))[0] == 200


async def test_the_end_of_the_node_ends_its_jobs_with_an_error(database: Database) -> None:
    async with serving_node(database) as server:
        await _start(server)
    async with serving_node(database) as server:
        status, answer = await _poll(server)
        assert (status, answer["error"]["code"]) == (503, "SYS.1006")
        assert "the management node was stopped, or cut off" in answer["error"]["details"]


async def test_a_job_of_a_killed_node_ends_at_the_next_start_on_sqlite(tmp_path: Path) -> None:
    database = Database.connect(f"sqlite:///{tmp_path}/management.db")
    await migrate(database)
    running = StoredJob(JOB, "ReconnectBackupStorage", RUNNING, None)
    await living_node(database, "a killed node")
    await JobStore(database, "a killed node").add(running, "account")
    async with serving_node(database) as server:
        status, answer = await _ended(server)
        assert (status, answer["error"]["code"]) == (503, "SYS.1006")
    await database.close()


async def test_a_job_of_a_killed_node_ends_when_its_lease_runs_out(database: Database) -> None:
    store, other = JobStore(database, "this"), JobStore(database, "other")
    await living_node(database, "other")
    await other.add(StoredJob(JOB, "ReconnectBackupStorage", RUNNING, None), "account")
    assert await store.give_up("{}", "SYS.1006", _known) == 0
    await lost_node(database, "other")
    assert await store.give_up("{}", "SYS.1006", _known) == 1
    assert await other.finish(StoredJob(JOB, "ReconnectBackupStorage", DONE, "{}")) is False
    found = await store.find(JOB)
    assert found is not None
    assert found.state == FAILED


async def _kept(database: Database) -> list[str]:
    async with database.reading() as connection:
        return list((await connection.execute(select(job.c.uuid).order_by(job.c.uuid))).scalars())


async def test_no_account_pushes_out_the_jobs_of_another(database: Database) -> None:
    """The callers without a session are an account of their own."""
    store = JobStore(database, "node")
    accounts = {"a": "", "b": "one account", "c": "another account"}
    for letter, account in accounts.items():
        for number in range(5 if letter < "c" else 2):
            ended = StoredJob(letter * 31 + str(number), "DeleteBackupStorage", FAILED, "{}")
            await store.add(ended, account)
            await _age(database, job.c.uuid == ended.uuid, 5 - number)
    await store.add(StoredJob(JOB, "DeleteBackupStorage", RUNNING, None), "one account")
    await _age(database, job.c.uuid == JOB, 100)
    await store.prune(600, 2)
    assert await _kept(database) == [JOB] + [letter * 31 + number for letter in "abc" for number in _LAST[letter]]


async def test_old_jobs_are_forgotten_when_nobody_waits_for_their_web_hook(database: Database) -> None:
    store = JobStore(database, "node")
    to = WebHook("http://10.0.0.1/", "http://10.0.0.1", with_schema=False)
    for letter, seconds, hook_to in (("a", 700, None), ("b", 700, to), ("c", -700, None), ("d", 500, None)):
        await store.add(StoredJob(letter * 32, "DeleteBackupStorage", FAILED, "{}"), "account", hook_to=hook_to)
        await _age(database, job.c.uuid == letter * 32, seconds)
    await store.add(StoredJob(JOB, "DeleteBackupStorage", RUNNING, None), "account")
    await store.prune(600, 9)
    assert await _kept(database) == [JOB, "b" * 32, "d" * 32]  # the date of c is of a clock that was ahead
    await store.prune(600, 0)
    assert await _kept(database) == [JOB, "b" * 32]


async def test_a_running_job_is_held_by_its_living_node(database: Database) -> None:
    async with serving_node(database) as server:
        await _start(server)
        assert await JobStore(database, "another").give_up("{}", "SYS.1006", _known) == 0
        server.fleet.hold.set()
        assert (await _ended(server))[0] == 200


async def test_a_job_whose_end_another_node_wrote_has_that_end(database: Database) -> None:
    """As after a node stood still for longer than its lease: callers were told that its jobs were cut short."""
    async with serving_node(database) as server:
        await _start(server)
        async with database.writing() as connection:
            await connection.execute(update(job).values(state=FAILED, result=_GIVEN_UP))
        server.fleet.hold.set()
        assert (await server.jobs.wait(server.jobs._running[JOB])).state == FAILED
        assert await _poll(server) == (503, from_json(_GIVEN_UP))


async def test_a_job_that_its_own_node_does_not_know_is_given_up(database: Database) -> None:
    """As after its beginning was written while the connection broke: nobody works on it."""
    await living_node(database, "this")
    store = JobStore(database, "this")
    await store.add(StoredJob(JOB, "ReconnectBackupStorage", RUNNING, None), "account")
    assert await store.give_up("{}", "SYS.1006", lambda uuid: uuid == JOB) == 0
    assert await store.give_up("{}", "SYS.1006", _known) == 1


async def test_jobs_are_cut_short_when_the_lease_of_their_node_is_lost(database: Database) -> None:
    async with serving_node(database) as server:
        await _start(server)
        server.lose_lease()
        status, answer = await _ended(server)
        assert (status, answer["error"]["code"]) == (503, "SYS.1006")
        assert "cut off from the database" in answer["error"]["details"]
