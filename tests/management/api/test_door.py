"""One door: what is wrong with the parameters or tags of a call is said before it does anything; no secret gets in."""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from sqlalchemy import insert, select
from yarl import URL

from bs_agent.client.wire.encoding import encode
from bs_agent.contract import enrollment
from bs_agent.contract.api import APIS, Api
from bs_agent.contract.calls_account import LOG_IN
from bs_agent.contract.examples import VALUES
from bs_agent.management.access.sessions import ADMIN_UUID
from bs_agent.management.store.columns import metadata
from bs_agent.management.store.tables import host
from tests.management.server import Server, ceph_row, mon_row, storage_row

pytestmark = pytest.mark.asyncio

TOKEN = "a-token-that-is-a-secret-of-its-agent_43xyz"
CODE = enrollment.encode(7765, TOKEN, "ab" * 32)
IMAGE_STORE = "5" * 32
FINGERPRINT = "SHA256:" + "a" * 43

CALLS = [api for api in APIS.values() if not api.queries and api is not LOG_IN]
BAD_SYSTEM_TAGS = {
    "": "at least 1 character",
    "x" * 2049: "at most 2048 characters",
    "writeProbe::maybe": "writeProbe:: must be followed by true or false",
    "sshHostKey::abc": "must be followed by a fingerprint",
    "sshHostKey::images-1::SHA256:short": "must be followed by a fingerprint",
    "removePool::": "must be followed by the name of the pool",
    "agentEnrollment::nonsense": "must be followed by an enrolment code",
    f"agentEnrollment::{CODE[:-2]}": "must be followed by an enrolment code",
    f"agentEnrollment::{CODE}::images-1": "must be followed by an enrolment code",
    f"agentEnrollment::{CODE}::{CODE}": "holds an enrolment code",
    f"sshHostKey::{CODE}::{FINGERPRINT}": "holds an enrolment code",
    f"AgentEnrollment::{CODE}": "holds an enrolment code",
    CODE: "holds an enrolment code",
}
BAD_USER_TAGS = {
    f"agentEnrollment::{CODE}": "is a system tag",
    " agentenrollment::cut short": "is a system tag",
    f"my code is {CODE}!": "holds an enrolment code",
    CODE[:-1]: "holds an enrolment code",
    "x" * 2049: "at most 2048 characters",
}


async def _fill(server: Server) -> None:
    """Make what the examples of the contract name."""
    example = str(VALUES["uuid"])
    await server.store(ceph_row(uuid=example), storage_row(uuid=IMAGE_STORE))
    mons = [mon_row(example, "172.20.1.116") | {"monUuid": VALUES["monUuid"]}, mon_row(example, "172.20.1.117")]
    async with server.database.writing() as connection:
        await connection.execute(insert(host), mons)
    await server.call("POST", "/zones", json={"params": {"name": "z", "resourceUuid": VALUES["zoneUuid"]}})


def _parameters(api: Api, **given: Any) -> dict[str, Any]:
    """Return parameters with which a call succeeds, but for what is given."""
    names = set(api.parameters.model_fields) - {"resourceUuid", "accountUuid", "systemTags", "userTags"}
    good = {name: VALUES[name] for name in names if name in VALUES}
    if "resourceType" in names:
        good["resourceUuid"] = VALUES["uuid"]
    if "account" in api.paths[0]:
        good["uuid"] = ADMIN_UUID
    if "image-store/{uuid}" in api.paths[0]:
        good["uuid"] = IMAGE_STORE
    if "monUrls" in names:
        good["monUrls"] = ["172.20.1.118"]
    return good | given


async def _send(server: Server, api: Api, values: Mapping[str, Any], **headers: str) -> tuple[int, str]:
    """Send a call without the checks of a client."""
    request = encode(api, api.parameters.model_construct(**values))
    url = URL(f"http://{server.address}{request.target}", encoded=True)
    headers |= {"Authorization": f"OAuth {server.session}"}
    async with server.http.request(request.method, url, data=request.body, headers=headers) as response:
        return response.status, await response.text()


async def _everything(server: Server) -> str:
    """Return the whole database as text, but for the sessions and the lease of the node."""
    async with server.database.reading() as connection:
        tables = [table for table in metadata.sorted_tables if table.name not in {"session", "node"}]
        return str([(table.name, (await connection.execute(select(table))).all()) for table in tables])


async def test_wrong_tags_are_refused_before_anything_is_done(server: Server) -> None:
    await _fill(server)
    before = await _everything(server)
    for api in CALLS:
        for name, bad in (("systemTags", BAD_SYSTEM_TAGS), ("userTags", BAD_USER_TAGS)):
            for tag, why in bad.items():
                status, answer = await _send(server, api, _parameters(api, **{name: ["good", tag]}))
                assert (status, "SYS.1007" in answer) == (503, True), (api.name, tag, answer)
                assert f"field[{name}.1]: " in answer, (api.name, tag, answer)
                assert why in answer, (api.name, tag, answer)
                assert CODE[:20] not in answer, (api.name, tag, answer)
        assert await _everything(server) == before, api.name


def _texts(api: Api) -> dict[str, bool]:
    """Return the parameters that are texts or, where it says True, lists of them."""
    return {
        name: get_origin(hint) is list
        for name, hint in get_type_hints(api.parameters).items()
        if name in api.parameters.model_fields
        and str in {hint, *get_args(hint)}
        and get_origin(hint) is not Literal
        and name not in {"systemTags", "userTags"}
    }


async def test_no_other_field_takes_a_code(server: Server) -> None:
    await _fill(server)
    before = await _everything(server)
    for api in CALLS:
        for name, is_list in _texts(api).items():
            for text in (CODE, f"x{CODE}", f" {CODE[:40]}\n{CODE[40:]} "):
                given = {name: [text] if is_list else text}
                status, answer = await _send(server, api, _parameters(api, **given))
                assert (status, "SYS.1007" in answer) == (503, True), (api.name, name, text, answer)
                assert TOKEN not in answer, (api.name, name, text, answer)
                assert CODE[:20] not in answer, (api.name, name, text, answer)
        assert await _everything(server) == before, api.name


async def test_no_part_of_a_mon_url_that_is_shown_takes_a_code(server: Server) -> None:
    await _fill(server)
    before = await _everything(server)
    for api in (APIS["AddCephBackupStorage"], APIS["AddMonToCephBackupStorage"]):
        for url in (f"{CODE}@mon-9", f"{CODE}:password@mon-9", CODE):
            status, answer = await _send(server, api, _parameters(api, monUrls=[url]))
            assert (status, "holds an enrolment code" in answer, CODE in answer) == (503, True, False)
    assert await _everything(server) == before


async def test_no_rejected_job_and_no_web_hook_keeps_a_code(server: Server) -> None:
    await _fill(server)
    before = await _everything(server)
    api = APIS["UpdateBackupStorage"]
    hook = {"X-Web-Hook": f"http://192.0.2.1:80/?code={CODE}"}
    status, answer = await _send(server, api, _parameters(api), **hook)
    assert (status, CODE in answer) == (400, False)
    assert await _everything(server) == before
    status, answer = await _send(server, api, _parameters(api, uuid=CODE), **{"X-Job-UUID": "5" * 32})
    assert (status, CODE in answer) == (202, False)
    assert CODE not in await _everything(server)


@pytest.mark.parametrize("api", CALLS, ids=lambda api: api.name)
async def test_what_is_good_is_let_in(server: Server, api: Api) -> None:
    """Else the tests above would see refusals for other reasons."""
    await _fill(server)
    if api.name == "DetachBackupStorageFromZone":
        attach = APIS["AttachBackupStorageToZone"]
        await _send(server, attach, _parameters(attach))
    tags = {"systemTags": ["good", f"agentEnrollment::{CODE}", "writeProbe::true"], "userTags": ["good", FINGERPRINT]}
    status, answer = await _send(server, api, _parameters(api, **tags))
    assert status == 200, answer
    assert CODE not in await _everything(server)
