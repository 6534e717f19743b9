"""An orderly stop: first the node says that it is not ready, then it lets end what is under way, then it stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from bs_agent.contract.errors import OperationFailed
from bs_agent.management.jobs.jobs import Jobs

log = logging.getLogger(__name__)

_LOOK = 0.05

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Leaving:
    """Whether this node is about to stop, and what it waits for: its jobs, and the calls under way."""

    def __init__(self, jobs: Jobs, notice: float, finish: float) -> None:
        self._jobs = jobs
        self._notice = notice
        self._finish = finish
        self._begun = False
        self._calls = 0

    async def leave(self) -> None:
        """Return when callers have gone elsewhere and what they asked for has ended, or after the time for that.

        Jobs that have not ended then, or when this is cancelled, are cut short: who waits for one is told so.
        """
        self._begun = True
        try:
            await asyncio.sleep(self._notice)
            loop = asyncio.get_running_loop()
            until = loop.time() + self._finish
            while self._jobs.running + self._calls and loop.time() < until:  # noqa: ASYNC110  nothing tells of the end of all
                await asyncio.sleep(_LOOK)
        finally:
            if left := self._jobs.running:
                log.warning("%d jobs are cut short", left)
            self._jobs.cut_short()

    def check(self) -> None:
        """See that this node is to stay.

        Raises:
            OperationFailed: it is about to stop.
        """
        if self._begun:
            raise OperationFailed("this node is stopping")

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the calls under way; once the node is leaving, each connection ends with its answer."""
        self._calls += 1
        try:
            response = await handler(request)
        finally:
            self._calls -= 1
        if self._begun and not response.prepared:
            response.force_close()
        return response
