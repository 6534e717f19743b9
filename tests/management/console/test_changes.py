"""What a form changes is what the call of the API changes."""

import asyncio
import re

import pytest
from sqlalchemy import select

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.console.visit import enrolment
from bs_agent.management.store.tables import access_key, backup_storage
from tests.management.console.looking import Looker, looker
from tests.management.server import PASSWORD, Server, storage_row

ANY = "1" * 32
STORAGE = f"/storages/{ANY}"


async def job_of(browser: Looker) -> str:
    """Follow a job to its end, as a page does that refreshes itself; return what it says then."""
    path = browser.last.headers["Location"]
    async with asyncio.timeout(20):
        while True:
            shown = await browser.get(path)
            if "hx-get" not in shown.text:
                return shown.words
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_storage_is_edited_disabled_tagged_and_attached(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY, name="before"))
    await browser.get("/zones")
    await browser.send("/zones", name="east", description="the first hall")
    zone = (await server.call("GET", "/zones"))[1]["inventories"][0]
    assert (zone["name"], zone["description"]) == ("east", "the first hall")
    for action, fields in (
        ("edit", {"name": "after", "description": "of the new hall"}),
        ("state", {}),
        ("tags", {"tag": "rack::7"}),
        ("zones", {"zone": zone["uuid"]}),
    ):
        await browser.get(STORAGE)
        shown = await browser.send(f"{STORAGE}/{action}", **fields)
        assert (shown.status, shown.headers["Location"]) == (303, STORAGE), action
    item = (await server.query(q=f"uuid={ANY}"))[1]["inventories"][0]
    assert (item["name"], item["description"], item["state"]) == ("after", "of the new hall", "Disabled")
    assert item["attachedZoneUuids"] == [zone["uuid"]]
    words = (await browser.get(STORAGE)).words
    assert "rack::7" in words
    assert "east" in words
    for action in ("state", "tags/delete", "zones/detach"):
        await browser.get(STORAGE)
        assert (await browser.send(f"{STORAGE}/{action}")).status == 303
    item = (await server.query(q=f"uuid={ANY}"))[1]["inventories"][0]
    assert (item["state"], item["attachedZoneUuids"]) == ("Enabled", [])
    await browser.get("/zones")
    await browser.send(f"/zones/{zone['uuid']}/delete")
    assert (await server.call("GET", "/zones"))[1]["inventories"] == []


@pytest.mark.asyncio
async def test_what_the_api_refuses_is_said(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY))
    await browser.get(STORAGE)
    shown = await browser.send(f"{STORAGE}/edit", name="")
    assert shown.status == 400
    assert "field[name]" in shown.words
    await browser.get(STORAGE)
    shown = await browser.send(f"{STORAGE}/tags", tag="agentEnrollment::something")
    assert "is a system tag" in shown.words


@pytest.mark.asyncio
async def test_a_reconnect_shows_its_progress_and_its_end(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY, name="store-7"))
    await browser.get(STORAGE)
    shown = await browser.send(f"{STORAGE}/reconnect", code="")
    assert shown.headers["Location"].startswith("/jobs/")
    words = await job_of(browser)
    assert "Reconnect: store-7" in words
    assert "Done" in words


@pytest.mark.asyncio
async def test_a_job_that_fails_shows_the_reason_and_its_cure(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY))
    server.fleet.fail = StorageProblem.of(ReasonCode.AGENT_UNREACHABLE, "10.0.0.7:7765: Connection refused")
    await browser.get(STORAGE)
    await browser.send(f"{STORAGE}/reconnect", code="")
    words = await job_of(browser)
    for text in ("It failed.", "Nothing answers on the agent's port.", "10.0.0.7:7765", "What to do: Start the agent"):
        assert text in words
    listed = (await browser.get("/jobs?state=Failed")).words
    assert "BS.AgentUnreachable" in listed


@pytest.mark.asyncio
async def test_a_storage_is_deleted_by_who_types_its_name(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY, name="store-7"))
    for typed in ("", "store-", "STORE-7", "store-7 "):
        shown = await browser.get(f"{STORAGE}/delete")
        assert (shown.status, "Permissive" in shown.words, "Enforcing" in shown.words) == (200, True, True)
        shown = await browser.send(f"{STORAGE}/delete", name=typed, mode="Permissive")
        assert (shown.status, "nothing was deleted" in shown.words) == (400, True)
    assert len((await server.query())[1]["inventories"]) == 1, "to look at the page deletes nothing"
    await browser.send(f"{STORAGE}/delete", name="store-7", mode="Enforcing")
    assert "Done" in await job_of(browser)
    assert (await server.query())[1]["inventories"] == []
    assert (await browser.get(STORAGE)).status == 404


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["", "permissive", "Both"])
async def test_a_deletion_has_one_of_two_modes(mode: str, server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY, name="store-7"))
    await browser.get(f"{STORAGE}/delete")
    assert (await browser.send(f"{STORAGE}/delete", name="store-7", mode=mode)).status == 400
    assert len((await server.query())[1]["inventories"]) == 1


@pytest.mark.asyncio
async def test_sessions_are_listed_and_ended(server: Server, browser: Looker) -> None:
    async with looker(server) as other, looker(server) as third:
        await other.log_in()
        await third.log_in()
        shown = await browser.get("/sessions")
        assert shown.text.count(">End</button>") == 3  # two browsers, and the client of the API
        await browser.send("/sessions/end")
        ended = [one for one in (other, third) if (await one.get("/")).status == 303]
        api = (await server.query())[0]
        assert len(ended) + (api != 200) == 1
        await browser.get("/sessions")
        await browser.send("/sessions/end-others")
        assert [(await one.get("/")).status for one in (other, third, browser)] == [303, 303, 200]
        assert (await server.query())[0] == 503


@pytest.mark.asyncio
async def test_a_session_of_another_is_not_ended(server: Server, browser: Looker) -> None:
    await browser.get("/sessions")
    for handle in (server.session, "0" * 20, ""):
        shown = await browser.post("/sessions/end", browser.last.forms["/log-out"] | {"session": handle})
        assert shown.status == 404
        await browser.get("/sessions")
    assert (await server.query())[0] == 200


@pytest.mark.asyncio
async def test_the_secret_of_a_key_is_shown_once(server: Server, browser: Looker) -> None:
    await browser.get("/access-keys")
    shown = await browser.send("/access-keys", description="nightly")
    secret = re.search(r'id="secret">(\w{40})<', shown.text)
    assert secret
    assert "nightly" in shown.words
    for path in ("/access-keys", "/jobs"):
        assert secret[1] not in (await browser.get(path)).text
    await browser.get("/access-keys")
    assert (await browser.send("/access-keys/delete")).status == 303
    async with server.database.reading() as connection:
        assert (await connection.execute(select(access_key))).all() == []


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, ["Name", "Host", "Directory", "Code"]),
        ({"name": "n", "hostname": "a b", "url": "images", "code": "x"}, ["must be a host name", "absolute path"]),
        ({"name": "n", "hostname": "h", "url": "/i", "code": "agentEnrollment::short"}, ["enrolment code"]),
        ({"name": "n", "hostname": "h", "url": "/i", "by": "ssh"}, ["User"]),
        ({"name": "n", "hostname": "h", "url": "/i", "by": "ssh", "username": "r", "sshPort": "99999"}, ["SSH port"]),
        ({"kind": "ceph", "name": "n"}, ["Mon hosts"]),
        ({"kind": "ceph", "name": "n", "hosts": "mon-1\nmon-1", "by": "ssh", "username": "r"}, ["names a host twice"]),
    ],
)
@pytest.mark.asyncio
async def test_a_form_with_faults_adds_nothing(
    fields: dict[str, str], wrong: list[str], server: Server, browser: Looker
) -> None:
    await browser.get(f"/add?kind={fields.get('kind', '')}")
    form = browser.last.forms["/add"] | {"by": "code"} | fields
    shown = await browser.post("/add", form)
    assert shown.status == 400
    for text in wrong:
        assert text in shown.words
    checked = await browser.post("/add/check", form)
    assert checked.status == 200
    async with server.database.reading() as connection:
        assert (await connection.execute(select(backup_storage))).all() == []


@pytest.mark.parametrize(
    ("given", "hostname", "tags"),
    [
        ("", "", []),
        ("  ", "mon-1", []),
        ("CODE", "", ["agentEnrollment::CODE"]),
        (" agentEnrollment::CODE\r\nPass this line as a system tag", "", ["agentEnrollment::CODE"]),
        ("agentEnrollment::mon-1::CODE", "mon-2", ["agentEnrollment::mon-2::CODE"]),
    ],
)
def test_a_code_is_taken_as_it_was_printed(given: str, hostname: str, tags: list[str]) -> None:
    assert enrolment(given, hostname) == tags


@pytest.mark.asyncio
async def test_ceph_hosts_become_urls_and_codes(server: Server, browser: Looker) -> None:
    await browser.get("/add?kind=ceph")
    lines = "mon-1:2222\r\n[fe80::1]/?monPort=3300\r\n\r\nmon-3"
    log_in = {"by": "ssh", "username": "root", "password": PASSWORD, "sshPort": "22"}
    shown = await browser.send("/add", name="pool", hosts=lines, poolName="bak", **log_in)
    assert PASSWORD not in shown.headers["Location"]
    assert "Done" in await job_of(browser)
    item = (await server.query())[1]["inventories"][0]
    assert [(mon["hostname"], mon["monPort"]) for mon in sorted(item["mons"], key=lambda mon: mon["hostname"])] == [
        ("fe80::1", 3300), ("mon-1", 6789), ("mon-3", 6789),
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_no_secret_of_a_form_comes_back(browser: Looker) -> None:
    secrets = {"password": "the password", "code": "agentEnrollment::the-code-itself"}
    await browser.get("/add")
    shown = await browser.send("/add", name="", by="ssh", **secrets)
    await browser.get("/add?kind=ceph")
    other = await browser.send("/add", hosts="root:the-word@mon-1 the-code\nmon-2 another-code", name="", by="code")
    for text in ("the password", "the-code", "the-word", "another-code"):
        assert text not in shown.text + other.text
    assert "mon-1\nmon-2" in other.text
