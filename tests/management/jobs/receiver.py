"""A real HTTP server that receives web hooks and answers them as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic_core import from_json

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

DEADLINE = 60.0


@dataclass(frozen=True)
class Told:
    """A web hook as it came."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Receiver:
    """Keeps what came; `answers` are used one after the other, then it is 200."""

    answers: list[Answer] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    url: str = ""
    port: int = 0
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, number: int) -> list[Told]:
        """Wait for so many web hooks."""
        async with asyncio.timeout(DEADLINE), self.news:
            await self.news.wait_for(lambda: len(self.told) >= number)
        return self.told

    async def take(self, request: web.Request) -> web.StreamResponse:
        told = Told(request.path, dict(request.headers), from_json(await request.read()))
        answer = self.answers.pop(0) if self.answers else status(200)
        async with self.news:
            self.told.append(told)
            self.news.notify_all()
        return await answer(request)


def status(number: int, **headers: str) -> Answer:
    """Answer with a status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=number, headers=headers)

    return answer


@asynccontextmanager
async def receiving(*answers: Answer, port: int = 0) -> AsyncIterator[Receiver]:
    """Listen while the context is open."""
    receiver = Receiver(list(answers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        receiver.port = runner.addresses[0][1]
        receiver.url = f"http://127.0.0.1:{receiver.port}/webhook"
        yield receiver
    finally:
        await runner.cleanup()
