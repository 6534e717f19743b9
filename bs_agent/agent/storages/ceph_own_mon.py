"""The mon of this host: by its admin socket, which answers without a quorum, else by what the cluster says of it."""

import asyncio
import socket

import psutil

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph_answers import MON_METADATA, QUORUM_STATUS
from bs_agent.agent.storages.ceph_link import CephLink
from bs_agent.agent.storages.ceph_mons import IN_QUORUM, listens_on, mons_of, shown, split_address
from bs_agent.agent.storages.ceph_sockets import local_mons
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import LocalMon, Mon

RESOLVE_SECONDS = 1.0


class OwnMon:
    """The mon that this host is expected to run, at `address` if that is known."""

    def __init__(self, link: CephLink, host: Host, address: str) -> None:
        self._link = link
        self._host = host
        self._address = address

    async def look(self, fsid: str) -> tuple[LocalMon, Reason | None]:
        """Return the mon, and what is not well with it.

        Raises:
            StorageProblem: there is none that anybody can describe.
        """
        here = await local_mons(self._host.settings.ceph.run_dir, fsid)
        if not here.mons and here.silent:
            raise StorageProblem.of(ReasonCode.MON_OUT_OF_QUORUM, here.silent[0])
        hosts, port = await self._wanted()
        if here.mons:
            own = next((mon for mon in here.mons if listens_on(mon.addresses, hosts, port)), None)
            moved = bool(hosts) and own is None
            own = own or here.mons[0]
            return own, self._moved(shown(own.addresses)) if moved else reason_of(own)
        return await self._by_the_cluster(hosts, port)

    async def counts_itself_in(self, fsid: str) -> bool | None:
        """Tell whether a mon here believes that there is a quorum with it; None if no mon says anything."""
        here = await local_mons(self._host.settings.ceph.run_dir, fsid)
        return any(mon.state in IN_QUORUM for mon in here.mons) if here.mons else None

    async def _by_the_cluster(self, hosts: list[str], port: int | None) -> tuple[LocalMon, Reason | None]:
        answers = await self._link.ask(QUORUM_STATUS, MON_METADATA)
        mons = mons_of(answers.read(QUORUM_STATUS), answers.read(MON_METADATA))
        own_hosts = [entry.address.partition("%")[0] for each in psutil.net_if_addrs().values() for entry in each]
        found = next((mon for mon in mons if listens_on(mon.addresses, hosts or own_hosts, port)), None)
        if found:
            own = described(found)
            return own, reason_of(own)
        if hosts:
            raise StorageProblem(self._moved(", ".join(shown(mon.addresses) for mon in mons)))
        raise StorageProblem.of(ReasonCode.MON_OUT_OF_QUORUM, "no mon of the cluster has an address of this host")

    async def _wanted(self) -> tuple[list[str], int | None]:
        """Return where the mon should listen; no hosts when that is not known, or its name cannot be resolved now."""
        if not self._address:
            return [], None
        host, port = split_address(self._address)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError):
            return [], None
        return [str(address[0]) for *_, address in found], port

    def _moved(self, now: str) -> Reason:
        return Reason(code=ReasonCode.MON_ADDR_CHANGED, details=f"{self._address} is now {now}")


def reason_of(mon: LocalMon) -> Reason | None:
    """Say what is not well with a mon."""
    if mon.state in IN_QUORUM:
        return None
    return Reason(code=ReasonCode.MON_OUT_OF_QUORUM, details=f"mon {mon.name} is {mon.state}")


def described(mon: Mon) -> LocalMon:
    """Describe a mon of the map as if it spoke for itself."""
    state = "out of quorum" if not mon.inQuorum else "leader" if mon.leader else "peon"
    return LocalMon(name=mon.name, state=state, rank=mon.rank, addresses=mon.addresses, version=mon.version)
