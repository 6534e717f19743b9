"""The mon of this host: by its admin socket, which answers without a quorum, else by what the cluster says of it."""

import asyncio
from ipaddress import ip_address

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph_answers import MON_METADATA, QUORUM_STATUS
from bs_agent.agent.storages.ceph_link import CephLink
from bs_agent.agent.storages.ceph_mons import IN_QUORUM, is_address, listens_on, mons_of, shown, split_address
from bs_agent.agent.storages.ceph_sockets import local_mons
from bs_agent.agent.storages.own_addresses import own_addresses
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import LocalMon, Mon

RESOLVE_SECONDS = 1.0


class OwnMon:
    """The mon that this host is expected to run, at `address` if that is known.

    While it is not, and this machine runs several, it is the one at the address under which the host itself is known.
    """

    def __init__(self, link: CephLink, host: Host, address: str, host_address: str = "") -> None:
        self._link = link
        self._host = host
        self._address = address
        self._host_address = host_address
        self._name = ""  # of the mon that was seen here

    async def look(self, fsid: str) -> tuple[LocalMon, Reason | None]:
        """Return the mon, and what is not well with it.

        Raises:
            StorageProblem: there is none that anybody can describe.
        """
        here = await local_mons(self._host.settings.ceph.run_dir, fsid)
        hosts, port = await self._places(self._address or self._host_address)
        if not here.mons:
            own, reason = await self._by_the_cluster(hosts, port)
            if here.silent and reason:
                raise StorageProblem.of(reason.code, f"{reason.details}; {here.silent[0]}")
            return own, reason
        found = next((mon for mon in here.mons if listens_on(mon.addresses, hosts, port)), None)
        if found:
            self._name = found.name
            return found, reason_of(found)
        found = next((mon for mon in here.mons if mon.name == self._name), None)
        if found is None and hosts:
            gone = await self._gone(hosts, port, here.silent)
            if gone:
                return gone, reason_of(gone)
        found = found or min(here.mons, key=lambda mon: (mon.rank < 0, mon.rank))  # always the same, as by the cluster
        return found, self._moved(shown(found.addresses)) if hosts and self._address else reason_of(found)

    async def counts_itself_in(self, fsid: str) -> bool | None:
        """Tell whether a mon here believes that there is a quorum with it; None if no mon says anything."""
        here = await local_mons(self._host.settings.ceph.run_dir, fsid)
        return any(mon.state in IN_QUORUM for mon in here.mons) if here.mons else None

    async def _by_the_cluster(self, hosts: list[str], port: int | None) -> tuple[LocalMon, Reason | None]:
        mons = await self._map()
        found = next((mon for mon in mons if listens_on(mon.addresses, hosts, port)), None)
        if found is None and hosts and self._address:
            raise StorageProblem(self._moved(", ".join(shown(mon.addresses) for mon in mons)))
        found = found or next((mon for mon in mons if listens_on(mon.addresses, own_hosts(), None)), None)
        if found is None:
            raise StorageProblem.of(ReasonCode.MON_OUT_OF_QUORUM, "no mon of the cluster has an address of this host")
        own = described(found)
        return own, reason_of(own)

    async def _gone(self, hosts: list[str], port: int | None, silent: list[str]) -> LocalMon | None:
        """Return our mon by the cluster's words when it is others that answer here.

        Unless it is known to have been here, by its name or its socket, one in the quorum may be that of another host.
        """
        mons = [mon for mon in await self._map() if listens_on(mon.addresses, hosts, port)]
        known = [mon for mon in mons if self._name or any(f"-mon.{mon.name}.asok" in said for said in silent)]
        return next((described(mon) for mon in known + [mon for mon in mons if not mon.inQuorum]), None)

    async def _map(self) -> list[Mon]:
        answers = await self._link.ask(QUORUM_STATUS, MON_METADATA)
        return mons_of(answers.read(QUORUM_STATUS), answers.read(MON_METADATA))

    async def _places(self, address: str) -> tuple[list[str], int | None]:
        """Return the hosts and the port of an address; no hosts when it is empty or a name that nobody resolves now.

        A host often finds its own name at a loopback address (Debian: 127.0.1.1): that is any address of this host.
        """
        if not address:
            return [], None
        host, port = split_address(address)
        if is_address(host):
            return [host], port
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = [str(each[0]) for *_, each in await self._host.names.look_up(host)]
        except (OSError, TimeoutError):
            return [], None
        return found + (own_hosts() if any(ip_address(each).is_loopback for each in found) else []), port

    def _moved(self, now: str) -> Reason:
        return Reason(code=ReasonCode.MON_ADDR_CHANGED, details=f"{self._address} is now {now}")


def own_hosts() -> list[str]:
    """Return the addresses of this host."""
    return [address.partition("%")[0] for address in own_addresses()]


def reason_of(mon: LocalMon) -> Reason | None:
    """Say what is not well with a mon."""
    if mon.state in IN_QUORUM:
        return None
    return Reason(code=ReasonCode.MON_OUT_OF_QUORUM, details=f"mon {mon.name} is {mon.state}")


def described(mon: Mon) -> LocalMon:
    """Describe a mon of the map as if it spoke for itself."""
    state = "out of quorum" if not mon.inQuorum else "leader" if mon.leader else "peon"
    return LocalMon(name=mon.name, state=state, rank=mon.rank, addresses=mon.addresses, version=mon.version)
