"""The agent protocol: routes and handlers that decode, call and encode."""

import hmac
import time
from typing import Any, NamedTuple, TypeVar

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from pydantic import TypeAdapter, ValidationError

from bs_agent.agent.commands import Commands
from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.metrics import Metrics
from bs_agent.agent.probing.monitor import GRACE
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.push.push import Pushing
from bs_agent.agent.served import Served, parameters_adapter
from bs_agent.agent.storages.base import Host
from bs_agent.agent.trust.enrollment import Enrollments
from bs_agent.agent.trust.told import Told
from bs_agent.contract.errors import (
    AgentUnauthorized,
    NoSuchPath,
    Overloaded,
    RequestError,
    StorageProblem,
    explain,
)
from bs_agent.contract.push import ConnectRequest
from bs_agent.contract.report import KNOWS_NEXT, CleanupRequest, HostReport, Uuid
from bs_agent.daemon.certificate import ServedCertificate
from bs_agent.daemon.connection import error_response, trust
from bs_agent.daemon.http import MAX_BODY, Handler, read_json, render_errors

OPEN_PATHS = frozenset({"/livez", "/readyz"})
# Ages have a resolution of a tenth of a second, so a report may be that old and is still exact.
RENDERING_LIFETIME = 0.1
MAX_RENDERINGS = 100

M = TypeVar("M")

_enrollment = web.RequestKey("enrollment", str)
_uuid: TypeAdapter[str] = TypeAdapter(Uuid)
_connect: TypeAdapter[ConnectRequest] = TypeAdapter(ConnectRequest)
_cleanup: TypeAdapter[CleanupRequest] = TypeAdapter(CleanupRequest)


class Parts(NamedTuple):
    """What the handlers call."""

    host: Host
    journal: Journal
    reporter: Reporter
    served: Served
    commands: Commands
    enrollments: Enrollments
    told: Told
    pushing: Pushing
    metrics: Metrics
    tls: ServedCertificate


class _Rendering(NamedTuple):
    changes: int
    made_at: float
    etag: str
    body: bytes
    age: str


def build(parts: Parts, max_requests: int) -> web.Application:
    """Return the application; everything but the two health paths wants a token."""
    api = _Api(parts)
    middlewares = [render_errors, _guarded(parts.enrollments, max_requests)]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY)
    app.add_routes(
        [
            web.get("/livez", api.livez),
            web.get("/readyz", api.readyz),
            web.get("/metrics", api.metrics),
            web.get("/v1/report", api.report),
            web.put("/v1/storages/{uuid}", api.connect),
            web.post("/v1/storages/{uuid}/cleanup", api.cleanup),
            web.get("/v1/commands/{uuid}", api.command),
            web.delete("/v1/enrollments/{uuid}", api.forget),
        ]
    )
    return app


class _Api:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._renderings: dict[str, _Rendering] = {}

    async def livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        failing: dict[str, str] = {}
        try:
            await self._parts.journal.check()
        except StorageProblem as error:
            failing["journal"] = error.details
        if not self._parts.reporter.progressing:
            failing["probes"] = "a probe has not come to an end for too long"
        return web.json_response({"failing": failing}, status=503 if failing else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = await self._parts.metrics.render(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def report(self, request: web.Request) -> web.Response:
        enrollment = request[_enrollment]
        if _flag(request, "fresh"):
            await self._parts.reporter.refresh(self._parts.served.of(enrollment), self._parts.host.deadline + GRACE)
            self._renderings.pop(enrollment, None)
        outdated = self._parts.tls.is_outdated(request.protocol)
        rendering = self._outdated_rendering(enrollment) if outdated else self._rendering(enrollment)
        stored = request.headers.get(KNOWS_NEXT)
        if stored and stored == self._parts.reporter.next_fingerprint:
            self._parts.told.note(enrollment, stored)
        headers = {"ETag": rendering.etag, "Age": rendering.age, "Cache-Control": "no-cache"}
        if hdrs.IF_NONE_MATCH in request.headers:
            for known in request.if_none_match or ():
                if known.value in ("*", rendering.etag.strip('"')):
                    return web.Response(status=304, headers=headers)
        return web.Response(body=rendering.body, content_type="application/json", headers=headers)

    async def connect(self, request: web.Request) -> web.Response:
        uuid, enrollment = _uuid_of(request), request[_enrollment]
        body = await read_json(request)
        parameters, wanted = _decode(parameters_adapter, body), _decode(_connect, body)
        report = await self._parts.served.connect(uuid, parameters, enrollment, wanted.number)
        await self._parts.pushing.direct(enrollment, wanted.reportTo)
        self._parts.pushing.told(enrollment, report)
        return _json(report)

    async def cleanup(self, request: web.Request) -> web.Response:
        uuid = _uuid_of(request)
        wanted = _decode(_cleanup, await read_json(request))
        if wanted.dryRun:
            return _json(await self._parts.commands.plan(uuid, wanted, request[_enrollment]))
        return _json(await self._parts.commands.cleanup(uuid, wanted, request[_enrollment]), 202)

    async def command(self, request: web.Request) -> web.Response:
        uuid = _uuid_of(request)
        command = await self._parts.commands.find(uuid)
        if command is None:
            raise NoSuchPath(f"there is no command {uuid}")
        return _json(command)

    async def forget(self, request: web.Request) -> web.Response:
        uuid = _uuid_of(request)
        if not hmac.compare_digest(uuid, request[_enrollment]):
            raise NoSuchPath("an enrolment can be forgotten with its own token only")
        await self._parts.enrollments.forget(uuid)
        self._parts.served.retain_owners(self._parts.enrollments.ids)
        await self._parts.pushing.follow()
        return web.json_response({})

    def _rendering(self, enrollment: str) -> _Rendering:
        changes, now = self._parts.reporter.changes, time.monotonic()
        rendering = self._renderings.get(enrollment)
        if rendering and rendering.changes == changes and now - rendering.made_at < RENDERING_LIFETIME:
            return rendering
        rendering = self._render(self._parts.reporter.report(self._parts.served.of(enrollment)))
        if len(self._renderings) >= MAX_RENDERINGS:
            self._renderings.clear()
        self._renderings[enrollment] = rendering
        return rendering

    def _outdated_rendering(self, enrollment: str) -> _Rendering:
        """Return the report for a connection from before a rotation: to whoever has it, the present one is the next."""
        report = self._parts.reporter.report(self._parts.served.of(enrollment))
        return self._render(report.model_copy(update={"nextFingerprint": self._parts.tls.fingerprint}))

    def _render(self, report: HostReport) -> _Rendering:
        changes, now = self._parts.reporter.changes, time.monotonic()
        return _Rendering(changes, now, report.etag(), report.model_dump_json().encode(), _oldest(report))


def _oldest(report: HostReport) -> str:
    ages = [section.ageSeconds for storage in report.storages for section in storage.sections()]
    return str(int(max((age for age in ages if age is not None), default=0)))


def _flag(request: web.Request, name: str) -> bool:
    if not request.rel_url.raw_query_string:
        return False
    text = request.query.get(name, "false")
    if text not in {"true", "false"}:
        raise RequestError(f"{name} must be true or false, not {text!r}")
    return text == "true"


def _uuid_of(request: web.Request) -> str:
    return _decode(_uuid, request.match_info["uuid"])


def _decode(adapter: TypeAdapter[M], value: object) -> M:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise RequestError(explain(error)) from None


def _json(value: Any, status: int = 200) -> web.Response:  # noqa: ANN401 RUF100  any value of the protocol
    return web.Response(text=value.model_dump_json(), status=status, content_type="application/json")


def _guarded(enrollments: Enrollments, limit: int) -> Middleware:
    """Let in who shows a token, and not more than `limit` at once."""
    under_way = 0

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal under_way
        if request.path in OPEN_PATHS:
            return await handler(request)
        if under_way >= limit:
            raise Overloaded(f"{limit} requests are under way")
        under_way += 1
        try:
            scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
            known = await enrollments.identify(token) if scheme.lower() == "bearer" and token else None
            if known is None:
                return _refusal()
            request[_enrollment] = known
            trust(request)
            return await handler(request)
        finally:
            under_way -= 1

    return guarded


def _refusal() -> web.Response:
    refusal = error_response(AgentUnauthorized())
    refusal.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    refusal.force_close()
    return refusal
