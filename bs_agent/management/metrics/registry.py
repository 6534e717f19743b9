"""What Prometheus scrapes of the management node: the library's metrics, and the many of storages and agents."""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.registry import Collector

from bs_agent import __version__
from bs_agent.contract.errors import Overloaded
from bs_agent.daemon.exposition import encoder
from bs_agent.daemon.http import Handler

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_END = b"# EOF\n"
_WAITING = 8
"""Scrapes that may wait for one another; each holds the whole text in memory."""

Source = Callable[[], Awaitable[list[bytes]]]
"""Returns metrics as text, in a form that is the same in both formats; what it holds in the registry is new then."""


class Rendered(NamedTuple):
    """All metrics in pieces, in the format that the content type names."""

    pieces: list[bytes]
    content_type: str


class Metrics:
    """Counts requests; other parts add collectors of their own to the registry, and sources of text."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Gauge(
            "bs_management_build_info", "The version of this node.", ["version", "python"], registry=self.registry
        )
        build.labels(__version__, platform.python_version()).set(1)
        self._requests = Counter(
            "bs_management_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "bs_management_request_seconds", "Duration of requests.", ["method", "route"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._sources: list[Source] = []
        self._reading: asyncio.Task[list[bytes]] | None = None
        self._waiting = 0

    def add(self, *collectors: Collector) -> None:
        """Show what other parts count."""
        for collector in collectors:
            self.registry.register(collector)

    def add_source(self, source: Source) -> None:
        """Show what this returns at each scrape."""
        self._sources.append(source)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a number that is read when it is scraped."""
        Gauge(name, text, registry=self.registry).set_function(read)

    @property
    def middleware(self) -> Middleware:
        """The middleware that counts; the paths that no route has count as one."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            started = time.perf_counter()
            response = await handler(request)
            resource = request.match_info.route.resource
            route = resource.canonical if resource else "none"
            self._requests.labels(request.method if resource else "any", route, response.status).inc()
            self._seconds.labels(request.method if resource else "any", route).observe(time.perf_counter() - started)
            return response

        return count

    async def render(self, accept: str) -> Rendered:
        """Return all metrics as they are now, in the best format that `accept` names.

        Who comes while they are read for another scrape gets the same.

        Raises:
            Overloaded: too many of them wait.
        """
        if self._waiting >= _WAITING:
            raise Overloaded(f"{self._waiting} scrapes are under way")
        self._waiting += 1
        try:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read(), name="metrics")
            pieces = await asyncio.shield(self._reading)
            encode, content_type = encoder(accept)
            text = encode(self.registry)
        finally:
            self._waiting -= 1
        if text.endswith(_END):
            return Rendered([text.removesuffix(_END), *pieces, _END], content_type)
        return Rendered([text, *pieces], content_type)

    async def _read(self) -> list[bytes]:
        return [piece for source in self._sources for piece in await source()]
