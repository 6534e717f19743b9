"""The routes of the public API. They derive from the contract; a handler decodes, calls the use case and encodes."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bs_agent.contract.api import APIS, PREFIX, Api
from bs_agent.contract.errors import ApiError, NoSuchPath, RequestError
from bs_agent.contract.inventory import Inventory
from bs_agent.contract.query import Condition, Operator, Query, parse_query
from bs_agent.daemon.http import MAX_BODY, render_errors
from bs_agent.management.answers import answer, found, job_ended, schema
from bs_agent.management.auth import Auth, Caller
from bs_agent.management.calls import Raw, choose, collect, read_body, validate
from bs_agent.management.jobs import Jobs, Payload
from bs_agent.management.metrics import Metrics
from bs_agent.management.store.jobs import RUNNING
from bs_agent.management.store.queries import Found

log = logging.getLogger(__name__)

UseCase = Callable[[Any, Caller], Awaitable[Payload]]
Finder = Callable[[type[Inventory], Query], Awaitable[Found]]
Check = Callable[[], Awaitable[None]]

JOB_UUID, WEB_HOOK, SCHEMA, TIMEOUT = "X-Job-UUID", "X-Web-Hook", "X-JSON-Schema", "X-API-Timeout"


@dataclass(frozen=True)
class Services:
    """What the routes call: a use case for each API that is no query, and what finds inventories for the others."""

    auth: Auth
    jobs: Jobs
    use_cases: Mapping[str, UseCase]
    find: Finder
    ready: Check
    metrics: Metrics
    public_url: str = ""


def application(services: Services) -> web.Application:
    """Build the application."""
    app = web.Application(middlewares=[services.metrics.middleware, render_errors], client_max_size=MAX_BODY)
    routes = Routes(services)
    app.router.add_get("/livez", routes.livez)
    app.router.add_get("/readyz", routes.readyz)
    app.router.add_get("/metrics", services.metrics.show)
    # A client whose context path has a slash too many sends two.
    for prefix in (PREFIX, f"/{PREFIX}"):
        app.router.add_get(f"{prefix}/api-jobs/{{uuid}}", routes.job)
        for (method, path), apis in _by_route().items():
            app.router.add_route(method, prefix + path, routes.handler(apis))
    return app


class Routes:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def handler(self, apis: Mapping[str, Api]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the handler of the APIs that share a method and a path; the body's key tells them apart."""

        async def handle(request: web.Request) -> web.StreamResponse:
            only = next(iter(apis.values()))
            if only.queries:
                return await self._query(request, only.queries)
            body = await read_body(request)
            return await self._call(request, choose(apis, body, request.path.removeprefix("/zstack")), body)

        return handle

    async def job(self, request: web.Request) -> web.Response:
        """Tell how a job is: it needs no session, its uuid is secret enough."""
        job = await self._services.jobs.find(request.match_info["uuid"])
        if job is None:
            raise NoSuchPath("the job has been expired")
        if job.state == RUNNING:
            return answer({}, 202)
        return job_ended(APIS[job.api_name], job, with_schema=SCHEMA in request.headers)

    async def livez(self, _: web.Request) -> web.Response:
        """Answer while the event loop is alive."""
        return answer({"status": "alive"})

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer whether calls can be served."""
        try:
            await self._services.ready()
        except ApiError as error:
            return answer({"status": "not ready", "database": error.details}, 503)
        return answer({"status": "ready"})

    async def _query(self, request: web.Request, inventory: type[Inventory]) -> web.Response:
        secret = _session(request)
        uuid = request.match_info.get("uuid")
        query = _by_uuid(uuid) if uuid else parse_query(request.query.items())
        await self._services.auth.check(secret, request.remote or "")
        return found(await self._services.find(inventory, query), with_schema=SCHEMA in request.headers)

    async def _call(self, request: web.Request, api: Api, body: Raw) -> web.Response:
        secret = _session(request) if api.needs_session else ""
        raw = collect(request, api, body)
        if not api.long:
            parameters = validate(api, raw)
            caller = await self._caller(api, secret, request)
            payload = await self._services.use_cases[api.name](parameters, caller)
            return answer(payload | {"schema": schema(api, payload)} if SCHEMA in request.headers else payload)
        return await self._run(request, api, raw, secret)

    async def _run(self, request: web.Request, api: Api, raw: Raw, secret: str) -> web.Response:
        """Run a long API as a job; a caller that does not poll waits for its end."""
        jobs = self._services.jobs
        uuid, seconds = _job_uuid(request), _timeout(request)
        polls = bool(uuid) or WEB_HOOK in request.headers
        try:
            parameters = validate(api, raw)
            caller = await self._caller(api, secret, request)
        except RequestError:
            raise
        except ApiError as error:
            if not uuid:
                raise
            await jobs.reject(uuid, api.name, error)
            return self._accepted(request, uuid, seconds)
        use_case = self._services.use_cases[api.name]
        job = await jobs.start(uuid, api.name, caller.account_uuid, lambda: use_case(parameters, caller), seconds)
        if polls:
            return self._accepted(request, job.uuid, seconds)
        return job_ended(api, await jobs.wait(job), with_schema=SCHEMA in request.headers)

    async def _caller(self, api: Api, secret: str, request: web.Request) -> Caller:
        address = request.remote or ""
        return await self._services.auth.check(secret, address) if api.needs_session else Caller(address=address)

    def _accepted(self, request: web.Request, uuid: str, seconds: float | None) -> web.Response:
        base = self._services.public_url or f"{request.scheme}://{request.host}"
        location = {"location": f"{base}{PREFIX}/api-jobs/{uuid}"}
        return answer(location | ({"apiTimeout": int(seconds * 1000)} if seconds else {}), 202)


def _by_route() -> dict[tuple[str, str], dict[str, Api]]:
    """Group the APIs by method and path, then by the key of the body."""
    routes: dict[tuple[str, str], dict[str, Api]] = {}
    for api in APIS.values():
        for path in api.paths:
            routes.setdefault((api.method, path), {})[api.body_key] = api
    return routes


def _by_uuid(uuid: str) -> Query:
    return Query(conditions=(Condition("uuid", Operator.EQUAL, uuid),))


def _session(request: web.Request) -> str:
    header = request.headers.get("Authorization")
    if header is None:
        raise RequestError("missing header 'Authorization'")
    kind, _, value = header.partition(" ")
    if kind.lower() != "oauth":
        raise RequestError("Authorization type must be 'OAuth'")
    return value.strip()


def _job_uuid(request: web.Request) -> str:
    uuid = request.headers.get(JOB_UUID, "")
    if uuid and not re.fullmatch(r"[A-Za-z0-9_-]{32}", uuid):
        raise RequestError(f"Invalid header[{JOB_UUID}], it must be a UUID with '-' stripped")
    return uuid


def _timeout(request: web.Request) -> float | None:
    text = request.headers.get(TIMEOUT)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise RequestError(f"Invalid header[{TIMEOUT}], it must be a number of seconds")
    return float(text)
