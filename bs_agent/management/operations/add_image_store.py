"""AddImageStoreBackupStorage: enrol with the host, connect the directory, verify, store. On failure nothing stays."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from bs_agent.contract.api import AddImageStoreParameters
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import IMAGESTORE, StorageReport
from bs_agent.management.hosts.trust import Access
from bs_agent.management.model.capacity import capacity_of
from bs_agent.management.model.health import Health
from bs_agent.management.model.host_tags import host_key_tag, parse_host_tags, stored_tags
from bs_agent.management.model.identity import verify
from bs_agent.management.model.records import HostRecord, StorageRecord
from bs_agent.management.operations.arrive import Arrival, Arriving
from bs_agent.management.operations.means import Means
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.operations import Held, storage_key
from bs_agent.management.store.storages import refuse_directory

log = logging.getLogger(__name__)


class AddingImageStore:
    """Adds ImageStores."""

    def __init__(self, means: Means, arriving: Arriving) -> None:
        self._means = means
        self._arriving = arriving

    async def add(self, parameters: AddImageStoreParameters) -> str:
        """Add a directory of a host; return the uuid of the new storage.

        Raises:
            ApiError: it could not be added; neither here nor on the host is anything left of it.
        """
        named = parse_host_tags(parameters.systemTags, [parameters.hostname])
        tags = {"System": stored_tags(parameters.systemTags), "User": list(dict.fromkeys(parameters.userTags))}
        access = Access(
            parameters.hostname,
            named.code(parameters.hostname),
            parameters.sshPort,
            parameters.username,
            parameters.password.get_secret_value(),
            fingerprint=named.fingerprint(parameters.hostname),
        )
        storage = StorageRecord(
            parameters.resourceUuid or uuid4().hex,
            parameters.name,
            parameters.description,
            IMAGESTORE,
            parameters.url,
            state="Enabled",
            status="Connected",
            statusReason=None,
            hostname=parameters.hostname,
            username=parameters.username or None,
            sshPort=parameters.sshPort,
            servicePort=parameters.servicePort,
        )

        async def work(held: Held) -> None:
            await self._means.storages.refuse_taken(parameters.resourceUuid)
            async with self._arriving.arriving(held, [access]) as arrivals:
                await self._settle(held, storage, arrivals[0], tags)
            await self._means.refresh([arrivals[0].agent.uuid])

        await self._means.operations.run(storage_key(storage.uuid), "add", work, storage.name)
        log.info("backup storage %s [%s] is added: %s on %s", storage.name, storage.uuid, storage.url, access.hostname)
        return storage.uuid

    async def _settle(self, held: Held, storage: StorageRecord, arrival: Arrival, tags: dict[str, list[str]]) -> None:
        behind = await self._means.storages.behind([arrival.agent.uuid])
        owner = next((known.uuid for known in behind if known.url == storage.url), None)
        refuse_directory(storage.url, arrival.access.hostname, owner)
        host = host_record(self._means.keyring, storage, arrival)
        report = await self._arriving.command(held, arrival, storage, storage.parameters(host))
        health, capacity = accepted(report, storage)
        tags = tags | {"System": [*tags["System"], *pinned_key_tags([arrival], one_host=True)]}
        storage = replace(storage, statusReason=health.reason)
        await self._means.storages.add(
            held, storage, [host.being(health)], [arrival.agent], capacity=capacity, tags=tags
        )


def accepted(report: StorageReport, storage: StorageRecord) -> tuple[Health, dict[str, Any]]:
    """Return the health of a host that may serve the new storage, and the capacity columns.

    Raises:
        StorageProblem: it may not.
    """
    health, capacity = verify(report, storage), capacity_of(report)
    if health.status != "Connected" and health.reason:
        raise StorageProblem(health.reason)
    if not capacity:
        details = "the agent has no measurement of the storage yet"
        raise StorageProblem(health.reason or Reason(code=ReasonCode.PROBE_TIMEOUT, details=details))
    return health, capacity


def host_record(keyring: Keyring, storage: StorageRecord, arrival: Arrival) -> HostRecord:
    """Return what is stored of a host that arrives."""
    access = arrival.access
    return HostRecord(
        monUuid=uuid4().hex,
        backupStorageUuid=storage.uuid,
        agentUuid=arrival.agent.uuid,
        hostname=access.hostname,
        monAddr=None,
        monPort=None,
        sshPort=access.ssh_port,
        sshUsername=access.username or None,
        sshPasswordSecret=keyring.encrypt(access.password) if access.password else None,
        sshHostKey=arrival.trust.host_key or None,
        status="Connected",
        statusReason=None,
    )


def pinned_key_tags(arrivals: Iterable[Arrival], *, one_host: bool) -> list[str]:
    """Return the tags that show which SSH host keys were pinned."""
    return [
        host_key_tag(arrival.trust.host_key_fingerprint, "" if one_host else arrival.access.hostname)
        for arrival in arrivals
        if arrival.trust.host_key
    ]
