"""The OpenAPI document and the page to browse it: all of it served by this node, nothing from elsewhere."""

import asyncio
import hashlib
import json
from functools import cache
from importlib import resources

from aiohttp import hdrs, web

from bs_agent.contract.declaration import PREFIX
from bs_agent.contract.openapi import document

DOCUMENT, PAGE = f"{PREFIX}/openapi.json", f"{PREFIX}/docs"

# By the path: the file of the page, none for the document, and the type.
_SERVED = {
    DOCUMENT: ("", "application/json"),
    PAGE: ("index.html", "text/html"),
    f"{PAGE}/page.css": ("page.css", "text/css"),
    f"{PAGE}/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [_route(path, name, type_) for path, (name, type_) in _SERVED.items()]


@cache
def _made(name: str) -> tuple[bytes, str]:
    """Return what is answered and its tag: made when it is asked for, not while the node starts."""
    page = resources.files("bs_agent.management.api") / "page"
    body = (page / name).read_bytes() if name else json.dumps(document()).encode()
    return body, hashlib.sha256(body).hexdigest()[:32]


def _route(path: str, name: str, type_: str) -> web.RouteDef:
    async def show(request: web.Request) -> web.Response:
        body, tag = await asyncio.to_thread(_made, name)
        headers = _HEADERS | {hdrs.ETAG: f'"{tag}"'}
        if any(known.value in {tag, "*"} for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=type_, charset="utf-8", headers=headers)

    return web.get(path, show)
