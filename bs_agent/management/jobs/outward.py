"""Connections to addresses that a caller chose: they must not lead back to this host or its link.

What is judged is the address that a socket is made for, after every look-up, so a name that changes what it points at
gains nothing. Names are looked up in threads of their own, one at a time for each name: one that is never answered
holds up neither the other names nor what else of this process looks names up.
"""

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from bs_agent.daemon.connection import connector

_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_WRAPPED = (ipaddress.ip_network("::/96"), ipaddress.ip_network("64:ff9b::/96"))


class AddressRefused(OSError):
    """Nothing is sent to this address."""


def refusal(text: str, *, allow_local: bool) -> str | None:
    """Say why nothing is sent to an address, or None; `allow_local` lets loopback and link-local ones pass."""
    address = _plain(ipaddress.ip_address(text.partition("%")[0]))
    if address.is_unspecified or (isinstance(address, IPv4Address) and address in _THIS_NETWORK):
        return f"{text} is an unspecified address"
    if address.is_multicast or address == IPv4Address("255.255.255.255"):
        return f"{text} is not the address of one host"
    if allow_local:
        return None
    if address.is_loopback:
        return f"{text} is a loopback address"
    if address.is_link_local:
        return f"{text} is a link-local address"
    return None


def outward_connector(limit: int, *, allow_local: bool) -> aiohttp.TCPConnector:
    """Return a connector that refuses addresses as `refusal` says; connections are not kept."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if why := refusal(str(address[0]), allow_local=allow_local):
            raise AddressRefused(f"{why}: see [hooks] allow_local")
        return socket.socket(family, kind, protocol)

    options: dict[str, Any] = {"socket_factory": make, "limit": limit, "force_close": True}
    return connector(use_dns_cache=False, resolver=_Names(limit), **options)


class _Names(AbstractResolver):
    """Looks names up; who asks for a name that is being looked up waits for that."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "names of web hooks")
        self._asked: dict[tuple[str, int, int], asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        key = (host, port, family)
        if key not in self._asked:
            asked = asyncio.get_running_loop().run_in_executor(self._executor, _look_up, *key)
            asked.add_done_callback(partial(self._answered, key))
            self._asked[key] = asked
        return await asyncio.shield(self._asked[key])

    async def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _answered(self, key: tuple[str, int, int], asked: asyncio.Future[list[ResolveResult]]) -> None:
        del self._asked[key]
        if not asked.cancelled():
            asked.exception()  # nobody may be left who wants to know


def _look_up(host: str, port: int, family: int) -> list[ResolveResult]:
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=numeric)
        for kind, _, protocol, _, address in found
    ]


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one wraps: connecting to it is connecting to that."""
    if isinstance(address, IPv6Address):
        if inner := address.ipv4_mapped or address.sixtofour:
            return inner
        if int(address) > 1 and any(address in network for network in _WRAPPED):
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
