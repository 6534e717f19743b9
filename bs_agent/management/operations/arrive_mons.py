"""Mon hosts on their way into a Ceph storage: what each sees of its cluster, where its mon listens, what is stored."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.monurl import MonUrl
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephReport
from bs_agent.management.hosts.trust import Access
from bs_agent.management.model.health import Health
from bs_agent.management.model.host_tags import HostTags
from bs_agent.management.model.mon_address import learn_place
from bs_agent.management.model.records import HostRecord, StorageRecord
from bs_agent.management.operations.add_image_store import accepted, host_record
from bs_agent.management.operations.arrive import Arrival, Arriving, raise_first
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.operations import Held

T = TypeVar("T")


class ArrivingMon(NamedTuple):
    """One mon host."""

    url: MonUrl
    arrival: Arrival


class Settled(NamedTuple):
    """What is stored of mon hosts that have arrived, and a capacity that they report: a fresh one, if there is one."""

    hosts: list[HostRecord]
    capacity: dict[str, Any]


class ArrivingMons:
    """Commands mon hosts that have arrived; what they say against it is raised with the host's name."""

    def __init__(self, arriving: Arriving, keyring: Keyring) -> None:
        self._arriving = arriving
        self._keyring = keyring

    async def look(
        self, held: Held, mons: Sequence[ArrivingMon], storage: StorageRecord, *, create_pool: bool = False
    ) -> list[CephReport]:
        """Put the storage on the hosts, wherever their mons listen, and return what they see.

        Raises:
            ApiError: one of them may not serve it.
        """

        async def look(mon: ArrivingMon) -> CephReport:
            host = host_record(self._keyring, storage, mon.arrival)
            parameters = storage.parameters(host, create_pool=create_pool)
            report = await self._arriving.command(held, mon.arrival, storage, parameters)
            if not isinstance(report, CephReport):
                raise StorageProblem.of(ReasonCode.AGENT_FAULT, f"the agent answered for {report.type}")
            accepted(report, storage)
            return report

        return await for_each(mons, look)

    async def settle(
        self,
        held: Held,
        mons: Sequence[ArrivingMon],
        reports: Sequence[CephReport],
        storage: StorageRecord,
        *,
        write_probe: bool = False,
    ) -> Settled:
        """Tell each host, with the address of its mon that its report tells, to hold on to it.

        Raises:
            ApiError: the mon of one is not where it was said to be, or the host does not serve the storage now.
        """
        said = dict(zip((mon.url.hostname for mon in mons), reports, strict=True))
        capacities: list[tuple[Health, dict[str, Any]]] = []

        async def settle(mon: ArrivingMon) -> HostRecord:
            place = learn_place(said[mon.url.hostname], mon.url.hostname, mon.url.mon_port)
            host = host_record(self._keyring, storage, mon.arrival)
            host = replace(host, monAddr=place.host, monPort=place.port)
            parameters = storage.parameters(host, write_probe=write_probe)
            report = await self._arriving.command(held, mon.arrival, storage, parameters)
            health, capacity = accepted(report, storage)
            capacities.append((health, capacity))
            return host.being(health)

        hosts = await for_each(mons, settle)
        _, newest = max(capacities, key=lambda told: told[0].fresh)
        return Settled(hosts, newest)


def accesses_to(urls: Iterable[MonUrl], tags: HostTags) -> list[Access]:
    """Return how each mon host may be entered."""
    return [
        Access(
            url.hostname,
            tags.code(url.hostname),
            url.ssh_port,
            url.username,
            url.password,
            fingerprint=tags.fingerprint(url.hostname),
        )
        for url in urls
    ]


async def for_each(mons: Sequence[ArrivingMon], work: Callable[[ArrivingMon], Awaitable[T]]) -> list[T]:
    """Do something with all mon hosts side by side; the first problem is raised when all have ended."""

    async def named(mon: ArrivingMon) -> T:
        try:
            return await work(mon)
        except StorageProblem as problem:
            raise named_problem(mon.url.hostname, problem) from problem

    outcomes = await asyncio.gather(*(named(mon) for mon in mons), return_exceptions=True)
    raise_first(outcomes)
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def named_problem(hostname: str, problem: StorageProblem) -> StorageProblem:
    """Return a problem of a host with the host's name in it."""
    if problem.details.startswith(hostname):
        return problem
    return StorageProblem.of(problem.reason.code, f"{hostname}: {problem.details}")
