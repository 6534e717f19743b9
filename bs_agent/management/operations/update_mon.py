"""UpdateCephBackupStorageMon: how a mon host is reached from now on; what does not work is not written."""

import logging
from contextlib import suppress
from dataclasses import replace

from bs_agent.contract.calls_ceph import UpdateMonParameters
from bs_agent.contract.errors import ApiError, InvalidArgument, ResourceNotFound, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH, CephReport
from bs_agent.management.hosts.trust import Trust, reveal
from bs_agent.management.model.health import Health
from bs_agent.management.model.host_tags import HostTags, asks_for_write_probe, parse_host_tags
from bs_agent.management.model.mon_address import learn_place
from bs_agent.management.model.records import AgentRecord, Debt, HostRecord, StorageRecord
from bs_agent.management.operations.add_image_store import accepted
from bs_agent.management.operations.arrive_mons import named_problem
from bs_agent.management.operations.change_mons import ceph_storage, refuse_taken
from bs_agent.management.operations.connect import access_to
from bs_agent.management.operations.debts import UNDO_DEADLINE, cleanup
from bs_agent.management.operations.means import Means
from bs_agent.management.operations.meet import Meeting, Met
from bs_agent.management.store.operations import Held, storage_key

log = logging.getLogger(__name__)


class UpdatingMon:
    """Changes how mon hosts are reached, and learns anew where their mons listen."""

    def __init__(self, means: Means, meeting: Meeting) -> None:
        self._means = means
        self._meeting = meeting

    async def update(self, parameters: UpdateMonParameters) -> str:
        """Change a mon host; return the uuid of its storage.

        Raises:
            ResourceNotFound: there is no such mon host.
            ApiError: it cannot be reached so, or does not serve the storage there; nothing is changed.
        """
        host = await self._host(parameters.monUuid)
        await self._means.operations.run(
            storage_key(host.backupStorageUuid), "change", lambda held: self._update(held, parameters)
        )
        return host.backupStorageUuid

    async def _host(self, mon_uuid: str) -> HostRecord:
        host = await self._means.hosts.find(mon_uuid)
        storage = await self._means.storages.find(host.backupStorageUuid) if host else None
        if host is None or storage is None or storage.type != CEPH:
            details = f"invalid field[monUuid], resource[uuid:{mon_uuid}, type:CephBackupStorageMonVO] not found"
            raise ResourceNotFound(details)
        return host

    async def _update(self, held: Held, parameters: UpdateMonParameters) -> None:
        before = await self._host(parameters.monUuid)
        await self._means.intake.flush(before.backupStorageUuid)
        before = await self._host(parameters.monUuid)
        storage = await ceph_storage(self._means.storages, before.backupStorageUuid)
        host = self._wanted(before, parameters)
        others = [other for other in await self._means.hosts.of(storage.uuid) if other.monUuid != before.monUuid]
        refuse_taken([other.hostname for other in others], [host.hostname])
        tags = parse_host_tags(parameters.systemTags, [host.hostname])
        known = (await self._means.agents.find([before.agentUuid])).get(before.agentUuid or "")
        trust = await self._reach(host, known, tags, logs_in=_logs_in(parameters))
        stays = known if host.hostname == before.hostname else None
        async with self._meeting.meeting(trust, instead_of=stays, renews=True) as met:
            for other in others:
                if other.agentUuid == met.agent.uuid:
                    names = f"{other.hostname} and {host.hostname}"
                    raise InvalidArgument(f"hostname: {names} are one host: the same agent answers")
            host = await self._change(held, storage, host, before=before, met=met, trust=trust, parameters=parameters)
        log.info("mon host %s of backup storage %s is now %s", before.hostname, storage.uuid, host.hostname)
        await self._conclude(held, host, known, met)

    async def _change(
        self,
        held: Held,
        storage: StorageRecord,
        host: HostRecord,
        *,
        before: HostRecord,
        met: Met,
        trust: Trust,
        parameters: UpdateMonParameters,
    ) -> HostRecord:
        moved = before.agentUuid != met.agent.uuid
        host = replace(host, agentUuid=met.agent.uuid, sshHostKey=trust.host_key or host.sshHostKey)
        expected: Debt | None = None
        try:
            if moved:
                told = storage.parameters(host)
                expected = await self._means.debts.expect(held, met.agent, storage, told, host_only=True)
            if moved or parameters.hostname or parameters.monPort:
                host = await self._settle(held, storage, host, met.agent, parameters.monPort)
            left = before.agentUuid if moved else None
            debts = [cleanup(held, storage, left, host_only=True)] if left else []
            await self._means.hosts.change(held, host, before, met.agent, key=trust.host_key_fingerprint, debts=debts)
        except BaseException:
            await self._undo(held, storage, before, met, expected)
            raise
        return host

    def _wanted(self, host: HostRecord, parameters: UpdateMonParameters) -> HostRecord:
        password = parameters.sshPassword.get_secret_value() if parameters.sshPassword else ""
        return replace(
            host,
            hostname=parameters.hostname or host.hostname,
            sshUsername=parameters.sshUsername or host.sshUsername,
            sshPasswordSecret=self._means.keyring.encrypt(password) if password else host.sshPasswordSecret,
            sshPort=parameters.sshPort or host.sshPort,
        )

    async def _reach(self, host: HostRecord, known: AgentRecord | None, tags: HostTags, *, logs_in: bool) -> Trust:
        """Find the agent of the host: by a code, by what is known of it, or over SSH, by which a log-in is tried."""
        access = access_to(self._means.keyring, host, tags)
        if access.code:
            return await self._means.enrolling.enroll(access)
        here = self._known_at(host, known) if known else None
        if here and not logs_in:
            try:
                await self._means.client.report(here.target())
            except StorageProblem as problem:
                if not access.username:
                    raise named_problem(host.hostname, problem) from problem
            else:
                return here
        entered = await self._means.enrolling.enter(access, here.target() if here else None)
        if entered.trust:
            return entered.trust
        if here is None:
            raise RuntimeError("entering without a known agent wins a new trust")
        return replace(here, host_key=entered.host_key, host_key_fingerprint=entered.host_key_fingerprint)

    def _known_at(self, host: HostRecord, known: AgentRecord) -> Trust:
        token = reveal(self._means.keyring, known.tokenSecret)
        return Trust(host.hostname, known.port, known.fingerprint, token, known.enrollmentId)

    async def _settle(
        self, held: Held, storage: StorageRecord, host: HostRecord, agent: AgentRecord, port: int | None
    ) -> HostRecord:
        """Connect wherever the mon listens now, and then with the address that the report tells."""
        try:
            unsettled = replace(host, monAddr=None, monPort=None)
            report, _ = await self._connect(held, storage, unsettled, agent)
            place = learn_place(report, host.hostname, port)
            host = replace(host, monAddr=place.host, monPort=place.port)
            report, health = await self._connect(held, storage, host, agent)
        except StorageProblem as problem:
            raise named_problem(host.hostname, problem) from problem
        self._means.intake.capacity(storage.uuid, host.monUuid, report, held)
        return host.being(health)

    async def _connect(
        self, held: Held, storage: StorageRecord, host: HostRecord, agent: AgentRecord
    ) -> tuple[CephReport, Health]:
        write_probe = asks_for_write_probe(await self._means.storages.system_tags(storage.uuid))
        parameters = storage.parameters(host, write_probe=write_probe)
        report = await self._means.client.connect(self._means.target(agent), storage.uuid, parameters, held.number)
        health, _ = accepted(report, storage)
        if not isinstance(report, CephReport):
            raise StorageProblem.of(ReasonCode.AGENT_FAULT, f"the agent answered for {report.type}")
        return report, health

    async def _undo(
        self, held: Held, storage: StorageRecord, before: HostRecord, met: Met, expected: Debt | None
    ) -> None:
        """Let the agent that was tried go on as before: without the storage, or with the known address."""
        with suppress(ApiError):
            if expected:
                await self._means.debts.pay_own(held, met.agent, expected, UNDO_DEADLINE)
                await self._means.debts.leave_own(met.held, met.agent)
            elif met.agent.uuid == before.agentUuid:
                at = self._means.target(met.agent)
                await self._means.client.connect(at, storage.uuid, storage.parameters(before), held.number)

    async def _conclude(self, held: Held, host: HostRecord, known: AgentRecord | None, met: Met) -> None:
        self._means.intake.health(host.backupStorageUuid, host.monUuid, host.health, held)
        await self._means.intake.flush(host.backupStorageUuid)
        if known and known.uuid != met.agent.uuid:
            for debt in await self._means.debts.of_storage(host.backupStorageUuid):
                if debt.agentUuid == known.uuid:
                    await self._means.debts.pay_own(held, known, debt, self._means.client.timeout)
            with suppress(StorageProblem):  # an operation on it is under way
                await self._means.debts.leave(known)
        await self._means.refresh({host.agentUuid, known.uuid if known else None})


def _logs_in(parameters: UpdateMonParameters) -> bool:
    return bool(parameters.sshUsername or parameters.sshPassword or parameters.sshPort)
