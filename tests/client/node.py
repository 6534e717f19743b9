"""A management node in small: it answers as the protocol says, keeps what it was asked, and fails on request.

It runs in a thread of its own, so that blocking calls and child processes can use it.
"""

import asyncio
import hashlib
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bs_agent.contract.api import PREFIX
from bs_agent.contract.errors import ApiError, AuthenticationFailed, InvalidSession, RequestError, ResourceNotFound
from bs_agent.contract.query import Query, parse_query
from tests.client.fleet import matches

PASSWORD = "correct horse"
SESSION = "5e55" * 8


@dataclass
class Job:
    """One job: it runs for `polls` looks, then has its answer."""

    status: int
    body: dict[str, Any]
    polls: int


@dataclass
class Node:
    """What the server holds, what it was asked, and how it shall behave."""

    inventories: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    polls: int = 2
    drop: int = 0
    drop_answers: int = 0
    mute: bool = False
    canned: tuple[int, str] | None = None
    effects: list[str] = field(default_factory=list)

    def answer(self, request: web.Request, body: Any) -> web.Response:
        """Answer one request that arrived whole."""
        path = request.path.removeprefix(PREFIX)
        if path.startswith("/api-jobs/"):
            return self._job(path.rpartition("/")[2])
        if path == "/accounts/login":
            return self._log_in(body["logInByAccount"])
        if path.startswith("/accounts/sessions/"):
            self.effects.append(f"log out {path.rpartition('/')[2]}")
            return web.json_response({})
        if request.headers.get("Authorization") != f"OAuth {SESSION}":
            raise InvalidSession("Session expired")
        if request.method == "GET":
            return self._query(parse_query(request.query.items()))
        return self._act(request, path)

    def _log_in(self, parameters: dict[str, str]) -> web.Response:
        if parameters["password"] != hashlib.sha512(PASSWORD.encode()).hexdigest():
            raise AuthenticationFailed("wrong password")
        dates = {"expiredDate": "Nov 24, 2036 2:50:54 PM", "createDate": "Nov 24, 2026 2:50:54 PM"}
        account = "36c27e8ff05c4780bf6d2fa65700f22e"
        return web.json_response({"inventory": {"uuid": SESSION, "accountUuid": account, "userUuid": account, **dates}})

    def _query(self, query: Query) -> web.Response:
        found = [entry for entry in self.inventories if all(matches(entry, one) for one in query.conditions)]
        if query.sort:
            found.sort(key=lambda entry: str(entry.get(query.sort)), reverse=query.descending)
        page = found[query.start :][: query.limit]
        if query.fields:
            page = [{name: entry[name] for name in query.fields if name in entry} for entry in page]
        answer: dict[str, Any] = {} if query.count else {"inventories": page}
        if query.count or query.reply_with_count:
            answer["total"] = len(found)
        return web.json_response({**answer, "success": True, "schema": {}})

    def _act(self, request: web.Request, path: str) -> web.Response:
        job = request.headers.get("X-Job-UUID", "")
        if job in self.jobs:
            raise RequestError(f"Duplicate job uuid[{job}]")
        status, body = self._effect(request.method, path)
        self.effects.append(f"{request.method} {path}")
        if not job:
            return web.json_response(body, status=status)
        self.jobs[job] = Job(status, body, self.polls)
        return web.json_response({"location": f"http://elsewhere:1/zstack/v1/api-jobs/{job}"}, status=202)

    def _effect(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        one = next((entry for entry in self.inventories if entry["uuid"] in path), None)
        if method == "DELETE":
            self.inventories = [entry for entry in self.inventories if entry is not one]
            return 200, {}
        if method == "POST":
            return 200, {"inventory": self.inventories[0]}
        if one is None:
            error = ResourceNotFound(f"invalid field[uuid], resource[path:{path}] not found")
            return 503, {"error": error.shown().model_dump(exclude_none=True)}
        return 200, {"inventory": one}

    def _job(self, name: str) -> web.Response:
        job = self.jobs.get(name)
        if job is None:
            return web.Response(status=404, text="the job has been expired")
        if job.polls > 0:
            job.polls -= 1
            return web.json_response({}, status=202)
        return web.json_response(job.body, status=job.status)


async def _handle(node: Node, request: web.Request) -> web.StreamResponse:
    if node.drop > 0:
        node.drop -= 1
        return _cut(request)
    body = await request.json() if request.can_read_body else None
    node.requests.append((request.method, request.raw_path))
    node.bodies.append(body)
    node.headers.append(dict(request.headers))
    if node.mute:
        await asyncio.sleep(60)
    if node.canned:
        return web.Response(status=node.canned[0], text=node.canned[1])
    try:
        response = node.answer(request, body)
    except ApiError as error:
        shown = {"error": error.shown().model_dump(exclude_none=True)}
        response = web.json_response(shown, status=error.http_status)
    if node.drop_answers > 0:
        node.drop_answers -= 1
        return _cut(request)
    return response


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@contextmanager
def running(node: Node, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Node]:
    """Serve the node on loopback while the context is open."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await _handle(node, request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls, reuse_address=True)
        await site.start()
        node.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await stop.wait()
        await runner.cleanup()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name=f"node-{uuid.uuid4().hex[:6]}")
    thread.start()
    try:
        assert started.wait(10), "the node does not start"
        yield node
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
