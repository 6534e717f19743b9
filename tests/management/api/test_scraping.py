"""What Prometheus asks for: for a token made for that, or a session; for nobody else, and not without bounds."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import hdrs, web
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from bs_agent.contract.errors import OperationFailed, StorageProblem, Unauthorized
from bs_agent.contract.reasons import ReasonCode
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.http import render_errors, serving
from bs_agent.management.access import scrape_tokens as module
from bs_agent.management.access.scrape_tokens import MOST_TOKENS, ScrapeTokens
from bs_agent.management.api import scraping
from bs_agent.management.api.scraping import AGENTS_AT_ONCE, TARGETS, Scraping
from bs_agent.management.hosts.agent_client import Scraped
from bs_agent.management.metrics.registry import Metrics
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.figures import AgentPlace
from bs_agent.management.store.scrape_tokens import ScrapeTokenStore
from bs_agent.management.store.tables import scrape_token
from tests.beds.inventory import agent_of, fill, storages
from tests.management.server import Server, serving_node

pytestmark = pytest.mark.asyncio


UUID = "7" * 32
PATHS = ("/metrics", TARGETS, f"/prometheus/agents/{UUID}/metrics")


async def _scrape(server: Server, authorization: str | None = None, path: str = "/metrics") -> tuple[int, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with server.http.get(f"http://{server.address}{path}", headers=headers) as response:
        assert (response.status == 401) == (response.headers.get(hdrs.WWW_AUTHENTICATE) == "Bearer")
        return response.status, await response.text()


async def test_a_token_scrapes_and_does_nothing_else(database: Database) -> None:
    async with serving_node(database) as server:
        store = ScrapeTokenStore(database)
        token = await ScrapeTokens(store).make("prometheus")
        status, text = await _scrape(server, f"Bearer {token}")
        assert status == 200
        status, text = await _scrape(server, f"bearer {token}")
        families = {family.name: family for family in text_string_to_metric_families(text)}
        counted = families["bs_management_requests"].samples
        assert [
            sample.value for sample in counted if sample.labels["route"] == "/metrics" and "total" in sample.name
        ] == [1]
        for kind in ("Bearer", "OAuth"):
            status, answer = await server.call("GET", "/zones", headers={"Authorization": f"{kind} {token}"})
            assert answer["error"]["code"] in {"SYS.1007", "ID.1001"}
        async with database.reading() as connection:
            rows = (await connection.execute(select(scrape_token))).all()
        assert [row.hash for row in rows] == [hashlib.sha256(token.encode()).hexdigest()]
        assert token not in str(rows)
        assert await store.delete(rows[0].uuid)
        assert (await _scrape(server, f"Bearer {token}"))[0] == 401


NOBODY: dict[str, Callable[[Server], str | None]] = {
    "nothing": lambda _: None,
    "no scheme": lambda _: "",
    "no token": lambda _: "Bearer",
    "an empty token": lambda _: "Bearer ",
    "another token": lambda _: "Bearer " + "x" * 43,
    "a session as a token": lambda server: f"Bearer {server.session}",
    "odd letters": lambda _: "Bearer \u00e4\udcff",
}


@pytest.mark.parametrize("nobody", NOBODY.values(), ids=NOBODY)
async def test_nobody_else_sees_anything(server: Server, nobody: Callable[[Server], str | None]) -> None:
    await ScrapeTokens(ScrapeTokenStore(server.database)).make("prometheus")
    for path in PATHS:
        status, text = await _scrape(server, nobody(server), path)
        assert (status, "bs_management" in text, '"code":"SYS.1007"' in text) == (401, False, True)


async def test_a_session_scrapes_too(server: Server) -> None:
    assert (await _scrape(server, f"OAuth {server.session}"))[0] == 200
    status, text = await _scrape(server, f"OAuth {'0' * 32}")
    assert (status, "ID.1001" in text) == (503, True)
    assert (await _scrape(server, "Basic YWRtaW46cGFzc3dvcmQ="))[0] == 400


async def test_a_token_that_was_good_is_good_while_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = ScrapeTokens(ScrapeTokenStore(database))
    token, other = await tokens.make("a"), await tokens.make("b")
    assert await tokens.holds(token)

    async def away(_self: object, _digest: str) -> bool:
        raise DatabaseUnavailable("away")

    async def silent(_self: object, _digest: str) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(module, "_DEADLINE", 0.1)
    for fault in (away, silent):
        with monkeypatch.context() as patch:
            patch.setattr(ScrapeTokenStore, "holds", fault)
            assert await tokens.holds(token)
            assert not await tokens.holds(other), "it was never seen to be good"
    for one in await ScrapeTokenStore(database).all():
        await ScrapeTokenStore(database).delete(one.uuid)
    assert not await tokens.holds(token)
    monkeypatch.setattr(ScrapeTokenStore, "holds", away)
    assert not await tokens.holds(token), "it was taken away before"


async def test_there_are_only_so_many_tokens(database: Database) -> None:
    tokens = ScrapeTokens(ScrapeTokenStore(database))
    for _ in range(MOST_TOKENS):
        await tokens.make("x")
    with pytest.raises(OperationFailed, match="there are 100 tokens"):
        await tokens.make("x")


async def test_a_head_is_answered_without_a_body(server: Server) -> None:
    token = await ScrapeTokens(ScrapeTokenStore(server.database)).make("prometheus")
    for path in PATHS:
        for sent, status in ((token, 200), ("x" * 43, 401)):
            headers = {"Authorization": f"Bearer {sent}"}
            async with server.http.head(f"http://{server.address}{path}", headers=headers) as response:
                assert (response.status, await response.read()) == (status, b"")


async def test_every_agent_is_listed_and_reached_through_this_node(server: Server) -> None:
    token = f"Bearer {await ScrapeTokens(ScrapeTokenStore(server.database)).make('prometheus')}"
    assert await _scrape(server, token, TARGETS) == (200, "[]")
    await fill(server.database, storages(30))
    async with server.http.get(f"http://{server.address}{TARGETS}", headers={"Authorization": token}) as response:
        assert response.content_type == "application/json"
        listed = await response.json()
    by_agent = {group["labels"]["agent"]: group for group in listed}
    assert len(by_agent) == len(listed) > 9
    assert by_agent[agent_of("host-1")] == {
        "targets": [str(server.address)],
        "labels": {
            "instance": "host-1:7765",
            "agent": agent_of("host-1"),
            "__scheme__": "http",
            "__metrics_path__": f"/prometheus/agents/{agent_of('host-1')}/metrics",
            "__meta_bs_agent_hostname": "host-1",
            "__meta_bs_agent_port": "7765",
        },
    }
    assert "tokenSecret" not in str(listed)
    assert "secret" not in str(listed)


@asynccontextmanager
async def _alone(scrape: scraping.ScrapeAgent, places: list[AgentPlace], url: str = "") -> AsyncIterator[str]:
    """Serve the handlers for anybody's session; yields where."""

    async def found() -> list[AgentPlace]:
        return places

    async def is_session(request: web.Request) -> None:
        if request.headers["Authorization"] != "OAuth mine":
            raise Unauthorized("")

    app = web.Application(middlewares=[render_errors])
    app.add_routes(Scraping(Metrics(), None, found, scrape, url).routes(is_session))  # type: ignore[arg-type]
    async with serving(app, Address("127.0.0.1", 0), None) as address:
        yield f"http://{address}"


async def test_an_agents_metrics_are_handed_on_as_they_are() -> None:
    asked: list[tuple[str, str]] = []

    async def scrape(uuid: str, accept: str) -> Scraped | None:
        asked.append((uuid, accept))
        if uuid == "9" * 32:
            raise StorageProblem.of(ReasonCode.AGENT_UNREACHABLE, "host: refused")
        return Scraped(b"up 1\n" * 200_000, "text/plain; version=0.0.4; charset=utf-8") if uuid == UUID else None

    async with _alone(scrape, []) as url, aiohttp.ClientSession(headers={"Authorization": "OAuth mine"}) as http:
        async with http.get(f"{url}/prometheus/agents/{UUID}/metrics", headers={"Accept": "a/b"}) as response:
            assert (response.status, response.headers["Content-Type"]) == (
                200,
                "text/plain; version=0.0.4; charset=utf-8",
            )
            assert await response.read() == b"up 1\n" * 200_000
        assert asked == [(UUID, "a/b")]
        for uuid, status in (("8" * 32, 404), ("x", 404), ("..%2f..", 404), ("9" * 32, 503)):
            async with http.get(f"{url}/prometheus/agents/{uuid}/metrics") as response:
                assert response.status == status
        assert [uuid for uuid, _ in asked] == [UUID, "8" * 32, "9" * 32]


async def test_only_so_many_agents_are_asked_at_once() -> None:
    go, full, under_way = asyncio.Event(), asyncio.Event(), 0

    async def scrape(_uuid: str, _accept: str) -> Scraped:
        nonlocal under_way
        under_way += 1
        if under_way == AGENTS_AT_ONCE:
            full.set()
        await go.wait()
        return Scraped(b"", "text/plain; version=0.0.4")

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(_alone(scrape, []))
        session = aiohttp.ClientSession(
            headers={"Authorization": "OAuth mine"}, connector=aiohttp.TCPConnector(limit=0)
        )
        http = await stack.enter_async_context(session)

        async def status() -> int:
            async with http.get(f"{url}/prometheus/agents/{UUID}/metrics") as response:
                return response.status

        asking = [asyncio.create_task(status()) for _ in range(AGENTS_AT_ONCE)]
        await full.wait()
        assert await status() == 503
        go.set()
        assert set(await asyncio.gather(*asking)) == {200}
        assert await status() == 200


async def test_who_does_not_take_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scraping, "WRITE_DEADLINE", 0.2)

    async def scrape(_uuid: str, _accept: str) -> Scraped:
        return Scraped(b"x" * (1 << 26), "text/plain; version=0.0.4")

    async with _alone(scrape, []) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
        head = f"GET /prometheus/agents/{UUID}/metrics HTTP/1.1\r\nHost: h\r\nAuthorization: OAuth mine\r\n\r\n"
        writer.write(head.encode())
        read = 0
        with suppress(ConnectionError):
            while some := await reader.read(1 << 16):
                read += len(some)
                await asyncio.sleep(0.01)  # so it would take ten seconds
        assert read < 1 << 26
        writer.close()


async def test_the_address_that_clients_see_is_told() -> None:
    async def scrape(_uuid: str, _accept: str) -> None:
        return None

    for told, scheme, host in (
        ("https://balancer.example", "https", "balancer.example"),
        ("", "http", "as.the.request.says:1"),
    ):
        async with (
            _alone(scrape, [AgentPlace(UUID, "::1", 7765)], told) as url,
            aiohttp.ClientSession(headers={"Authorization": "OAuth mine", "Host": "as.the.request.says:1"}) as http,
            http.get(f"{url}{TARGETS}") as response,
        ):
            (group,) = await response.json()
            assert (group["targets"], group["labels"]["__scheme__"]) == ([host], scheme)
            assert group["labels"]["instance"] == "[::1]:7765"
