"""Where a request comes from: what limits failed log-ins goes by it, whichever door they come to."""

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address

from aiohttp import web


def address_of(request: web.Request, proxies: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the address; a trusted proxy names its client last, behind what the client has written."""
    remote = request.remote or ""
    with suppress(ValueError):
        if any(ip_address(remote) in proxy for proxy in proxies):
            return str(ip_address(request.headers.getall("X-Forwarded-For", [""])[-1].rpartition(",")[2].strip()))
    return remote
