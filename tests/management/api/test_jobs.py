"""QueryJob: who called what, on what, and how that went; never what a job answers."""

from typing import Any

import pytest

from bs_agent.contract.errors import OperationFailed, StorageProblem
from bs_agent.contract.inventory import JobInventory
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.access.sessions import ADMIN_UUID
from tests.management.server import Server, storage_row

pytestmark = pytest.mark.asyncio


async def _jobs(server: Server, **parameters: Any) -> list[dict[str, Any]]:
    status, found = await server.call("GET", "/jobs", params=parameters)
    assert status == 200
    return list(found["inventories"])


async def test_a_job_is_listed_while_it_runs_and_when_it_has_ended(server: Server) -> None:
    row = storage_row()
    await server.store(row)
    body = {"reconnectBackupStorage": {}, "systemTags": ["hold"]}
    path, job = f"/backup-storage/{row['uuid']}/actions", "5" * 32
    await server.call("PUT", path, json=body, headers={"X-Job-UUID": job})
    (running,) = await _jobs(server)
    created = running.pop("createDate")
    assert running == {
        "uuid": job, "apiName": "ReconnectBackupStorage", "state": "Running", "accountUuid": ADMIN_UUID,
        "resourceUuid": row["uuid"],
    }  # fmt: skip
    server.fleet.fail = OperationFailed("the host is on fire")
    server.fleet.hold.set()
    await server.call("PUT", path, json={"reconnectBackupStorage": {}})
    async with server.http.get(f"{server.url}/api-jobs/{job}") as response:
        assert response.status in {202, 503}
    listed = await _jobs(server, q=f"resourceUuid={row['uuid']}", sort="createDate")
    assert {one["apiName"] for one in listed} == {"ReconnectBackupStorage"}
    (ended,) = await _jobs(server, q=["errorCode=SYS.1006", f"uuid!={job}"])
    assert ended["state"] == "Failed"
    assert ended["endDate"] >= created
    assert all(JobInventory.model_validate(one) for one in listed)


async def test_a_job_that_failed_because_of_a_host_names_the_reason(server: Server) -> None:
    row = storage_row()
    await server.store(row)
    server.fleet.fail = StorageProblem.of(ReasonCode.NO_ROUTE, "10.0.0.1 is not reached")
    status, answer = await server.call(
        "PUT", f"/backup-storage/{row['uuid']}/actions", json={"reconnectBackupStorage": {}}
    )
    assert (status, answer["error"]["code"]) == (503, "BS.NoRoute")
    (ended,) = await _jobs(server, q="errorCode=BS.NoRoute")
    assert ended["state"] == "Failed"


async def test_a_creation_names_what_it_has_made_and_nothing_else_of_it(server: Server) -> None:
    parameters = {"name": "s", "hostname": "10.0.0.1", "url": "/images", "password": "not to be seen"}
    status, added = await server.call("POST", "/backup-storage/image-store", json={"params": parameters})
    assert status == 200
    (done,) = await _jobs(server)
    assert (done["state"], done["resourceUuid"]) == ("Done", added["inventory"]["uuid"])
    assert set(done) == {"uuid", "apiName", "state", "accountUuid", "resourceUuid", "createDate", "endDate"}
    assert (await server.call("GET", f"/jobs/{done['uuid']}"))[1]["inventories"] == [done]


async def test_jobs_are_listed_for_who_is_logged_in(server: Server) -> None:
    status, refused = await server.call("GET", "/jobs", oauth="0" * 32)
    assert (status, refused["error"]["code"]) == (503, "ID.1001")
    status, refused = await server.call("GET", "/jobs", params={"q": "result=x"})
    assert (status, refused["error"]["code"]) == (503, "SYS.1007")
    assert "JobInventory has no field[result]" in refused["error"]["details"]


async def test_a_uuid_that_is_none_names_no_resource(server: Server) -> None:
    status, refused = await server.call("DELETE", f"/backup-storage/{'x' * 200}")
    assert (status, refused) == (200, {})
    (done,) = await _jobs(server)
    assert "resourceUuid" not in done
