"""Adds mon hosts to a Ceph storage that is there already, and takes them from it; the storage lives on meanwhile."""

import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from bs_agent.contract.calls_ceph import MAX_MONS, AddMonParameters, RemoveMonParameters
from bs_agent.contract.errors import InvalidArgument, StorageProblem
from bs_agent.contract.monurl import parse_mon_url
from bs_agent.contract.report import CEPH
from bs_agent.management.model.host_tags import asks_for_write_probe, parse_host_tags
from bs_agent.management.model.records import HostRecord, StorageRecord
from bs_agent.management.operations.add_image_store import pinned_key_tags
from bs_agent.management.operations.arrive import Arrival, Arriving
from bs_agent.management.operations.arrive_mons import ArrivingMon, ArrivingMons, accesses_to
from bs_agent.management.operations.debts import cleanup
from bs_agent.management.operations.means import Means
from bs_agent.management.operations.turns import unknown
from bs_agent.management.store.operations import Held, storage_key
from bs_agent.management.store.storages import OperatedStore

log = logging.getLogger(__name__)

_LETTING_GO = 60.0
"""Seconds that a host may take to let go of a storage while the caller waits."""


class ChangingMons:
    """Changes which mon hosts a storage has."""

    def __init__(self, means: Means, arriving: Arriving) -> None:
        self._means = means
        self._arriving = arriving
        self._commanding = ArrivingMons(arriving, means.keyring)

    async def add(self, parameters: AddMonParameters) -> None:
        """Add mon hosts.

        Raises:
            ApiError: one of them cannot serve the storage; none was added, and nothing is left on them.
        """
        await self._change(parameters.uuid, lambda held, storage: self._add(held, storage, parameters))

    async def remove(self, parameters: RemoveMonParameters) -> None:
        """Take mon hosts away; those that cannot be reached let go of the storage when they are back.

        Raises:
            InvalidArgument: it has no such hosts, or would have none left.
        """
        names = parameters.monHostnames
        await self._change(parameters.uuid, lambda held, storage: self._remove(held, storage, names))

    async def _change(self, uuid: str, work: Callable[[Held, StorageRecord], Coroutine[Any, Any, None]]) -> None:
        async def change(held: Held) -> None:
            await self._means.intake.flush(uuid)  # what is not written yet must not come after what is read now
            await work(held, await ceph_storage(self._means.storages, uuid))

        await ceph_storage(self._means.storages, uuid)
        await self._means.operations.run(storage_key(uuid), "change", change)

    async def _add(self, held: Held, storage: StorageRecord, parameters: AddMonParameters) -> None:
        urls = [parse_mon_url(text) for text in parameters.monUrls]
        named = parse_host_tags(parameters.systemTags, [url.hostname for url in urls])
        present = await self._means.hosts.of(storage.uuid)
        refuse_taken([host.hostname for host in present], [url.hostname for url in urls])
        if len(present) + len(urls) > MAX_MONS:
            raise InvalidArgument(f"monUrls: a backup storage may have {MAX_MONS} mon hosts at most")
        write_probe = asks_for_write_probe(await self._means.storages.system_tags(storage.uuid))
        async with self._arriving.arriving(held, accesses_to(urls, named)) as arrivals:
            refuse_present(arrivals, present)
            for arrival in arrivals:
                arrival.host_only = True
            await self._let_go(held, storage, arrivals)
            mons = [ArrivingMon(*pair) for pair in zip(urls, arrivals, strict=True)]
            reports = await self._commanding.look(held, mons, storage)
            settled = await self._commanding.settle(held, mons, reports, storage, write_probe=write_probe)
            agents = [arrival.agent for arrival in arrivals]
            await self._means.hosts.add(held, settled.hosts, agents, pinned_key_tags(arrivals, one_host=False))
        log.info("backup storage %s [%s] has more mon hosts: %s", storage.name, storage.uuid, _names(settled.hosts))
        await self._look_again(held, settled.hosts)
        await self._means.refresh([host.agentUuid for host in settled.hosts])

    async def _let_go(self, held: Held, storage: StorageRecord, arrivals: Sequence[Arrival]) -> None:
        """Let hosts that were taken away before let go of the storage before they are taken back, not while."""
        agents = {arrival.agent.uuid: arrival.agent for arrival in arrivals}
        for debt in await self._means.debts.of_storage(storage.uuid):
            if debt.agentUuid in agents:
                await self._means.debts.pay_own(held, agents[debt.agentUuid], debt, _LETTING_GO)

    async def _remove(self, held: Held, storage: StorageRecord, hostnames: Sequence[str]) -> None:
        hosts = await self._means.hosts.of(storage.uuid)
        removed = [host for host in hosts if host.hostname in hostnames]
        kept = [host for host in hosts if host not in removed]
        if unknown_names := sorted(set(hostnames) - {host.hostname for host in removed}):
            raise InvalidArgument(f"monHostnames: the backup storage has no mon host {', '.join(unknown_names)}")
        if not kept:
            raise InvalidArgument("monHostnames: one mon host at least must stay")
        agents = await self._means.agents.find(host.agentUuid for host in removed)
        debts = [cleanup(held, storage, agent, host_only=True) for agent in agents]
        await self._means.hosts.remove(held, removed, debts)
        log.info("backup storage %s [%s] has fewer mon hosts: %s", storage.name, storage.uuid, _names(removed))
        await self._look_again(held, kept)
        for debt in debts:
            agent = agents[debt.agentUuid]
            await self._means.debts.pay_own(held, agent, debt, _LETTING_GO)
            with suppress(StorageProblem):  # an add is about to use it
                await self._means.debts.leave(agent)
        await self._means.refresh(agents)

    async def _look_again(self, held: Held, hosts: Sequence[HostRecord]) -> None:
        """Let the storage's status follow from the hosts that it has now."""
        for host in hosts:
            self._means.intake.health(host.backupStorageUuid, host.monUuid, host.health, held)
        for uuid in {host.backupStorageUuid for host in hosts}:
            await self._means.intake.flush(uuid)


async def ceph_storage(storages: OperatedStore, uuid: str) -> StorageRecord:
    """Return a Ceph storage.

    Raises:
        ResourceNotFound: there is none of this uuid.
        InvalidArgument: it is of another type.
    """
    storage = await storages.find(uuid)
    if storage is None:
        raise unknown(uuid)
    if storage.type != CEPH:
        raise InvalidArgument(f"backup storage[uuid:{uuid}] is of type {storage.type} and has no mons")
    return storage


def refuse_taken(taken: Iterable[str], hostnames: Iterable[str]) -> None:
    """Refuse names of hosts that a storage has already.

    Raises:
        InvalidArgument: it has one.
    """
    if twice := sorted(set(taken) & set(hostnames)):
        raise InvalidArgument(f"the backup storage has these mon hosts already: {', '.join(twice)}; leave them out")


def refuse_present(arrivals: Iterable[Arrival], present: Iterable[HostRecord]) -> None:
    """Refuse a host that the storage has under another name.

    Raises:
        InvalidArgument: there is one.
    """
    known = {host.agentUuid: host.hostname for host in present}
    for arrival in arrivals:
        if other := known.get(arrival.agent.uuid):
            raise InvalidArgument(
                f"monUrls: {other} and {arrival.access.hostname} are one host: the same agent answers"
            )


def _names(hosts: Iterable[HostRecord]) -> str:
    return ", ".join(host.hostname for host in hosts)
