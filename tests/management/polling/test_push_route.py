"""The route for pushed reports: who may use it, how much it takes, and whose storages a report can be about."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from bs_agent.contract.enrollment import enrollment_id, token_hash
from bs_agent.contract.push import PUSH_PATH, push_token
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import HostReport, ImageStoreReport
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.connection import connector
from bs_agent.daemon.http import render_errors, serving
from bs_agent.management.hosts.agent_client import MAX_ANSWER
from bs_agent.management.polling import places
from bs_agent.management.polling import receive as push
from tests.beds.fleet import POLL, FleetBed, fleet, image_store, until
from tests.beds.played import TOKEN, Played, players

pytestmark = pytest.mark.asyncio

BEARER = f"Bearer {push_token(token_hash(TOKEN))}"
GONE = Reason(code=ReasonCode.MARKER_MISSING, details="seen")


@dataclass
class Route:
    """The route with a fleet behind it, which serves one storage of one played agent."""

    bed: FleetBed
    http: aiohttp.ClientSession
    url: str
    agent: Played
    uuid: str

    def report(self, **more: Any) -> HostReport:
        """Return what the agent reports when its directory has lost the marker."""
        known = self.agent.storages[self.uuid]
        assert isinstance(known, ImageStoreReport)
        usage = known.usage.model_copy(update={"reason": GONE, "stale": True})
        return self.agent.report().model_copy(update={"storages": [known.model_copy(update={"usage": usage})], **more})

    async def push(
        self, body: HostReport | bytes, bearer: str = BEARER, enrollment: str = enrollment_id(TOKEN)
    ) -> tuple[int, dict[str, Any]]:
        """Push a body; return status and answer."""
        data = body if isinstance(body, bytes) else body.model_dump_json().encode()
        sent = {"Authorization": bearer}
        where = self.url + PUSH_PATH.format(id=enrollment)
        async with self.http.post(where, data=io.BytesIO(data), headers=sent) as answer:
            return answer.status, await answer.json()


@pytest_asyncio.fixture
async def route(tmp_path: Path) -> AsyncIterator[Route]:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(players(tmp_path))
        agent = await stage.add("127.0.0.2")
        bed = await stack.enter_async_context(fleet(tmp_path, poll={**POLL, "interval": 3600}))
        parameters = image_store(Path("/images"), hostname="127.0.0.2", systemTags=[f"agentEnrollment::{agent.code}"])
        uuid = await bed.service.add_image_store(parameters)
        app = web.Application(middlewares=[render_errors])
        app.add_routes(bed.service.pushes.routes())
        address = await stack.enter_async_context(serving(app, Address("127.0.0.1", 0), None))
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector()))
        yield Route(bed, http, f"http://{address}", agent, uuid)


async def test_a_report_is_taken(route: Route) -> None:
    assert await route.push(route.report()) == (200, {})
    await route.bed.reaches(route.uuid, ("Disconnected", "MarkerMissing"))


@pytest.mark.parametrize(
    ("bearer", "enrollment"),
    [
        ("", enrollment_id(TOKEN)),
        ("Bearer", enrollment_id(TOKEN)),
        (f"Bearer {TOKEN}", enrollment_id(TOKEN)),
        (BEARER + "0", enrollment_id(TOKEN)),
        (BEARER.replace("Bearer", "Basic"), enrollment_id(TOKEN)),
        ("Bearer \u00e9", enrollment_id(TOKEN)),
        (BEARER, "0" * 32),
        (BEARER, "'"),
    ],
)
async def test_a_stranger_is_refused(route: Route, bearer: str, enrollment: str) -> None:
    status, answer = await route.push(route.report(), bearer, enrollment)
    assert (status, answer["error"]["code"]) == (401, "BS.AgentUnauthorized")
    assert TOKEN not in str(answer)
    assert await route.bed.status(route.uuid) == ("Connected", "")


async def test_a_path_that_no_database_can_hold_is_refused(route: Route) -> None:
    status, answer = await route.push(route.report(), BEARER, "%00")
    assert (status, answer["error"]["code"]) == (400, "SYS.1007")


async def test_a_token_that_is_no_text_is_refused(route: Route) -> None:
    host, _, port = route.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = PUSH_PATH.format(id=enrollment_id(TOKEN)).encode()
    writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer \xff\r\nContent-Length: 0\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"401"
    writer.close()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"hostname": 1}', b'{"a":' * 10_000], ids=["empty", "cut", "list", "wrong", "deep"]
)
async def test_a_body_that_is_no_report_is_refused(route: Route, body: bytes) -> None:
    status, answer = await route.push(body)
    assert (status, answer["error"]["code"]) == (400, "SYS.1007")
    assert await route.bed.status(route.uuid) == ("Connected", "")


async def test_how_much_is_taken(route: Route) -> None:
    large = route.report(hostname="x" * 2 * 1024 * 1024)
    assert (await route.push(large))[0] == 200
    assert (await route.push(b" " * (MAX_ANSWER + 1)))[0] == 413


async def test_a_report_is_about_the_storages_of_its_agent_only(route: Route) -> None:
    before = route.report()
    foreign = before.storages[0].model_copy(update={"uuid": "f" * 32})
    own = route.agent.storages[route.uuid]
    assert (await route.push(before.model_copy(update={"storages": [own, foreign]})))[0] == 200
    assert await route.bed.status(route.uuid) == ("Connected", "")
    assert await route.bed.shown("f" * 32) is None


@pytest.mark.parametrize("module", [push, places], ids=["look-ups", "bodies"])
async def test_more_than_a_few_at_once_are_put_off(
    route: Route, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 0)
    status, answer = await route.push(route.report())
    assert (status, answer["error"]["description"]) == (503, "The server has too much to do")


async def test_who_is_put_off_is_told_when_to_come_back(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    where = route.url + PUSH_PATH.format(id=enrollment_id(TOKEN))

    async def told() -> tuple[int, str | None]:
        async with route.http.post(where, data=b"{}", headers={"Authorization": BEARER}) as answer:
            return answer.status, answer.headers.get("Retry-After")

    for module in (push, places):
        with monkeypatch.context() as patch:
            patch.setattr(module, "AT_ONCE", 0)
            assert await told() == (503, "1")
    route.bed.service.pushes._places = places.Places(lambda: 0.0)
    assert [await told() for _ in range(places.BURST + 1)] == [(400, None)] * places.BURST + [(429, "1")]


async def test_of_many_that_push_at_once_none_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "AT_ONCE", 2)
    monkeypatch.setattr(push, "AT_ONCE", 2)
    statuses: list[int] = []
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(players(tmp_path))
        bed = await stack.enter_async_context(fleet(tmp_path, poll={**POLL, "interval": 3600}))
        app = web.Application(middlewares=[render_errors])
        app.add_routes(bed.service.pushes.routes())
        address = await stack.enter_async_context(serving(app, Address("127.0.0.1", 0), None))
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector()))
        routes = []
        for number in range(2, 12):
            host = f"127.0.0.{number}"
            agent = await stage.add(host, token=f"{TOKEN}-{number}")
            uuid = await bed.service.add_image_store(
                image_store(Path("/images"), hostname=host, systemTags=[f"agentEnrollment::{agent.code}"])
            )
            routes.append(Route(bed, http, f"http://{address}", agent, uuid))

        async def insist(route: Route) -> None:
            bearer = f"Bearer {push_token(token_hash(route.agent.token))}"
            where = route.url + PUSH_PATH.format(id=enrollment_id(route.agent.token))
            body = route.report().model_dump_json().encode()
            while True:
                async with http.post(where, data=body, headers={"Authorization": bearer}) as answer:
                    statuses.append(answer.status)
                    if answer.status == 200:
                        return
                    await asyncio.sleep(int(answer.headers["Retry-After"]) / 100)

        await asyncio.gather(*map(insist, routes))
        assert sorted(set(statuses)) == [200, 503]
        for route in routes:
            await bed.reaches(route.uuid, ("Disconnected", "MarkerMissing"))


async def test_a_flood_of_one_sender_is_refused(route: Route) -> None:
    route.bed.service.pushes._places = places.Places(lambda: 0.0)
    told = route.report()
    statuses = [(await route.push(told))[0] for _ in range(places.BURST + 2)]
    assert statuses == [200] * places.BURST + [429, 429]


async def test_bodies_that_drip_take_no_place_of_others(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bs_agent.daemon.http.BODY_DEADLINE", 600)

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    where = route.url + PUSH_PATH.format(id=enrollment_id(TOKEN))
    slow = [
        asyncio.create_task(route.http.post(where, data=drip(), headers={"Authorization": BEARER}).__aenter__())
        for _ in range(places.AT_ONCE)
    ]

    async def all_others_are_refused() -> bool:
        return sum(task.done() for task in slow) == places.AT_ONCE - places.OF_ONE

    await until(all_others_are_refused)
    assert {task.result().status for task in slow if task.done()} == {429}
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
