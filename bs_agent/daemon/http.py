"""The HTTP edge of both daemons: bounded connections, bodies read under a deadline, errors rendered in one place."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from pydantic import ValidationError
from pydantic_core import from_json

from bs_agent.contract.errors import (
    ApiError,
    BodyTooLarge,
    InternalError,
    InvalidArgument,
    MethodNotAllowed,
    NoSuchPath,
    RequestError,
    RequestTimeout,
    UnsupportedEncoding,
    explain,
)
from bs_agent.daemon.acceptor import Acceptor
from bs_agent.daemon.certificate import ServedCertificate
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.connection import dress, error_response
from bs_agent.daemon.lifecycle import background

log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024
BODY_DEADLINE = 10.0
SHUTDOWN_DEADLINE = 5.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(
    app: web.Application,
    where: Address | Sequence[socket.socket],
    tls: ssl.SSLContext | ServedCertificate | None,
    *,
    max_connections: int = 4096,
    max_per_peer: int | None = None,
    known_only: bool = False,
) -> AsyncIterator[Address]:
    """Serve `app` while the context is open; yields the (first) address it listens on (port 0 becomes the real one).

    With `known_only` connections are kept for those only whom the application has called `trust` for.
    """
    listeners = [_listen(where)] if isinstance(where, Address) else where

    @web.middleware
    async def note_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        acceptor.begun(request.protocol)
        response = await handler(request)
        if acceptor.is_last(request.protocol):
            response.force_close()
        return response

    app.middlewares.insert(0, note_request)
    app.on_response_prepare.append(dress)
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_DEADLINE)
    context = tls.context if isinstance(tls, ServedCertificate) else tls
    try:
        await runner.setup()
        if runner.server is None:
            raise RuntimeError("the runner has no server after its set-up")
        acceptor = Acceptor(listeners, runner.server, context, max_connections, max_per_peer, known_only=known_only)
        if isinstance(tls, ServedCertificate):
            tls.renewed, tls.is_outdated = acceptor.renew_connections, acceptor.is_last
        addresses = [Address(*listener.getsockname()[:2]) for listener in listeners]
        async with background(acceptor.run(), f"server on {', '.join(map(str, addresses))}"):
            yield addresses[0]
    finally:
        for listener in listeners:
            listener.close()
        await runner.cleanup()


def _listen(address: Address) -> socket.socket:
    """Return a listening socket; `::` takes IPv4 peers too."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    dual = address.host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, backlog=512, dualstack_ipv6=dual)


async def read_body(request: web.Request, limit: int, what: str = "body") -> bytes:
    """Return the body, which the errors call `what`; one of more than `limit` bytes is refused.

    Raises:
        RequestError: it is too large, too slow, or not as its headers say.
    """
    try:
        async with asyncio.timeout(BODY_DEADLINE):
            return await request.clone(client_max_size=limit).read()
    except TimeoutError:
        raise RequestTimeout(f"the {what} did not arrive within {BODY_DEADLINE:.0f} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge(f"the {what} is larger than {limit} bytes") from None
    except web.RequestPayloadError:
        raise RequestError(f"the {what} is not framed or encoded as its headers say") from None
    except ConnectionError:
        raise RequestError(f"the connection was closed before the {what} was there") from None


async def read_json(request: web.Request, limit: int = MAX_BODY) -> Any:  # noqa: ANN401 RUF100  the body is whatever the caller sent; models check it
    """Return the body as JSON; an empty body is an empty object, and one of more than `limit` bytes is refused.

    Raises:
        RequestError: the body is too large, too slow, compressed, or not JSON.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("send the body uncompressed")
    body = await read_body(request, limit)
    if not body.strip():
        return {}
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}") from None


@web.middleware
async def render_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into an answer of the API's error structure; only what is shown on purpose leaves."""
    try:
        if "\0" in request.path:
            raise RequestError("the path cannot hold the character NUL")  # noqa: TRY301  answered as the others
        return await handler(request)
    except ApiError as error:
        return error_response(error)
    except ValidationError as error:
        return error_response(InvalidArgument(explain(error)))
    except web.HTTPNotFound:
        return error_response(NoSuchPath(f"no api mapping to {request.path}"))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        response = error_response(MethodNotAllowed(f"{request.method} {request.path}: allowed is {allowed}"))
        response.headers["Allow"] = allowed
        return response
    except web.HTTPRequestEntityTooLarge:
        return error_response(BodyTooLarge(f"the body is larger than {MAX_BODY} bytes"))
    except (asyncio.CancelledError, web.HTTPException):
        raise
    except Exception:  # edge: whatever else went wrong in a handler
        # Not the path: that of a session holds its secret.
        resource = request.match_info.route.resource
        log.exception("%s %s failed", request.method, resource.canonical if resource else "of no route")
        return error_response(InternalError("an unexpected fault; the log has the rest"))
