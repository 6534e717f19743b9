"""What Prometheus scrapes of the management node: calls by API and status, their duration, running jobs."""

import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bs_agent.daemon.http import Handler

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counts requests; other parts add gauges of their own to the registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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

    async def show(self, _: web.Request) -> web.Response:
        """Return the metrics as text."""
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
