"""What Prometheus asks for: the metrics of this node, where the agents are, and the metrics of each agent.

Prometheus cannot pin a certificate, and has one token for all that it finds in one way. So it asks this node, which
has pinned them, and a token for each. What an agent answers is handed on as it is, within bounds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import hdrs, web
from pydantic_core import to_json

from bs_agent.contract.errors import NoSuchPath, Overloaded, Unauthorized
from bs_agent.contract.uuids import is_uuid
from bs_agent.daemon.connection import error_response
from bs_agent.daemon.deadlines import within
from bs_agent.management.access.scrape_tokens import ScrapeTokens
from bs_agent.management.hosts.agent_client import Scraped
from bs_agent.management.metrics.registry import Metrics
from bs_agent.management.store.database import DatabaseUnavailable
from bs_agent.management.store.figures import AgentPlace

TARGETS, OF_AGENT = "/prometheus/targets", "/prometheus/agents/{uuid}/metrics"
AGENTS_AT_ONCE = 64
"""Agents that are asked for their metrics at the same time: polls come first."""
WRITE_DEADLINE = 30.0
"""Seconds in which whoever scrapes has to take what it asked for."""
_DATABASE_DEADLINE = 6.0
_PIECE = 1 << 18

Session = Callable[[web.Request], Awaitable[None]]
Places = Callable[[], Coroutine[Any, Any, list[AgentPlace]]]
ScrapeAgent = Callable[[str, str], Awaitable[Scraped | None]]
"""Takes an agent's uuid and the formats that are accepted; None when there is no such agent."""


class Scraping:
    """The handlers. `public_url` is what clients put before the paths, when a proxy changes that."""

    def __init__(
        self, metrics: Metrics, tokens: ScrapeTokens, places: Places, scrape_agent: ScrapeAgent, public_url: str = ""
    ) -> None:
        self._metrics = metrics
        self._tokens = tokens
        self._places = places
        self._scrape_agent = scrape_agent
        self._public_url = public_url
        self._asked = 0

    def routes(self, is_session: Session) -> list[web.RouteDef]:
        """Return the routes: for who has a token made for that, or may make calls, which `is_session` sees."""

        def guarded(
            handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
        ) -> Callable[..., Awaitable[web.StreamResponse]]:
            async def handler(request: web.Request) -> web.StreamResponse:
                kind, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
                if kind.lower() != "bearer" and kind:
                    await is_session(request)
                elif not kind or not await self._tokens.holds(token.strip()):
                    return _refusal()
                if request.method == hdrs.METH_HEAD:
                    return web.Response()  # that it is there is all that is asked
                return await handle(request)

            return handler

        return [
            web.get("/metrics", guarded(self.metrics)),
            web.get(TARGETS, guarded(self.targets)),
            web.get(OF_AGENT, guarded(self.agent)),
        ]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Show the metrics of this node."""
        rendered = await self._metrics.render(request.headers.get(hdrs.ACCEPT, ""))
        return await _send(request, rendered.pieces, rendered.content_type)

    async def targets(self, request: web.Request) -> web.StreamResponse:
        """List the agents as Prometheus' discovery over HTTP wants it: each is scraped through this node."""
        try:
            found = await within(_DATABASE_DEADLINE, self._places())
        except TimeoutError:
            raise DatabaseUnavailable(f"the database did not answer within {_DATABASE_DEADLINE:.0f} s") from None
        scheme, _, host = (self._public_url or f"{request.scheme}://{request.host}").partition("://")
        listed = [_target(one, scheme, host) for one in found]
        return await _send(request, [to_json(listed)], "application/json")

    async def agent(self, request: web.Request) -> web.StreamResponse:
        """Hand on the metrics of an agent."""
        uuid = request.match_info["uuid"]
        async with self._place():
            accept = request.headers.get(hdrs.ACCEPT, "")
            scraped = await self._scrape_agent(uuid, accept) if is_uuid(uuid) else None
            if scraped is None:
                raise NoSuchPath("there is no such agent")
            return await _send(request, [scraped.body], scraped.content_type)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._asked >= AGENTS_AT_ONCE:
            raise Overloaded(f"{AGENTS_AT_ONCE} agents are being asked")
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1


def _target(one: AgentPlace, scheme: str, host: str) -> dict[str, object]:
    where = f"[{one.hostname}]" if ":" in one.hostname else one.hostname
    labels = {
        "instance": f"{where}:{one.port}",
        "agent": one.uuid,
        "__scheme__": scheme,
        "__metrics_path__": OF_AGENT.format(uuid=one.uuid),
        "__meta_bs_agent_hostname": one.hostname,
        "__meta_bs_agent_port": str(one.port),
    }
    return {"targets": [host], "labels": labels}


async def _send(request: web.Request, pieces: Iterable[bytes], content_type: str) -> web.StreamResponse:
    """Send what may be large a piece at a time, to whoever takes it in time."""
    whole = list(pieces)
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "no-store"})
    response.content_length = sum(map(len, whole))
    try:
        async with asyncio.timeout(WRITE_DEADLINE):
            await response.prepare(request)
            for piece in whole:
                for start in range(0, len(piece), _PIECE):
                    await response.write(piece[start : start + _PIECE])
            await response.write_eof()
    except TimeoutError:
        response.force_close()
        if request.transport:
            request.transport.abort()
    return response


def _refusal() -> web.Response:
    refusal = error_response(Unauthorized("metrics want a token of `bs-management scrape-tokens add`"))
    refusal.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return refusal
