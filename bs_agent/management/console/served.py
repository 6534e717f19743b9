"""The files of the pages: kept in this tree, served from here, and kept by browsers until they change."""

import asyncio
import hashlib
from functools import cache
from importlib import resources

from aiohttp import hdrs, web

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: browsers would hide the origin of our own forms from us.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""What goes with every answer of the console."""

HTMX, UPLOT, UPLOT_STYLE = "htmx-2.0.10.min.js", "uPlot-1.6.32.iife.min.js", "uPlot-1.6.32.min.css"
FILES = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    HTMX: "text/javascript",
    UPLOT: "text/javascript",
    UPLOT_STYLE: "text/css",
}
_KEPT = "public, max-age=31536000, immutable"


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [_route(name, type_) for name, type_ in FILES.items()]


def path_of(name: str) -> str:
    """Return the path of a file, which changes with it: so browsers may keep it."""
    return f"/static/{name}?{_read(name)[1]}"


@cache
def _read(name: str) -> tuple[bytes, str]:
    body = (resources.files("bs_agent.management.console") / "static" / name).read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:16]


def _route(name: str, type_: str) -> web.RouteDef:
    async def show(request: web.Request) -> web.Response:
        body, tag = await asyncio.to_thread(_read, name)
        kept = {hdrs.CACHE_CONTROL: _KEPT if request.query_string == tag else "no-cache", hdrs.ETAG: f'"{tag}"'}
        if any(known.value in {tag, "*"} for known in request.if_none_match or ()):
            return web.Response(status=304, headers=SECURITY | kept)
        return web.Response(body=body, content_type=type_, charset="utf-8", headers=SECURITY | kept)

    return web.get(f"/static/{name}", show)
