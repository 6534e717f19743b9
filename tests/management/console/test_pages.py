"""What all pages have in common: their headers, what is made of hostile texts, and what stands in none of them."""

import re

import pytest
from sqlalchemy import select

from bs_agent.management.access.sessions import Door
from bs_agent.management.console.routes import LOOKS
from bs_agent.management.store.database import DatabaseUnavailable
from bs_agent.management.store.tables import host, session
from tests.management.console.looking import Looker, Shown
from tests.management.server import Server, ceph_row, mon_row, storage_row

pytestmark = pytest.mark.asyncio

ANY = "1" * 32
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}&amp;${7}"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def concrete(path: str) -> str:
    return path.replace("{uuid}", ANY)


def check_headers(shown: Shown, *, stored: bool = False) -> None:
    headers = shown.headers
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert stored or headers["Cache-Control"] == "no-store"


async def test_every_answer_has_the_headers(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY))
    for path in map(concrete, [*LOOKS, "/log-in", "/storages/nothing"]):
        check_headers(await browser.get(path))
        check_headers(await browser.get(path, HX_Request="true"))
    check_headers(await browser.post("/zones", {}))
    browser.http.cookie_jar.clear()
    for path in map(concrete, LOOKS):
        check_headers(await browser.get(path))
        check_headers(await browser.get(path, HX_Request="true"))
        check_headers(await browser.get(path, Sec_Fetch_Site="cross-site"))
    check_headers(await browser.post("/log-in", {}))


async def test_texts_of_others_stay_texts(server: Server, browser: Looker) -> None:
    reason = {"code": "AgentFault", "details": HOSTILE}
    row = ceph_row(uuid=ANY, name=HOSTILE, description=HOSTILE, poolName=HOSTILE, statusReason=reason)
    await server.store(row, storage_row(name=HOSTILE, url=f"/{HOSTILE}", hostname=HOSTILE))
    for path, body in (
        ("/zones", {"params": {"name": HOSTILE, "description": HOSTILE}}),
        ("/user-tags", {"params": {"resourceType": "BackupStorageVO", "resourceUuid": ANY, "tag": HOSTILE}}),
        ("/accesskeys", {"params": {"description": HOSTILE}}),
    ):
        assert (await server.call("POST", path, json=body))[0] == 200
    seen = 0
    for path in ("/", f"/storages/{ANY}", f"/storages/{ANY}/delete", "/zones", "/access-keys"):
        shown = await browser.get(path)
        seen += shown.text.count("&lt;script&gt;alert(1)")
        assert "{{7*7}}" in shown.text
        for mark, attributes in shown.marks:
            assert mark != "img"
            assert mark != "script" or "src" in attributes
            assert not [name for name in attributes if name.startswith("on")]
    assert seen > 8


async def test_what_the_url_says_stays_text(browser: Looker) -> None:
    for path in ("/?q=", "/?zone=", "/agents?q=", "/events?resource=", "/log-in?next=", "/add?name=", "/add?by="):
        shown = await browser.get(path + "%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
        assert shown.status in {200, 400}, path
        assert "<script>alert" not in shown.text
    shown = await browser.get("/jobs/%22%3E%3Cscript%3Ealert(1)")
    assert (shown.status, "<script>alert" in shown.text) == (404, False)


async def test_no_page_has_script_or_style_of_its_own(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY))
    for path in [*LOOKS, "/storages/nothing", "/log-in", "/add?kind=ceph"]:
        text = (await browser.get(concrete(path))).text
        assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)|<style|\sstyle=|\son\w+=|javascript:|hx-on", text), path
        assert not re.search(r"(src|href|action)=\"(https?:)?//", text), path


async def test_no_page_tells_what_opens_a_session(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY))
    caller = await server.auth.check(browser.cookie, "127.0.0.1", Door.CONSOLE)
    async with server.database.reading() as connection:
        rows = (await connection.execute(select(session.c.uuid, session.c.hash))).all()
    secret = {
        browser.cookie,
        server.session,
        caller.session,
        caller.session_hash,
        *(each for row in rows for each in row),
    }
    for path in LOOKS:
        text = (await browser.get(concrete(path))).text
        assert not [each for each in secret if each in text], path


async def test_what_is_not_there_is_said_as_a_page(browser: Looker) -> None:
    shown = await browser.get("/storages/nothing")
    assert (shown.status, shown.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such thing" in shown.words
    part = await browser.get("/jobs/nothing", HX_Request="true")
    assert (part.status, "<html" in part.text) == (404, False)


async def test_a_database_that_is_away_is_said_as_a_page(
    server: Server, browser: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise DatabaseUnavailable("the database does not answer: gone")

    monkeypatch.setattr(server.database, "reading", away)
    shown = await browser.get("/")
    assert shown.status == 503
    assert "the database does not answer: gone" in shown.words


async def test_a_fault_of_ours_tells_nothing(
    server: Server, browser: Looker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(server.database, "reading", broken)
    shown = await browser.get("/zones")
    assert (shown.status, "the secret inside" in shown.text) == (503, False)
    assert "the secret inside" in caplog.text
    assert browser.cookie not in caplog.text


async def test_paths_of_the_api_answer_as_ever(server: Server, browser: Looker) -> None:
    for path in ("/nothing", "/zstack/v1/nothing", "/storages"):
        async with server.http.get(f"http://{server.address}{path}") as response:
            assert (response.status, response.content_type) == (404, "application/json")


async def test_a_storage_shows_all_that_belongs_to_it(server: Server, browser: Looker) -> None:
    alone = {"code": "MonOutOfQuorum", "details": "mon-2 is not in the quorum"}
    row = ceph_row(uuid=ANY, name="pool-7", poolStored=2**40, poolMaxAvail=2**41)
    await server.store(row)
    mons = [mon_row(ANY, "mon-1"), mon_row(ANY, "mon-2") | {"statusReason": alone}]
    async with server.database.writing() as connection:
        for mon in mons:
            await connection.execute(host.insert().values(mon))
    words = (await browser.get(f"/storages/{ANY}")).words
    for text in ("pool-7", "1 TiB", "2 TiB", "There is a quorum; out of it: mon-2.", "Start the mon, look at its log"):
        assert text in words
