"""AddImageStoreBackupStorage: enrol with the host, connect the directory, verify, store. On failure nothing stays."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from bs_agent.contract.api import AddImageStoreParameters
from bs_agent.contract.errors import InvalidArgument, StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import IMAGESTORE, StorageReport
from bs_agent.management.hosts.trust import Access
from bs_agent.management.model.capacity import measured
from bs_agent.management.model.health import Health
from bs_agent.management.model.host_tags import host_key_tag, parse_host_tags, stored_tags
from bs_agent.management.model.identity import verify
from bs_agent.management.model.records import HostRecord, StorageRecord
from bs_agent.management.operations.arrive import Arrival, Arriving, debts_of
from bs_agent.management.operations.turns import Refresh
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet, refuse_directory

log = logging.getLogger(__name__)


class Adding:
    """Adds ImageStores."""

    def __init__(self, fleet: Fleet, arriving: Arriving, keyring: Keyring, refresh: Refresh) -> None:
        self._fleet = fleet
        self._arriving = arriving
        self._keyring = keyring
        self._refresh = refresh

    async def add_image_store(self, parameters: AddImageStoreParameters) -> str:
        """Add a directory of a host; return the uuid of the new storage.

        Raises:
            ApiError: it could not be added; neither here nor on the host is anything left of it.
        """
        uuid = await new_uuid(self._fleet, parameters.resourceUuid)
        named = parse_host_tags(parameters.systemTags, [parameters.hostname])
        access = Access(
            parameters.hostname,
            named.code(parameters.hostname),
            parameters.sshPort,
            parameters.username,
            parameters.password.get_secret_value(),
            fingerprint=named.fingerprint(parameters.hostname),
        )
        storage = StorageRecord(
            uuid,
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
        tags = stored_tags(parameters.systemTags), stored_tags(parameters.userTags)
        async with self._arriving.arriving([access]) as arrivals:
            await self._settle(storage, arrivals[0], *tags)
        log.info("backup storage %s [%s] is added: %s on %s", storage.name, uuid, storage.url, access.hostname)
        await self._refresh([arrivals[0].agent.uuid])
        return uuid

    async def _settle(
        self, storage: StorageRecord, arrival: Arrival, system_tags: Sequence[str], user_tags: Sequence[str]
    ) -> None:
        owner = await self._fleet.directory_owner(arrival.agent.uuid, storage.url)
        refuse_directory(storage.url, arrival.access.hostname, owner)
        host = host_record(self._keyring, storage, arrival)
        report = await self._arriving.command(arrival, storage.uuid, storage.parameters(host))
        health, capacity = accepted(report, storage)
        tags = {"system": [*system_tags, *pinned_key_tags([arrival], one_host=True)], "user": user_tags}
        storage = replace(storage, statusReason=health.reason)
        hosts, expected = [host.being(health)], debts_of([arrival])
        await self._fleet.add(storage, hosts, [arrival.agent], capacity, tags, expected=expected)


def accepted(report: StorageReport, storage: StorageRecord) -> tuple[Health, dict[str, Any]]:
    """Return the health of a host that may serve the new storage, and the capacity columns.

    Raises:
        StorageProblem: it may not.
    """
    health, said = verify(report, storage), measured(report)
    if health.status != "Connected" and health.reason:
        raise StorageProblem(health.reason)
    if not said.columns:
        details = "the agent has no measurement of the storage yet"
        raise StorageProblem(health.reason or Reason(code=ReasonCode.PROBE_TIMEOUT, details=details))
    return health, said.columns


async def new_uuid(fleet: Fleet, wanted: str | None) -> str:
    """Return the uuid for a new storage.

    Raises:
        InvalidArgument: the wanted one is taken.
    """
    if wanted and await fleet.storage(wanted):
        raise InvalidArgument(f"resourceUuid: there is a backup storage[uuid:{wanted}] already")
    return wanted or uuid4().hex


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
