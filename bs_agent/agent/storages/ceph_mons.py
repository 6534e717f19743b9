"""The mons of a Ceph cluster and their addresses: the parsed answers in, the report out, no I/O.

Addresses are compared as addresses: 1.2.3.4 is no part of 11.2.3.4, and ::1 is 0:0:0:0:0:0:0:1.
"""

import ipaddress
from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError

from bs_agent.agent.storages.ceph_answers import MapMon, MonMetadata, MonStatus, MonVersion, QuorumStatus
from bs_agent.contract.bounds import MAX_ADDRESSES
from bs_agent.contract.report import LocalMon, Mon, MonAddress

LONGEST_PORT = 5
IN_QUORUM = frozenset({"leader", "peon"})


def mons_of(quorum: QuorumStatus, metadata: list[MonMetadata]) -> list[Mon]:
    """Describe every mon of the map, in the order of their ranks."""
    versions = {mon.name: mon.ceph_version_short or _short(mon.ceph_version) for mon in metadata}
    return [
        Mon(
            rank=mon.rank,
            name=mon.name,
            addresses=addresses_of(mon),
            inQuorum=mon.rank in quorum.quorum,
            leader=bool(quorum.quorum) and mon.name == quorum.quorum_leader_name,
            version=versions.get(mon.name, ""),
        )
        for mon in sorted(quorum.monmap.mons, key=lambda mon: mon.rank)
    ]


def local_mon_of(status: MonStatus, version: MonVersion) -> LocalMon:
    """Describe the mon of this host by its own words."""
    own = next((mon for mon in status.monmap.mons if mon.name == status.name), None)
    return LocalMon(
        name=status.name,
        state=status.state,
        rank=status.rank,
        addresses=addresses_of(own) if own else [],
        version=_short(version.version),
    )


def addresses_of(mon: MapMon) -> list[MonAddress]:
    """Return all addresses of a mon without their nonces; what no report can hold is none."""
    told = [(addr.type, addr.addr) for addr in mon.public_addrs.addrvec] or ([("v1", mon.addr)] if mon.addr else [])
    addresses: list[MonAddress] = []
    for kind, text in told:
        with suppress(ValidationError):
            addresses.append(MonAddress(type=kind, address=text.partition("/")[0]))
    return addresses[:MAX_ADDRESSES]


def split_address(text: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; an address is normalised, a name is kept.

    Raises:
        ValueError: the port is no port.
    """
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if port and not (port.isascii() and port.isdigit() and len(port) <= LONGEST_PORT and int(port) <= 65535):
        raise ValueError(f"no address: {text[:100]!r}")
    try:
        return str(ipaddress.ip_address(host)), int(port) if port else None
    except ValueError:
        return host.lower(), int(port) if port else None


def is_address(host: str) -> bool:
    """Tell an address from a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def listens_on(addresses: Sequence[MonAddress], wanted: Sequence[str], port: int | None) -> bool:
    """Tell whether a mon has one of the wanted hosts, and the port if one is asked for, among its addresses."""
    hosts = {split_address(host)[0] for host in wanted}
    for address in addresses:
        try:
            found_host, found_port = split_address(address.address)
        except ValueError:  # nothing that anybody could listen on
            continue
        if found_host in hosts and port in {None, found_port}:
            return True
    return False


def shown(addresses: Sequence[MonAddress]) -> str:
    """Write addresses the way Ceph does: `[v2:10.0.0.1:3300,v1:10.0.0.1:6789]`."""
    return "[" + ",".join(f"{address.type}:{address.address}" for address in addresses) + "]"


def _short(version: str) -> str:
    # "ceph version 16.2.15 (618f...) pacific (stable)" or "16.2.15" alone.
    words = version.removeprefix("ceph version ").split()
    return words[0] if words else ""
