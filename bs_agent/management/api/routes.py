"""The routes of the public API. They derive from the contract; a handler decodes, calls the use case and encodes."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from aiohttp import web

from bs_agent.contract.api import APIS, PREFIX, Api
from bs_agent.contract.enrollment import holds_code
from bs_agent.contract.errors import ApiError, NoSuchPath, RequestError
from bs_agent.contract.inventory import Inventory
from bs_agent.contract.query import Condition, Operator, Query, parse_query
from bs_agent.contract.uuids import one_form
from bs_agent.daemon.http import MAX_BODY, render_errors
from bs_agent.management.access.address import address_of
from bs_agent.management.access.sessions import Auth, Caller
from bs_agent.management.access.signature import Signatures, Signed, read_signed
from bs_agent.management.api import docs
from bs_agent.management.api.calls import Calls, about
from bs_agent.management.api.decode import Raw, choose, collect, read_body, validate
from bs_agent.management.api.encode import answer, found, job_ended
from bs_agent.management.api.scraping import Scraping
from bs_agent.management.jobs.ended import schema
from bs_agent.management.jobs.hooks import HEADER, Hooks
from bs_agent.management.jobs.jobs import Jobs, Order
from bs_agent.management.metrics.registry import Metrics
from bs_agent.management.store.database import DatabaseUnavailable
from bs_agent.management.store.jobs import RUNNING

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[None]]

_JOB_UUID = re.compile(r"[A-Za-z0-9_-]{32}")

JOB_UUID, SCHEMA, TIMEOUT = "X-Job-UUID", "X-JSON-Schema", "X-API-Timeout"


@dataclass(frozen=True)
class Services:
    """What the routes call."""

    auth: Auth
    signatures: Signatures
    jobs: Jobs
    hooks: Hooks
    calls: Calls
    ready: Check
    metrics: Metrics
    scraping: Scraping
    public_url: str = ""
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()


def application(services: Services) -> web.Application:
    """Build the application."""
    app = web.Application(middlewares=[services.metrics.middleware, render_errors], client_max_size=MAX_BODY)
    routes = Routes(services)
    app.router.add_get("/livez", routes.livez)
    app.router.add_get("/readyz", routes.readyz)
    app.add_routes(services.scraping.routes(routes.is_session))
    app.add_routes(docs.routes())
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
        uuid = request.match_info["uuid"]
        try:
            job = await self._services.jobs.find(uuid) if _JOB_UUID.fullmatch(uuid) else None
        except DatabaseUnavailable:
            return answer({}, 202)  # it is not known now; 503 would say that the job has failed
        if job is None:
            raise NoSuchPath("the job has been expired")
        if job.state == RUNNING:
            return answer({}, 202)
        return job_ended(job, with_schema=SCHEMA in request.headers)

    async def livez(self, _: web.Request) -> web.Response:
        """Answer while the event loop is alive."""
        return answer({"status": "alive"})

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer whether calls can be served."""
        try:
            await self._services.ready()
        except ApiError as error:
            return answer({"status": "not ready", "reason": error.details}, 503)
        return answer({"status": "ready"})

    async def is_session(self, request: web.Request) -> None:
        """See that a request is made in a session, or signed with an access key.

        Raises:
            ApiError: it is not.
        """
        await self._caller(_credentials(request), request)

    async def _query(self, request: web.Request, inventory: type[Inventory]) -> web.Response:
        who = _credentials(request)
        uuid = request.match_info.get("uuid")
        query = _by_uuid(uuid) if uuid else parse_query(request.query.items())
        await self._caller(who, request)
        return found(await self._services.calls.find(inventory, query), with_schema=SCHEMA in request.headers)

    async def _call(self, request: web.Request, api: Api, body: Raw) -> web.Response:
        who = _credentials(request) if api.needs_session else None
        raw = collect(request, api, body)
        if not api.long:
            parameters = validate(api, raw)
            caller = await self._caller(who, request)
            payload = await self._services.calls.use(api, parameters, caller)
            return answer(payload | {"schema": schema(api, payload)} if SCHEMA in request.headers else payload)
        return await self._run(request, api, raw, who)

    async def _run(self, request: web.Request, api: Api, raw: Raw, who: str | Signed | None) -> web.Response:
        """Run a long API as a job; a caller that does not poll waits for its end."""
        jobs, order = self._services.jobs, self._order(request)
        polls = bool(order.uuid) or order.hook is not None
        try:
            parameters = await self._services.calls.checked(api, raw)
            caller = await self._caller(who, request)
        except RequestError:
            raise
        except ApiError as error:
            account = await self._account(who, request)
            if not polls or (order.hook and not account):
                raise
            uuid = await jobs.reject(order, api.name, account, error, about(raw))
            return await self._accepted(request, uuid, order)
        job = await self._services.calls.run(api, parameters, caller, order)
        if polls:
            return await self._accepted(request, job.uuid, order)
        return job_ended(await jobs.wait(job), with_schema=SCHEMA in request.headers)

    def _order(self, request: web.Request) -> Order:
        url = request.headers.get(HEADER, "")
        if holds_code(url):
            raise RequestError(f"Invalid header[{HEADER}], it holds an enrolment code, which is a secret")
        hook = self._services.hooks.parse(url, with_schema=SCHEMA in request.headers) if url else None
        return Order(_job_uuid(request), hook, _timeout(request))

    async def _caller(self, who: str | Signed | None, request: web.Request) -> Caller:
        """Return who calls: by a session, by an access key, or anybody."""
        address = address_of(request, self._services.trusted_proxies)
        if isinstance(who, Signed):
            uuid, name = await self._services.signatures.check(who)
            return Caller(uuid, name, address=address)
        return Caller(address=address) if who is None else await self._services.auth.check(who, address)

    async def _account(self, who: str | Signed | None, request: web.Request) -> str:
        """Return the account of a caller whose call is refused; "" when it is nobody's."""
        try:
            return (await self._caller(who, request)).account_uuid
        except ApiError:
            return ""

    async def _accepted(self, request: web.Request, uuid: str, order: Order) -> web.Response:
        """Tell where the job is; its web hook goes after this answer, never before it."""
        base = self._services.public_url or f"{request.scheme}://{request.host}"
        location = {"location": f"{base}{PREFIX}/api-jobs/{uuid}"}
        response = answer(location | ({"apiTimeout": int(order.seconds * 1000)} if order.seconds else {}), 202)
        if order.hook:
            with suppress(ConnectionError):  # a caller that has gone wants its hook all the same
                await response.prepare(request)
                await response.write_eof()
            await self._services.hooks.release(uuid)
        return response


def _by_route() -> dict[tuple[str, str], dict[str, Api]]:
    """Group the APIs by method and path, then by the key of the body."""
    routes: dict[tuple[str, str], dict[str, Api]] = {}
    for api in APIS.values():
        for path in api.paths:
            routes.setdefault((api.method, path), {})[api.body_key] = api
    return routes


def _by_uuid(uuid: str) -> Query:
    return Query(conditions=(Condition("uuid", Operator.EQUAL, uuid),))


def _credentials(request: web.Request) -> str | Signed:
    """Return the secret of a session, or what an access key has signed."""
    header = request.headers.get("Authorization")
    if header is None:
        raise RequestError("missing header 'Authorization'")
    if not header.isascii():
        raise RequestError("Authorization must be ASCII")
    kind, _, value = header.partition(" ")
    if kind.lower() == "zstack":
        paths = tuple(dict.fromkeys(f"/v1{_below(path)}" for path in (request.rel_url.raw_path, request.path)))
        return read_signed(value, request.method, paths, request.headers.get("Date"), time.time())
    if kind.lower() != "oauth":
        raise RequestError("Authorization type must be 'OAuth'")
    return one_form(value.strip())


def _below(path: str) -> str:
    return "/" + path.lstrip("/").removeprefix(PREFIX.lstrip("/")).lstrip("/")


def _job_uuid(request: web.Request) -> str:
    uuid = request.headers.get(JOB_UUID, "")
    if uuid and not _JOB_UUID.fullmatch(uuid):
        raise RequestError(f"Invalid header[{JOB_UUID}], it must be a UUID with '-' stripped")
    return uuid


def _timeout(request: web.Request) -> float | None:
    text = request.headers.get(TIMEOUT)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise RequestError(f"Invalid header[{TIMEOUT}], it must be a number of seconds")
    return float(text)
