"""Adds mon hosts to a Ceph storage that is there already, and takes them from it; the storage lives on meanwhile."""

import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from bs_agent.contract.calls_ceph import MAX_MONS, AddMonParameters, RemoveMonParameters
from bs_agent.contract.errors import InvalidArgument
from bs_agent.contract.monurl import parse_mon_url
from bs_agent.contract.report import CEPH
from bs_agent.management.model.host_tags import asks_for_write_probe, parse_host_tags
from bs_agent.management.model.records import HostRecord, StorageRecord
from bs_agent.management.operations.add_image_store import pinned_key_tags
from bs_agent.management.operations.arrive import Arriving, debts_of
from bs_agent.management.operations.arrive_mons import (
    ArrivingMon,
    ArrivingMons,
    accesses_to,
    fingerprints_of,
    refuse_arriving_twice,
)
from bs_agent.management.operations.debts import Owing
from bs_agent.management.operations.turns import Operations, Refresh, unknown
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet
from bs_agent.management.store.intake import Intake
from bs_agent.management.store.mons import Mons, refuse_taken

log = logging.getLogger(__name__)

_LETTING_GO = 60.0
"""Seconds that a host may take to let go of a storage while the caller waits."""


class ChangingMons:
    """Changes which mon hosts a storage has."""

    def __init__(
        self,
        fleet: Fleet,
        arriving: Arriving,
        keyring: Keyring,
        *,
        owing: Owing,
        intake: Intake,
        operations: Operations,
        refresh: Refresh,
    ) -> None:
        self._fleet = fleet
        self._mons = Mons(fleet.database)
        self._arriving = arriving
        self._commanding = ArrivingMons(arriving, keyring)
        self._owing = owing
        self._intake = intake
        self._operations = operations
        self._refresh = refresh

    async def add(self, parameters: AddMonParameters) -> None:
        """Add mon hosts.

        Raises:
            ApiError: one of them cannot serve the storage; none was added, and nothing is left on them.
        """
        await self._change(parameters.uuid, lambda storage: self._add(storage, parameters))

    async def remove(self, parameters: RemoveMonParameters) -> None:
        """Take mon hosts away; those that cannot be reached let go of the storage when they are back.

        Raises:
            InvalidArgument: it has no such hosts, or would have none left.
        """
        await self._change(parameters.uuid, lambda storage: self._remove(storage, parameters.monHostnames))

    async def _change(self, uuid: str, work: Callable[[StorageRecord], Coroutine[Any, Any, None]]) -> None:
        async def change() -> None:
            await self._intake.flush()  # what is not written yet must not come after what is read now
            await work(await ceph_storage(self._fleet, uuid))

        await ceph_storage(self._fleet, uuid)
        await self._operations.run(uuid, "change", change)

    async def _add(self, storage: StorageRecord, parameters: AddMonParameters) -> None:
        urls = [parse_mon_url(text) for text in parameters.monUrls]
        named = parse_host_tags(parameters.systemTags, [url.hostname for url in urls])
        present = await self._fleet.hosts(storage.uuid)
        refuse_taken([host.hostname for host in present], [url.hostname for url in urls])
        if len(present) + len(urls) > MAX_MONS:
            raise InvalidArgument(f"monUrls: a backup storage may have {MAX_MONS} mon hosts at most")
        write_probe = asks_for_write_probe(await self._fleet.system_tags(storage.uuid))
        # A host that was taken away must let go before it is taken back, not while.
        for agent in await self._mons.owed(storage.uuid, [url.hostname for url in urls]):
            await self._owing.try_to_pay(agent, _LETTING_GO)
        async with self._arriving.arriving(accesses_to(urls, named)) as arrivals:
            refuse_arriving_twice(arrivals, await fingerprints_of(self._fleet, present))
            for arrival in arrivals:
                arrival.host_only = True
            mons = [ArrivingMon(*pair) for pair in zip(urls, arrivals, strict=True)]
            reports = await self._commanding.look(mons, storage)
            settled = await self._commanding.settle(mons, reports, storage, write_probe=write_probe)
            tags = {"system": pinned_key_tags(arrivals, one_host=False)}
            agents = [arrival.agent for arrival in arrivals]
            await self._mons.add(storage.uuid, settled.hosts, agents, tags, expected=debts_of(arrivals))
        log.info("backup storage %s [%s] has more mon hosts: %s", storage.name, storage.uuid, _names(settled.hosts))
        await self._look_again(settled.hosts)
        await self._refresh([host.agentUuid for host in settled.hosts])

    async def _remove(self, storage: StorageRecord, hostnames: Sequence[str]) -> None:
        hosts = await self._fleet.hosts(storage.uuid)
        removed = [host for host in hosts if host.hostname in hostnames]
        kept = [host for host in hosts if host not in removed]
        if unknown_names := sorted(set(hostnames) - {host.hostname for host in removed}):
            raise InvalidArgument(f"monHostnames: the backup storage has no mon host {', '.join(unknown_names)}")
        if not kept:
            raise InvalidArgument("monHostnames: one mon host at least must stay")
        agents = await self._fleet.agents(host.agentUuid for host in removed)
        await self._mons.remove(removed, [self._owing.debt(storage.uuid, agent, host_only=True) for agent in agents])
        log.info("backup storage %s [%s] has fewer mon hosts: %s", storage.name, storage.uuid, _names(removed))
        await self._look_again(kept)
        for agent in agents.values():
            await self._owing.try_to_pay(agent, _LETTING_GO)
        await self._refresh(agents)

    async def _look_again(self, hosts: Iterable[HostRecord]) -> None:
        """Let the storage's status follow from the hosts that it has now."""
        for host in hosts:
            self._intake.health(host.backupStorageUuid, host.monUuid, host.health)
        await self._intake.flush()


async def ceph_storage(fleet: Fleet, uuid: str) -> StorageRecord:
    """Return a Ceph storage.

    Raises:
        ResourceNotFound: there is none of this uuid.
        InvalidArgument: it is of another type.
    """
    storage = await fleet.storage(uuid)
    if storage is None:
        raise unknown(uuid)
    if storage.type != CEPH:
        raise InvalidArgument(f"backup storage[uuid:{uuid}] is of type {storage.type} and has no mons")
    return storage


def _names(hosts: Iterable[HostRecord]) -> str:
    return ", ".join(host.hostname for host in hosts)
