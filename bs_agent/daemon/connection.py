"""The HTTP connections of a daemon.

In: what aiohttp answers by itself has the form of all our errors, and no versions. Such answers are of requests that no
handler sees: what the parser refuses, an expectation that cannot be met, a fault outside of the handlers. Nothing of
the request is repeated in them. Out: a peer that does not close its side of TLS holds nothing of ours.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from aiohttp import TCPConnector, hdrs, web
from aiohttp.connector import NEEDS_CLEANUP_CLOSED
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from bs_agent.contract.errors import ApiError, BodyTooLarge, InternalError, RequestError, RequestTimeout

SERVER = "bs-agent"
KEEPALIVE = 75.0
"""Seconds for which an idle connection is kept, where anybody may have one."""
TRUSTED_KEEPALIVE = 3600.0
"""The same where only connections of known senders are kept: longer than they let pass between two requests."""
LINGERING = 1.0  # how long a refused body may still arrive before the connection is closed

_MAX_LINE, _MAX_HEADERS = 8190, 128
_UNREADABLE = f"this is no HTTP request that can be read, or it has more than {_MAX_HEADERS} headers"
_TOO_LONG = f"the request line, or a header, is longer than {_MAX_LINE} bytes"


def connector(**options: Any) -> TCPConnector:  # noqa: ANN401 RUF100  what aiohttp's own takes
    """Return a pool of connections to others: one that is closed is cut off soon, whatever its peer does.

    aiohttp does that where it is told to; a later Python sees to it by itself.
    """
    return TCPConnector(enable_cleanup_closed=NEEDS_CLEANUP_CLOSED, **options)


class Connection(web.RequestHandler):
    """A connection, to be served by `server`; `answered` is called with it at each answer.

    Where it is kept for `known_only`, it ends with its first answer unless `trust` is called for a request.
    """

    __slots__ = ("_answered", "_kept")

    def __init__(self, server: web.Server, answered: Callable[[object], None], *, known_only: bool = False) -> None:
        self._answered = answered
        self._kept = not known_only
        keepalive = TRUSTED_KEEPALIVE if known_only else KEEPALIVE
        settings: dict[str, Any] = {"access_log": None, "keepalive_timeout": keepalive, "lingering_time": LINGERING}
        settings |= {"max_line_size": _MAX_LINE, "max_field_size": _MAX_LINE, "max_headers": _MAX_HEADERS}
        super().__init__(server, loop=asyncio.get_running_loop(), **settings)

    def trust(self) -> None:
        """Keep the connection from now on: its other side has shown who it is."""
        self._kept = True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what no handler has answered; aiohttp's own answer would show the bytes that it could not read.

        Raises:
            ConnectionError: a part of an answer was sent already.
        """
        super().handle_error(request, status, exc, message)  # it writes the log
        if isinstance(exc, HttpProcessingError):
            response = error_response(RequestError(_TOO_LONG if isinstance(exc, LineTooLong) else _UNREADABLE))
        else:
            response = error_response(InternalError("an unexpected fault; the log has the rest"))
        response.force_close()
        return response

    def dress(self, resp: web.StreamResponse) -> None:
        """Say in an answer what each one says, before its head is sent."""
        resp.headers[hdrs.SERVER] = SERVER
        if not self._kept:
            resp.force_close()
            resp.headers[hdrs.CONNECTION] = "close"  # aiohttp has looked already where a handler sends by itself

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; one that aiohttp raised, where no middleware of ours saw it, gets our form first."""
        if isinstance(resp, web.HTTPException):
            status = HTTPStatus(resp.status)
            resp = error_response(RequestError(f"{status.phrase}: {status.description or 'the request is refused'}"))
            resp.set_status(status)
        if not resp.prepared:
            self.dress(resp)
        self._answered(self)
        return await super().finish_response(request, resp, start_time)


async def dress(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Do so with the answers that a handler begins to send by itself."""
    if isinstance(request.protocol, Connection):
        request.protocol.dress(response)


def trust(request: web.BaseRequest) -> None:
    """Keep the connection of a request whose sender is known."""
    if isinstance(request.protocol, Connection):
        request.protocol.trust()


def error_response(error: ApiError) -> web.Response:
    """Render an error as `{"error": {...}}`; the connection ends where the rest of the request was not read."""
    text = '{"error":' + error.shown().model_dump_json(exclude_none=True) + "}"
    headers = {hdrs.CONNECTION: "close"} if isinstance(error, BodyTooLarge | RequestTimeout) else {}
    if error.retry_after:
        headers[hdrs.RETRY_AFTER] = str(error.retry_after)
    return web.Response(text=text, status=error.http_status, content_type="application/json", headers=headers)
