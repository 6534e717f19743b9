"""The way in and out."""

from aiohttp import web

from bs_agent.contract.errors import ApiError, AuthenticationFailed, TooManyRequests, TooManySessions
from bs_agent.management.access.address import address_of
from bs_agent.management.access.sessions import Door
from bs_agent.management.console.asking import Services
from bs_agent.management.console.door import TOKEN, ForeignForm, check_form, new_secret, token_of
from bs_agent.management.console.pages import LOG_IN, Pages, status_of
from bs_agent.management.console.visit import Visit, local, read_form, redirect, rendered


class LogIn:
    """Opens and ends the sessions of browsers."""

    def __init__(self, services: Services, pages: Pages) -> None:
        self._services = services
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(LOG_IN, self._pages.guarded(self.show)),
            web.post(LOG_IN, self._pages.guarded(self.log_in)),
            self._pages.change("/log-out", self.log_out),
        ]

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Show the form."""
        return self._form(request, local(request.query.get("next", "/")), "", "", 200)

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        """Open a session."""
        form = await read_form(request)
        name, following = form.get("name", ""), local(form.get("next", "/"))
        address = address_of(request, self._services.trusted_proxies)
        cookies, auth = self._pages.cookies, self._services.auth
        try:
            check_form(request, cookies.form(request), form.get(TOKEN, ""), self._services.public_url)
            opened = await auth.log_in(name, form.get("password", ""), address, Door.CONSOLE)
        except (AuthenticationFailed, TooManyRequests, TooManySessions, ForeignForm) as error:
            return self._form(request, following, name, error.details, _status(error))
        if before := cookies.session(request):
            await auth.log_out(before, Door.CONSOLE)
        response = redirect(following)
        cookies.set_session(request, response, opened.secret)
        return response

    async def log_out(self, visit: Visit) -> web.StreamResponse:
        """End the session."""
        await self._services.auth.log_out(self._pages.cookies.session(visit.request), Door.CONSOLE)
        response = redirect(LOG_IN)
        self._pages.cookies.forget(visit.request, response)
        return response

    def _form(self, request: web.Request, following: str, name: str, problem: str, status: int) -> web.Response:
        secret = self._pages.cookies.form(request) or new_secret()
        context = {"token": token_of(secret), "next": following, "name": name, "problem": problem, "visit": None}
        response = rendered(request, "log_in.html", status, context)
        self._pages.cookies.set_form(request, response, secret)
        return response


def _status(error: ApiError) -> int:
    return 403 if isinstance(error, AuthenticationFailed | TooManySessions) else status_of(error)
