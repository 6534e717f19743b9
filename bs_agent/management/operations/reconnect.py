"""ReconnectBackupStorage: connect to the hosts of a storage afresh, side by side, and see that it is still the same."""

import asyncio
import hashlib
import logging
from collections.abc import Sequence

from bs_agent.contract.errors import ApiError, InvalidArgument, StorageProblem
from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason
from bs_agent.contract.report import StorageReport
from bs_agent.management.model.health import Health
from bs_agent.management.model.host_tags import HostTags, parse_host_tags
from bs_agent.management.model.identity import IDENTITY, verify
from bs_agent.management.model.records import HostRecord, StorageRecord
from bs_agent.management.operations.connect import Connecting
from bs_agent.management.operations.means import Means
from bs_agent.management.operations.turns import unknown
from bs_agent.management.store.operations import Held, storage_key
from bs_agent.management.store.storages import refuse_pool

log = logging.getLogger(__name__)


class Reconnecting:
    """Connects storages afresh: a whole one when asked to, a single host when it is back."""

    def __init__(self, means: Means, connecting: Connecting) -> None:
        self._means = means
        self._connecting = connecting

    async def reconnect(self, uuid: str, system_tags: Sequence[str] = ()) -> None:
        """Connect all hosts of a storage; later callers join the running reconnect.

        Raises:
            ResourceNotFound: there is no such storage.
            ApiError: the storage is not Connected afterwards, or is not the one that was added.
        """
        if await self._means.storages.find(uuid) is None:
            raise unknown(uuid)
        tags = sorted(system_tags)
        # Hashed: a tag may hold a secret.
        variant = hashlib.sha256("\n".join(tags).encode()).hexdigest() if tags else ""
        await self._means.operations.run(
            storage_key(uuid), "reconnect", lambda held: self._reconnect(held, uuid, tags), variant
        )

    async def restore(self, uuid: str, mon_uuid: str, was: Status) -> None:
        """Connect one host that is back, without SSH; the others and the storage's status are left alone.

        Nothing is done when it `was` not Connected as it was seen last, and somebody has connected it meanwhile.

        Raises:
            ApiError: it could not be connected; its row says why.
        """
        await self._means.operations.run(
            storage_key(uuid), "restore", lambda held: self._restore(held, uuid, mon_uuid, was)
        )

    async def _reconnect(self, held: Held, uuid: str, system_tags: Sequence[str]) -> None:
        storage = await self._means.storages.find(uuid)
        if storage is None:
            raise unknown(uuid)
        hosts = await self._means.hosts.of(uuid)
        tags = parse_host_tags(system_tags, [host.hostname for host in hosts])
        for host in hosts:
            self._means.intake.health(uuid, host.monUuid, Health("Connecting", None, host.capacityFresh), held)
        await self._means.intake.flush(uuid)
        problems = await asyncio.gather(*(self._connect(held, storage, host, tags) for host in hosts))
        await self._means.intake.flush(uuid)
        await self._means.refresh([host.agentUuid for host in await self._means.hosts.of(uuid)])
        await self._conclude(uuid, [problem for problem in problems if problem])

    async def _connect(self, held: Held, storage: StorageRecord, host: HostRecord, tags: HostTags) -> ApiError | None:
        """Connect one host and take what it reports; return what went wrong."""
        try:
            report = await self._connecting.by_any_means(held, storage, host, tags)
            return await self._accept(held, storage, host, report)
        except ApiError as problem:
            self._reject(held, host, problem)
            return problem

    async def _restore(self, held: Held, uuid: str, mon_uuid: str, was: Status) -> None:
        storage, host = await self._means.storages.find(uuid), await self._means.hosts.find(mon_uuid)
        if storage is None or host is None or host.status == "Connected" != was:
            return
        try:
            problem = await self._accept(held, storage, host, await self._connecting.by_agent(held, storage, host))
        except ApiError as problem:
            self._reject(held, host, problem)
            raise
        finally:
            await self._means.intake.flush(uuid)

    async def _accept(
        self, held: Held, storage: StorageRecord, host: HostRecord, report: StorageReport
    ) -> StorageProblem | None:
        """Take what a host reports of its storage; return what makes it unusable.

        Raises:
            ApiError: it is another storage.
        """
        health = verify(report, storage)
        if storage.fsid and storage.poolName:
            owner = await self._means.storages.pool_owner(storage)
            refuse_pool(storage.fsid, storage.poolName, owner)
        if health.sees_storage:
            self._means.intake.capacity(storage.uuid, host.monUuid, report, held)
        self._means.intake.health(storage.uuid, host.monUuid, health, held)
        return StorageProblem(health.reason) if health.status != "Connected" and health.reason else None

    def _reject(self, held: Held, host: HostRecord, problem: ApiError) -> None:
        self._means.intake.health(
            host.backupStorageUuid, host.monUuid, Health("Disconnected", _reason_of(problem)), held
        )

    async def _conclude(self, uuid: str, problems: Sequence[ApiError]) -> None:
        storage = await self._means.storages.find(uuid)
        if storage is None:
            raise unknown(uuid)
        if not problems:
            return
        # First the one that the storage shows: it says the most.
        problems = sorted(problems, key=lambda problem: _reason_of(problem) != storage.statusReason)
        for problem in problems:
            decisive = isinstance(problem, InvalidArgument) or (
                isinstance(problem, StorageProblem) and problem.reason.code in IDENTITY
            )
            if decisive or storage.status != "Connected":
                raise problem
        log.warning("backup storage %s is connected, but not all of its hosts are: %s", uuid, problems[0].details)


def _reason_of(problem: ApiError) -> Reason | None:
    return problem.reason if isinstance(problem, StorageProblem) else None
