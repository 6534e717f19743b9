"""AddCephBackupStorage: enrol with each mon host, find or make the pool, see that all are of one cluster, store."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from bs_agent.contract.calls_ceph import AddCephParameters
from bs_agent.contract.monurl import parse_mon_url
from bs_agent.contract.report import CEPH, CephReport
from bs_agent.management.model.host_tags import asks_for_write_probe, parse_host_tags, stored_tags
from bs_agent.management.model.records import StorageRecord
from bs_agent.management.operations.add_image_store import pinned_key_tags
from bs_agent.management.operations.arrive import Arriving
from bs_agent.management.operations.arrive_mons import ArrivingMon, ArrivingMons, accesses_to
from bs_agent.management.operations.means import Means
from bs_agent.management.store.operations import Held, storage_key
from bs_agent.management.store.storages import refuse_pool

log = logging.getLogger(__name__)

URL = "not used"


class AddingCeph:
    """Adds pools of Ceph clusters."""

    def __init__(self, means: Means, arriving: Arriving) -> None:
        self._means = means
        self._arriving = arriving
        self._mons = ArrivingMons(arriving, means.keyring)

    async def add(self, parameters: AddCephParameters) -> str:
        """Add a pool, which is made if none is named; return the uuid of the new storage.

        Raises:
            ApiError: it could not be added; neither here nor on a host nor in the cluster is anything left of it.
        """
        urls = [parse_mon_url(text) for text in parameters.monUrls]
        hostnames = [url.hostname for url in urls]
        named = parse_host_tags(parameters.systemTags, hostnames)
        tags = {"System": stored_tags(parameters.systemTags), "User": list(dict.fromkeys(parameters.userTags))}
        uuid = parameters.resourceUuid or uuid4().hex
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

        async def work(held: Held) -> None:
            await self._means.storages.refuse_taken(parameters.resourceUuid)
            async with self._arriving.arriving(held, accesses_to(urls, named)) as arrivals:
                mons = [ArrivingMon(*pair) for pair in zip(urls, arrivals, strict=True)]
                await self._settle(held, storage, mons, tags)
            await self._means.refresh([mon.arrival.agent.uuid for mon in mons])

        await self._means.operations.run(storage_key(uuid), "add", work, storage.name)
        log.info("backup storage %s [%s] is added: pool %s", storage.name, uuid, storage.poolName)
        return uuid

    async def _settle(
        self, held: Held, storage: StorageRecord, mons: Sequence[ArrivingMon], tags: dict[str, list[str]]
    ) -> None:
        first, *others = mons
        for other in others:
            other.arrival.host_only = True
        await self._refuse_known_pool(storage, mons)
        # The first makes the pool and says which cluster it is; the others must see the same.
        reports = await self._mons.look(held, [first], storage, create_pool=bool(storage.poolCreated))
        storage = replace(storage, fsid=fsid_of(reports[0]), poolId=reports[0].poolId)
        owner = await self._means.storages.pool_owner(storage)
        refuse_pool(storage.fsid or "", storage.poolName or "", owner)
        reports += await self._mons.look(held, others, storage)
        write_probe = asks_for_write_probe(tags["System"])
        settled = await self._mons.settle(held, mons, reports, storage, write_probe=write_probe)
        tags = tags | {"System": [*tags["System"], *pinned_key_tags([mon.arrival for mon in mons], one_host=False)]}
        agents = [mon.arrival.agent for mon in mons]
        reason = next((host.statusReason for host in settled.hosts if host.statusReason), None)
        storage = replace(storage, statusReason=reason)
        await self._means.storages.add(held, storage, settled.hosts, agents, capacity=settled.capacity, tags=tags)

    async def _refuse_known_pool(self, storage: StorageRecord, mons: Sequence[ArrivingMon]) -> None:
        """Refuse a pool that one of these hosts serves already, before anything is put on it."""
        for known in await self._means.storages.behind([mon.arrival.agent.uuid for mon in mons]):
            if known.poolName == storage.poolName:
                refuse_pool(known.fsid or "", known.poolName or "", known.uuid)


def fsid_of(report: CephReport) -> str:
    """Return the fsid of a report that was accepted."""
    if report.cluster.value is None:
        raise RuntimeError("a report without a cluster is not accepted")
    return report.cluster.value.fsid
