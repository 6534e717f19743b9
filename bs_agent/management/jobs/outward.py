"""Connections to addresses that a caller chose: they must not lead back to this host or its link.

What is judged is the address that a socket is made for, after every look-up, so a name that changes what it points at
gains nothing.
"""

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import aiohttp
from aiohttp import AddrInfoType

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
    return aiohttp.TCPConnector(use_dns_cache=False, **options)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one wraps: connecting to it is connecting to that."""
    if isinstance(address, IPv6Address):
        if inner := address.ipv4_mapped or address.sixtofour:
            return inner
        if int(address) > 1 and any(address in network for network in _WRAPPED):
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
