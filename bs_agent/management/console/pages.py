"""Turns the handlers of pages into handlers of requests: who is not logged in, what fails, and what all pages have."""

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import aiohttp_jinja2
import jinja2
from aiohttp import hdrs, web

from bs_agent.contract.errors import (
    ApiError,
    InternalError,
    InvalidArgument,
    InvalidSession,
    RequestError,
    ResourceNotFound,
)
from bs_agent.daemon.http import Handler
from bs_agent.management.access.address import address_of
from bs_agent.management.access.sessions import Caller, Door
from bs_agent.management.console import served, words
from bs_agent.management.console.asking import Services
from bs_agent.management.console.door import TOKEN, Cookies, check_form, token_of
from bs_agent.management.console.outcome import faults
from bs_agent.management.console.visit import PAGE_HEADERS, Visit, read_form, redirect, rendered

log = logging.getLogger(__name__)

Page = Callable[[Visit], Awaitable[web.StreamResponse]]

LOG_IN = "/log-in"


def set_up(app: web.Application) -> None:
    """Let the application show templates."""
    aiohttp_jinja2.setup(
        app,
        loader=jinja2.PackageLoader("bs_agent.management.console"),
        autoescape=True,
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        default_helpers=False,
    )
    environment = aiohttp_jinja2.get_env(app)
    environment.filters.update(words.FILTERS)
    environment.globals.update(
        file=served.path_of, HTMX=served.HTMX, UPLOT=served.UPLOT, UPLOT_STYLE=served.UPLOT_STYLE, TOKEN=TOKEN
    )


class Pages:
    """Makes the routes of pages."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.cookies = Cookies(services.public_url)

    def look(self, path: str, page: Page) -> web.RouteDef:
        """Return the route of a page for who is logged in."""

        async def handle(request: web.Request) -> web.StreamResponse:
            # What a page asks for by itself, while nobody may be there, does not let the session live on.
            caller = await self._caller(request, renew="HX-Request" not in request.headers)
            return await page(self._visit(request, caller))

        return web.get(path, self.guarded(handle))

    def change(self, path: str, page: Page) -> web.RouteDef:
        """Return the route of a form that changes something."""

        async def handle(request: web.Request) -> web.StreamResponse:
            form = await read_form(request)
            # Before the session: a form of another site is to have no effect at all.
            check_form(request, self.cookies.session(request), form.get(TOKEN, ""), self._services.public_url)
            caller = await self._caller(request, renew=True)
            return await page(self._visit(request, caller, form))

        return web.post(path, self.guarded(handle))

    def _visit(self, request: web.Request, caller: Caller, form: dict[str, str] | None = None) -> Visit:
        return Visit(request, self._services, caller, token_of(self.cookies.session(request)), form or {})

    async def _caller(self, request: web.Request, *, renew: bool) -> Caller:
        address = address_of(request, self._services.trusted_proxies)
        secret = self.cookies.session(request)
        if not secret:
            raise InvalidSession("nobody is logged in")
        return await self._services.auth.check(secret, address, Door.CONSOLE, renew=renew)

    def guarded(self, handle: Handler) -> Handler:
        """Return the handler whose errors are shown as pages."""

        async def guard(request: web.Request) -> web.StreamResponse:
            try:
                return await handle(request)
            except InvalidSession:
                return self._to_log_in(request)
            except ApiError as error:
                return self.failed(request, error)
            except web.HTTPException:
                raise
            except Exception:  # edge: whatever else went wrong in a page
                log.exception("the page %s failed", request.match_info.route.resource)
                return self.failed(request, InternalError("an unexpected fault; the log of the node has the rest"))

        return guard

    def failed(self, request: web.Request, error: ApiError) -> web.Response:
        """Return the page of an error."""
        context = {"faults": faults(error), "status": status_of(error), "visit": None}
        template = "_faults.html" if "HX-Request" in request.headers else "error.html"
        response = rendered(request, template, status_of(error), context)
        if error.retry_after:
            response.headers[hdrs.RETRY_AFTER] = str(error.retry_after)
        return response

    def _to_log_in(self, request: web.Request) -> web.StreamResponse:
        wanted = f"{LOG_IN}?next={quote(request.path_qs, safe='')}" if request.method == hdrs.METH_GET else LOG_IN
        if "HX-Request" in request.headers:
            return web.Response(status=401, headers=PAGE_HEADERS | {"HX-Redirect": LOG_IN})
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.method == hdrs.METH_GET:
            # A link on another page, as in an alert: the cookie comes only with what begins on a page of ours.
            return rendered(request, "arrive.html", 200, {"here": request.path_qs, "visit": None})
        response = redirect(wanted)
        self.cookies.forget(request, response)
        return response


def status_of(error: ApiError) -> int:
    """Return the status of an error in a browser; clients of the API expect 503 for most."""
    if isinstance(error, RequestError):
        return error.http_status
    return {ResourceNotFound: 404, InvalidArgument: 400}.get(type(error), 503)
