"""Where a mon listens, learnt from its own report. Pure."""

import ipaddress
import re
from contextlib import suppress
from typing import NamedTuple

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.monurl import DEFAULT_MON_PORT
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephReport, MonAddress
from bs_agent.management.model.records import write_address

_PORT = re.compile("[0-9]{1,5}")


class Place(NamedTuple):
    """An address of a mon, in two parts."""

    host: str
    port: int


def learn_place(report: CephReport, hostname: str, port: int | None) -> Place:
    """Return where the mon of a host listens: at the wanted port, or at the one that clients of old would use.

    Raises:
        StorageProblem: MonAddrChanged, when it does not listen at the wanted port.
    """
    mon = report.localMon.value
    addresses = sorted(mon.addresses, key=lambda address: address.type) if mon else []
    places = [place for place in map(_split, addresses) if place]
    if mon is None or not places:
        return Place(hostname, port or DEFAULT_MON_PORT)  # the report's reasons say why it is not known
    if port is None:
        return places[0]
    for place in places:
        if place.port == port:
            return place
    listens = ", ".join(write_address(*place) for place in places)
    details = f"the mon {mon.name} of {hostname} is not at port {port} but at {listens}"
    raise StorageProblem.of(ReasonCode.MON_ADDR_CHANGED, details)


def _split(address: MonAddress) -> Place | None:
    """Return the parts of an address; None for one that nobody can listen at, as Ceph shows it of a mon to come."""
    host, _, port = address.address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        return None
    with suppress(ValueError):  # a name
        host = str(ipaddress.ip_address(host))
    return Place(host, int(port))
