"""UpdateCephBackupStorageMon: how a mon host is reached from now on; what does not work is not written."""

import logging
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple
from uuid import uuid4

from bs_agent.contract.calls_ceph import UpdateMonParameters
from bs_agent.contract.errors import ApiError, ResourceNotFound, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH, CephReport
from bs_agent.management.hosts.agent_client import Agents
from bs_agent.management.hosts.enroll import Enrolling
from bs_agent.management.hosts.trust import Access, Trust, reveal, target_of, to_record
from bs_agent.management.model.health import Health
from bs_agent.management.model.host_tags import HostTags, asks_for_write_probe, parse_host_tags
from bs_agent.management.model.mon_address import learn_place
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord, Tombstone
from bs_agent.management.operations.add_image_store import accepted
from bs_agent.management.operations.arrive_mons import fingerprints_of, named_problem, refuse_one_host_twice
from bs_agent.management.operations.change_mons import ceph_storage
from bs_agent.management.operations.debts import Owing
from bs_agent.management.operations.turns import Operations, Refresh, Turns
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet
from bs_agent.management.store.intake import Intake
from bs_agent.management.store.mons import Mons, refuse_taken

log = logging.getLogger(__name__)


class Reached(NamedTuple):
    """The agent that answers for a host; `trust` is what had to be won for it, `host_key` what SSH met."""

    agent: AgentRecord
    trust: Trust | None = None
    host_key: str = ""
    host_key_fingerprint: str = ""


class UpdatingMon:
    """Changes how mon hosts are reached, and learns anew where their mons listen."""

    def __init__(
        self,
        fleet: Fleet,
        agents: Agents,
        enrolling: Enrolling,
        keyring: Keyring,
        *,
        owing: Owing,
        intake: Intake,
        operations: Operations,
        turns: Turns,
        refresh: Refresh,
    ) -> None:
        self._fleet = fleet
        self._mons = Mons(fleet.database)
        self._agents = agents
        self._enrolling = enrolling
        self._keyring = keyring
        self._owing = owing
        self._intake = intake
        self._operations = operations
        self._turns = turns
        self._refresh = refresh

    async def update(self, parameters: UpdateMonParameters) -> str:
        """Change a mon host; return the uuid of its storage.

        Raises:
            ApiError: the host cannot be reached so, or its mon is not there; its record is unchanged.
        """
        host = await self._host(parameters.monUuid)
        await self._operations.run(host.backupStorageUuid, "change", lambda: self._update(parameters))
        return host.backupStorageUuid

    async def _host(self, mon_uuid: str) -> HostRecord:
        host = await self._fleet.host(mon_uuid)
        storage = await self._fleet.storage(host.backupStorageUuid) if host else None
        if host is None or storage is None or storage.type != CEPH:
            details = f"invalid field[monUuid], resource[uuid:{mon_uuid}, type:CephBackupStorageMonVO] not found"
            raise ResourceNotFound(details)
        return host

    async def _update(self, parameters: UpdateMonParameters) -> None:
        await self._intake.flush()
        before = await self._host(parameters.monUuid)
        storage = await ceph_storage(self._fleet, before.backupStorageUuid)
        host = self._wanted(before, parameters)
        others = [other for other in await self._fleet.hosts(storage.uuid) if other.monUuid != before.monUuid]
        refuse_taken([other.hostname for other in others], [host.hostname])
        tags = parse_host_tags(parameters.systemTags, [host.hostname])
        known = (await self._fleet.agents([before.agentUuid])).get(before.agentUuid or "")
        async with self._turns.of(before.hostname, host.hostname):
            reached = await self._reach(host, known, tags, logs_in=_logs_in(parameters))
            moved = known is None or known.uuid != reached.agent.uuid
            host = replace(host, agentUuid=reached.agent.uuid, sshHostKey=reached.host_key or host.sshHostKey)
            expected: Tombstone | None = None
            try:
                seen = await fingerprints_of(self._fleet, others)
                refuse_one_host_twice("hostname", host.hostname, reached.agent.fingerprint, seen)
                if moved:
                    told = storage.parameters(host)
                    expected = await self._owing.expect(reached.agent, storage.uuid, told, host_only=True)
                if moved or parameters.hostname or parameters.monPort:
                    host = await self._settle(storage, host, reached.agent, parameters.monPort)
                owed = [self._owing.debt(storage.uuid, known.uuid, host_only=True)] if known and moved else []
                await self._mons.change(
                    host, before, reached.agent, reached.host_key_fingerprint,
                    owed=owed, expected=[expected] if expected else [],
                )  # fmt: skip
            except BaseException:
                await self._undo(storage, before, reached, expected)
                raise
        log.info("mon host %s of backup storage %s is now %s", before.hostname, storage.uuid, host.hostname)
        await self._conclude(host, known, reached)

    def _wanted(self, host: HostRecord, parameters: UpdateMonParameters) -> HostRecord:
        password = parameters.sshPassword.get_secret_value() if parameters.sshPassword else ""
        return replace(
            host,
            hostname=parameters.hostname or host.hostname,
            sshUsername=parameters.sshUsername or host.sshUsername,
            sshPasswordSecret=self._keyring.encrypt(password) if password else host.sshPasswordSecret,
            sshPort=parameters.sshPort or host.sshPort,
        )

    async def _reach(self, host: HostRecord, known: AgentRecord | None, tags: HostTags, *, logs_in: bool) -> Reached:
        """Find the agent of the host: by a code, by what is known of it, or over SSH, by which a log-in is tried."""
        access = Access(
            host.hostname,
            tags.code(host.hostname),
            host.sshPort,
            host.sshUsername or "",
            reveal(self._keyring, host.sshPasswordSecret),
            host.sshHostKey or "",
            tags.fingerprint(host.hostname),
        )
        here = replace(known, hostname=host.hostname) if known else None
        if access.code:
            return await self._won(await self._enrolling.enroll(access), known)
        if here and not logs_in:
            try:
                await self._agents.report(target_of(here, self._keyring))
            except StorageProblem as problem:
                if not access.username:
                    raise named_problem(host.hostname, problem) from problem
            else:
                return Reached(here)
        entered = await self._enrolling.enter(access, target_of(here, self._keyring) if here else None)
        if entered.trust:
            return await self._won(entered.trust, known)
        if here is None:
            raise RuntimeError("entering without a known agent wins a new trust")
        return Reached(here, None, entered.host_key, entered.host_key_fingerprint)

    async def _won(self, trust: Trust, known: AgentRecord | None) -> Reached:
        same = await self._fleet.find_agent(trust.hostname, trust.port, trust.fingerprint)
        if same is None and known and known.fingerprint == trust.fingerprint:
            same = known
        agent = to_record(trust, self._keyring, same.uuid if same else uuid4().hex)
        return Reached(agent, trust, trust.host_key, trust.host_key_fingerprint)

    async def _settle(
        self, storage: StorageRecord, host: HostRecord, agent: AgentRecord, port: int | None
    ) -> HostRecord:
        """Connect wherever the mon listens now, and then with the address that the report tells."""
        try:
            unsettled = replace(host, monAddr=None, monPort=None)
            report, _ = await self._connect(storage, unsettled, agent)
            place = learn_place(report, host.hostname, port)
            host = replace(host, monAddr=place.host, monPort=place.port)
            report, health = await self._connect(storage, host, agent)
        except StorageProblem as problem:
            raise named_problem(host.hostname, problem) from problem
        self._intake.capacity(storage.uuid, report)
        return host.being(health)

    async def _connect(self, storage: StorageRecord, host: HostRecord, agent: AgentRecord) -> tuple[CephReport, Health]:
        write_probe = asks_for_write_probe(await self._fleet.system_tags(storage.uuid))
        parameters = storage.parameters(host, write_probe=write_probe)
        report = await self._agents.connect(target_of(agent, self._keyring), storage.uuid, parameters)
        health, _ = accepted(report, storage)
        if not isinstance(report, CephReport):
            raise StorageProblem.of(ReasonCode.AGENT_FAULT, f"the agent answered for {report.type}")
        return report, health

    async def _undo(
        self, storage: StorageRecord, before: HostRecord, reached: Reached, expected: Tombstone | None
    ) -> None:
        """Let the agent that was tried go on as before: without the storage, or with the known address."""
        if expected:
            await self._owing.undo(reached.agent, expected)
            return
        if reached.agent.uuid == before.agentUuid:
            at = target_of(reached.agent, self._keyring)
            with suppress(ApiError):
                if await self._fleet.serves(reached.agent, storage.uuid):
                    await self._agents.connect(at, storage.uuid, storage.parameters(before))
                else:
                    await self._owing.owe(reached.agent, storage.uuid)
        if reached.trust:
            await self._owing.forget(reached.trust.target(), reached.trust.enrollment_id)

    async def _conclude(self, host: HostRecord, known: AgentRecord | None, reached: Reached) -> None:
        self._intake.health(host.backupStorageUuid, host.monUuid, host.health)
        await self._intake.flush()
        if known and known.uuid != reached.agent.uuid:
            await self._owing.try_to_pay(known, self._agents.timeout)
        elif known and known.enrollmentId != reached.agent.enrollmentId:
            here = replace(known, hostname=reached.agent.hostname)
            await self._owing.forget(target_of(here, self._keyring), known.enrollmentId)
        await self._refresh({host.agentUuid, known.uuid if known else None})


def _logs_in(parameters: UpdateMonParameters) -> bool:
    return bool(parameters.sshUsername or parameters.sshPassword or parameters.sshPort)
