"""The OpenAPI document and the page to browse it: all of it served by this node, nothing from elsewhere."""

import hashlib
import json
from functools import cache
from importlib import resources

from aiohttp import hdrs, web

from bs_agent.contract.declaration import PREFIX
from bs_agent.contract.openapi import document

DOCUMENT, PAGE = f"{PREFIX}/openapi.json", f"{PREFIX}/docs"

_TYPES = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [_route(path, body, type_) for path, (body, type_) in _served().items()]


@cache
def _served() -> dict[str, tuple[bytes, str]]:
    """Return what is answered, with its type, by its path: the same in every application of this process."""
    page = resources.files("bs_agent.management.api") / "page"
    served = {f"{PAGE}/{name}": ((page / name).read_bytes(), type_) for name, type_ in _TYPES.items()}
    served[PAGE] = served.pop(f"{PAGE}/index.html")
    served[DOCUMENT] = (json.dumps(document()).encode(), "application/json")
    return served


def _route(path: str, body: bytes, type_: str) -> web.RouteDef:
    tag = hashlib.sha256(body).hexdigest()[:32]

    async def show(request: web.Request) -> web.Response:
        headers = _HEADERS | {hdrs.ETAG: f'"{tag}"'}
        if any(known.value in {tag, "*"} for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=type_, charset="utf-8", headers=headers)

    return web.get(path, show)
