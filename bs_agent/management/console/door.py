"""Who may look and who may change: the cookie of a browser, the token in its forms, and where a change comes from.

The cookie holds a secret of its own; the session that it stands for is on the server, and any node finds it. What a
form carries follows from that secret by hashing and opens nothing.
"""

import hmac
import secrets

from aiohttp import hdrs, web

from bs_agent.contract.errors import RequestError

TOKEN = "token"  # noqa: S105  the name of a field

_SESSION, _FORM = "bs-console", "bs-console-form"
_FORM_SECONDS = 3600


class ForeignForm(RequestError):
    """A change that was not asked for on a page of ours."""

    description = "The form was not sent from a page of this console"
    http_status = 403


def new_secret() -> str:
    """Make a secret for a cookie."""
    return secrets.token_urlsafe(32)


def token_of(secret: str) -> str:
    """Return what the forms carry that are shown to the holder of a cookie."""
    return hmac.new(secret.encode("utf-8", "surrogateescape"), b"form", "sha256").hexdigest()


def check_form(request: web.Request, secret: str, token: str, public_url: str) -> None:
    """See that a change was asked for on a page of ours, by who has the cookie.

    Raises:
        ForeignForm: it was not.
    """
    if not _comes_from_here(request, public_url):
        raise ForeignForm(
            "the browser says that the form comes from another site; if a proxy changes the address of this node, "
            "set server.public_url to the one that browsers see"
        )
    if not secret or not hmac.compare_digest(token_of(secret).encode(), token.encode("utf-8", "replace")):
        raise ForeignForm("the form is from before the last log-in, or too old: load its page again")


class Cookies:
    """The cookies of the console; with TLS, here or at a proxy, they are sent over it alone."""

    def __init__(self, public_url: str) -> None:
        self._public_url = public_url

    def session(self, request: web.Request) -> str:
        """Return the secret of the session that a browser has; "" when it has none."""
        return request.cookies.get(self._name(request, _SESSION), "")

    def form(self, request: web.Request) -> str:
        """Return the secret of who is not logged in yet; "" when there is none."""
        return request.cookies.get(self._name(request, _FORM), "")

    def set_session(self, request: web.Request, response: web.StreamResponse, secret: str) -> None:
        """Let the browser have a session, until it is closed or the session ends."""
        self._set(request, response, _SESSION, secret, None)
        self._set(request, response, _FORM, "", 0)

    def set_form(self, request: web.Request, response: web.StreamResponse, secret: str) -> None:
        """Let the browser send the form of the log-in."""
        self._set(request, response, _FORM, secret, _FORM_SECONDS)

    def forget(self, request: web.Request, response: web.StreamResponse) -> None:
        """Take the session from the browser."""
        self._set(request, response, _SESSION, "", 0)

    def _set(
        self, request: web.Request, response: web.StreamResponse, name: str, value: str, seconds: int | None
    ) -> None:
        response.set_cookie(
            self._name(request, name), value, max_age=seconds, path="/", httponly=True, samesite="Strict",
            secure=self._over_tls(request),
        )  # fmt: skip

    def _name(self, request: web.Request, name: str) -> str:
        # A browser takes a cookie of such a name only over TLS, from this very host and for all of it.
        return f"__Host-{name}" if self._over_tls(request) else name

    def _over_tls(self, request: web.Request) -> bool:
        return request.secure or self._public_url.startswith("https://")


def _comes_from_here(request: web.Request, public_url: str) -> bool:
    """Tell by what the browser says, which no script of another site can change."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return request.headers.get("Sec-Fetch-Site") == "same-origin"
    return origin.lower() in {f"{request.scheme}://{request.host}".lower(), public_url.lower()} - {""}
