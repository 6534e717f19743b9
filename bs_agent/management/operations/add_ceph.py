"""AddCephBackupStorage: enrol with each mon host, find or make the pool, see that all are of one cluster, store."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from bs_agent.contract.calls_ceph import AddCephParameters
from bs_agent.contract.monurl import parse_mon_url
from bs_agent.contract.report import CEPH, CephReport
from bs_agent.management.model.host_tags import asks_for_write_probe, parse_host_tags, stored_tags
from bs_agent.management.model.records import StorageRecord
from bs_agent.management.operations.add_image_store import new_uuid, pinned_key_tags
from bs_agent.management.operations.arrive import Arriving, debts_of
from bs_agent.management.operations.arrive_mons import ArrivingMon, ArrivingMons, accesses_to, refuse_arriving_twice
from bs_agent.management.operations.turns import Refresh
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet, refuse_pool
from bs_agent.management.store.mons import Mons

log = logging.getLogger(__name__)

URL = "not used"


class AddingCeph:
    """Adds pools of Ceph clusters."""

    def __init__(self, fleet: Fleet, arriving: Arriving, keyring: Keyring, refresh: Refresh) -> None:
        self._fleet = fleet
        self._arriving = arriving
        self._mons = ArrivingMons(arriving, keyring)
        self._known = Mons(fleet.database)
        self._refresh = refresh

    async def add_ceph(self, parameters: AddCephParameters) -> str:
        """Add a pool, which is made if none is named; return the uuid of the new storage.

        Raises:
            ApiError: it could not be added; neither here nor on a host nor in the cluster is anything left of it.
        """
        uuid = await new_uuid(self._fleet, parameters.resourceUuid)
        urls = [parse_mon_url(text) for text in parameters.monUrls]
        hostnames = [url.hostname for url in urls]
        named = parse_host_tags(parameters.systemTags, hostnames)
        tags = {"system": stored_tags(parameters.systemTags), "user": stored_tags(parameters.userTags)}
        storage = StorageRecord(
            uuid,
            parameters.name,
            parameters.description,
            CEPH,
            URL,
            state="Enabled",
            status="Connected",
            statusReason=None,
            poolName=parameters.poolName or f"bak-t-{uuid}",
            poolCreated=parameters.poolName is None,
            capacityPolicy=parameters.capacityPolicy,
        )
        async with self._arriving.arriving(accesses_to(urls, named)) as arrivals:
            refuse_arriving_twice(arrivals, {})
            mons = [ArrivingMon(*pair) for pair in zip(urls, arrivals, strict=True)]
            await self._settle(storage, mons, tags)
        log.info("backup storage %s [%s] is added: pool %s", storage.name, uuid, storage.poolName)
        await self._refresh([mon.arrival.agent.uuid for mon in mons])
        return uuid

    async def _settle(self, storage: StorageRecord, mons: Sequence[ArrivingMon], tags: dict[str, list[str]]) -> None:
        first, *others = mons
        for other in others:
            other.arrival.host_only = True
        await self._refuse_known_pool(storage, mons)
        # The first makes the pool and says which cluster it is; the others must see the same.
        reports = await self._mons.look([first], storage, create_pool=bool(storage.poolCreated))
        storage = replace(storage, fsid=fsid_of(reports[0]))
        owner = await self._fleet.pool_owner(storage.fsid or "", storage.poolName or "", storage.uuid)
        refuse_pool(storage.fsid or "", storage.poolName or "", owner)
        reports += await self._mons.look(others, storage)
        settled = await self._mons.settle(mons, reports, storage, write_probe=asks_for_write_probe(tags["system"]))
        tags = tags | {"system": [*tags["system"], *pinned_key_tags([mon.arrival for mon in mons], one_host=False)]}
        agents = [mon.arrival.agent for mon in mons]
        reason = next((host.statusReason for host in settled.hosts if host.statusReason), None)
        expected = debts_of([mon.arrival for mon in mons])
        storage = replace(storage, statusReason=reason)
        await self._fleet.add(storage, settled.hosts, agents, settled.capacity, tags, expected=expected)

    async def _refuse_known_pool(self, storage: StorageRecord, mons: Sequence[ArrivingMon]) -> None:
        """Refuse a pool that one of these hosts serves already, before anything is put on it."""
        agents = [mon.arrival.agent.uuid for mon in mons]
        for known in await self._known.storages_of(agents):
            if known.poolName == storage.poolName:
                refuse_pool(known.fsid or "", known.poolName or "", known.uuid)


def fsid_of(report: CephReport) -> str:
    """Return the fsid of a report that was accepted."""
    if report.cluster.value is None:
        raise RuntimeError("a report without a cluster is not accepted")
    return report.cluster.value.fsid
