"""Who may look and who may change: cookies, the token of the forms, where they come from, and what a session is."""

import re

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from sqlalchemy import select

from bs_agent.management.access.sessions import Door
from bs_agent.management.console.door import Cookies, ForeignForm, check_form, token_of
from bs_agent.management.console.routes import CHANGES, LOOKS
from bs_agent.management.store.tables import access_key, session
from tests.management.console.looking import Looker, looker
from tests.management.server import PASSWORD, Server, serving_node, storage_row

pytestmark = pytest.mark.asyncio

ANY = "1" * 32
COOKIE = r"bs-console=([0-9a-f]{32}); HttpOnly; Path=/; SameSite=Strict"


def concrete(path: str) -> str:
    return path.replace("{uuid}", ANY)


async def test_a_log_in_sets_a_cookie_that_no_script_reads_and_no_other_site_sends(stranger: Looker) -> None:
    shown = await stranger.log_in()
    assert (shown.status, shown.headers["Location"]) == (303, "/")
    assert any(re.fullmatch(COOKIE, cookie) for cookie in shown.cookies), shown.cookies
    assert (await stranger.get("/")).status == 200


@pytest.mark.parametrize(("public_url", "name"), [("https://storage.example", "__Host-bs-console"), ("", "bs-console")])
async def test_over_tls_the_cookie_is_sent_over_tls_alone(public_url: str, name: str) -> None:
    request, response = make_mocked_request("GET", "/"), web.Response()
    Cookies(public_url).set_session(request, response, "secret")
    cookie = response.cookies[name]
    assert (bool(cookie["secure"]), cookie["httponly"], cookie["samesite"]) == (bool(public_url), True, "Strict")


@pytest.mark.parametrize("public_url", ["https://storage.example", "HTTPS://storage.example"])
async def test_a_form_comes_from_the_address_that_a_proxy_shows(public_url: str) -> None:
    for origin, fits in (("https://storage.example", True), ("https://storage.example.evil", False), ("", False)):
        request = make_mocked_request("POST", "/zones", headers={"Origin": origin, "Host": "10.0.0.1:8080"})
        if fits:
            check_form(request, "secret", token_of("secret"), public_url)
        else:
            with pytest.raises(ForeignForm, match=r"server\.public_url"):
                check_form(request, "secret", token_of("secret"), public_url)


async def test_any_node_knows_who_is_logged_in(server: Server, browser: Looker) -> None:
    async with serving_node(server.database) as other, looker(other) as there:
        there.http.cookie_jar.update_cookies({"bs-console": browser.cookie}, response_url=there.base_url)
        assert (await there.get("/zones")).status == 200
        await there.send("/zones", name="east")
        await there.get("/zones")
        await there.send("/log-out")
    assert (await browser.get("/zones")).status == 303


async def test_the_cookie_is_no_session_of_the_api_nor_the_reverse(server: Server, browser: Looker) -> None:
    for secret in (browser.cookie, f"console{browser.cookie}"):
        assert (await server.call("GET", "/backup-storage", oauth=secret))[0] == 503
    async with looker(server) as other:
        other.http.cookie_jar.update_cookies({"bs-console": server.session}, response_url=other.base_url)
        assert (await other.get("/")).headers["Location"] == "/log-in?next=%2F"


async def test_what_is_stored_of_a_cookie_is_a_hash(server: Server, browser: Looker) -> None:
    async with server.database.reading() as connection:
        rows = [str(value) for row in await connection.execute(select(session)) for value in row]
    assert browser.cookie not in rows
    assert (await server.auth.check(browser.cookie, "127.0.0.1", Door.CONSOLE)).session in rows


async def test_who_is_not_logged_in_is_shown_nothing(server: Server, stranger: Looker) -> None:
    await server.store(storage_row(uuid=ANY, name="a secret name"))
    for path in LOOKS:
        for cookie in ("", "x" * 43, server.session):
            if cookie:
                stranger.http.cookie_jar.update_cookies({"bs-console": cookie}, response_url=stranger.base_url)
            shown = await stranger.get(concrete(path))
            assert shown.status == 303
            assert shown.headers["Location"].startswith("/log-in?next=%2F")
            assert "a secret name" not in shown.text
        part = await stranger.get(concrete(path), HX_Request="true")
        assert (part.status, part.headers["HX-Redirect"]) == (401, "/log-in")


async def test_a_change_needs_its_token_and_to_come_from_here(server: Server, browser: Looker) -> None:
    await server.store(storage_row(uuid=ANY))
    good = (await browser.get("/zones")).forms["/log-out"]["token"]
    for path in [*CHANGES, "/log-out"]:
        for token, origin in (
            ("", browser.base), ("0" * 64, browser.base), (browser.cookie, browser.base), (good, "http://evil.example"),
            (good, "null"), (good, "none"), (good, browser.base.replace("http:", "https:")),
        ):  # fmt: skip
            browser.origin = origin
            shown = await browser.post(concrete(path), {"token": token})
            assert shown.status == 403, (path, token, origin)
            assert "not sent from a page of this console" in shown.words
    browser.origin = ""
    assert (await browser.get("/")).status == 200, "it is logged in still"


async def test_without_an_origin_the_browser_must_say_that_it_is_the_same(browser: Looker) -> None:
    good = (await browser.get("/zones")).forms["/zones"]
    for said, status in (("same-origin", 303), ("cross-site", 403), ("same-site", 403), ("none ", 403)):
        form = good | {"name": f"zone {said}"}
        assert (await browser.post("/zones", form, Origin="none", Sec_Fetch_Site=said)).status == status


async def test_a_token_is_good_for_its_own_session(server: Server, browser: Looker) -> None:
    token = (await browser.get("/zones")).forms["/zones"]["token"]
    async with looker(server) as other:
        await other.log_in()
        await other.get("/zones")
        assert (await other.send("/zones", token=token, name="east")).status == 403


async def test_a_change_of_nobody_goes_nowhere(stranger: Looker, server: Server) -> None:
    for path in CHANGES:
        shown = await stranger.post(concrete(path), {"token": "x"})
        assert shown.status == 403
    async with server.database.reading() as connection:
        assert not (await connection.execute(select(access_key))).all()


async def test_the_log_in_itself_is_sent_from_its_page(stranger: Looker) -> None:
    form = {"name": "admin", "password": PASSWORD, "next": "/"}
    shown = await stranger.post("/log-in", form)
    assert (shown.status, stranger.cookie) == (403, "")
    await stranger.get("/log-in")
    stranger.origin = "http://evil.example"
    shown = await stranger.send("/log-in", name="admin", password=PASSWORD)
    assert (shown.status, stranger.cookie) == (403, "")


async def test_wrong_passwords_count_with_those_of_the_api(server: Server, stranger: Looker) -> None:
    body = {"logInByAccount": {"accountName": "admin", "password": "wrong"}}
    for _ in range(15):
        assert (await server.call("PUT", "/accounts/login", json=body))[0] == 503
    for _ in range(15):
        shown = await stranger.log_in("wrong")
        assert (shown.status, "wrong account name or password" in shown.words) == (403, True)
    shown = await stranger.log_in()
    assert (shown.status, stranger.cookie) == (429, "")
    assert "too many failed log-ins" in shown.words
    assert (await server.call("PUT", "/accounts/login", json=body))[0] == 429


@pytest.mark.parametrize(
    ("wanted", "goes"),
    [
        ("/events?type=LogIn", "/events?type=LogIn"),
        ("//evil.example/x", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("", "/"),
    ],
)
async def test_a_log_in_leads_to_pages_of_ours_alone(wanted: str, goes: str, stranger: Looker) -> None:
    assert (await stranger.log_in(next=wanted)).headers["Location"] == goes


async def test_a_log_out_ends_the_session_on_the_server(server: Server, browser: Looker) -> None:
    cookie = browser.cookie
    await browser.get("/zones")
    shown = await browser.send("/log-out")
    assert (shown.status, shown.headers["Location"], browser.cookie) == (303, "/log-in", "")
    browser.http.cookie_jar.update_cookies({"bs-console": cookie}, response_url=browser.base_url)
    assert (await browser.get("/")).status == 303


async def test_a_new_log_in_ends_the_session_before(server: Server, browser: Looker) -> None:
    before = browser.cookie
    await browser.log_in()
    assert browser.cookie != before
    async with looker(server) as other:
        other.http.cookie_jar.update_cookies({"bs-console": before}, response_url=other.base_url)
        assert (await other.get("/")).status == 303


async def test_a_new_password_ends_the_sessions_of_browsers(server: Server, browser: Looker) -> None:
    await server.auth.set_password("admin", "another one altogether")
    assert (await browser.get("/")).status == 303


async def test_a_link_on_another_page_arrives(browser: Looker, stranger: Looker) -> None:
    """The cookie comes only with what begins here: so the page asks for itself once more."""
    browser.http.cookie_jar.clear()
    shown = await browser.get("/events?type=LogIn", Sec_Fetch_Site="cross-site")
    assert shown.status == 200
    assert '<meta http-equiv="refresh" content="0">' in shown.text
    assert 'href="/events?type=LogIn"' in shown.text
    assert (await browser.get("/events?type=LogIn", Sec_Fetch_Site="same-origin")).status == 303


async def test_what_refreshes_by_itself_lets_no_session_live_on(server: Server, browser: Looker) -> None:
    async def left() -> int:
        async with server.database.reading() as connection:
            return int(max((await connection.execute(select(session.c.expiredDate))).scalars()))

    async with server.database.writing() as connection:
        await connection.execute(session.update().values(expiredDate=session.c.expiredDate - 3600))
    before = await left()
    await browser.get("/", HX_Request="true")
    assert await left() == before
    await browser.get("/")
    assert await left() > before


@pytest.mark.parametrize("body", ["a=b" * 200_000, "&".join(f"f{at}=1" for at in range(200)), "token=%ff%fe"])
async def test_a_form_has_its_bounds(body: str, browser: Looker) -> None:
    shown = await browser._ask(
        "POST",
        "/zones",
        data=body,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Origin": browser.base},
    )
    assert shown.status in {400, 403, 413}
    odd = await browser._ask("POST", "/zones", data=b"{}", headers={"Content-Type": "text/plain"})
    assert odd.status == 415
