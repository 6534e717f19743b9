"""The metrics of the management node: for a token made for that, or a session; for nobody else."""

import asyncio
import hashlib
from collections.abc import Callable

import pytest
from aiohttp import hdrs
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from bs_agent.contract.errors import OperationFailed
from bs_agent.management.access import scrape_tokens as module
from bs_agent.management.access.scrape_tokens import MOST_TOKENS, ScrapeTokens
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.scrape_tokens import ScrapeTokenStore
from bs_agent.management.store.tables import scrape_token
from tests.management.server import Server, serving_node

pytestmark = pytest.mark.asyncio


async def _scrape(server: Server, authorization: str | None = None) -> tuple[int, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with server.http.get(f"http://{server.address}/metrics", headers=headers) as response:
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
    status, text = await _scrape(server, nobody(server))
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
