"""Connects one host of a storage: by its agent; over SSH when the agent does not answer or no longer trusts us."""

from dataclasses import replace
from uuid import uuid4

from bs_agent.contract.errors import ResourceNotFound, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH, StorageReport
from bs_agent.management.hosts.agent_client import Agents, Target
from bs_agent.management.hosts.enroll import Enrolling
from bs_agent.management.hosts.trust import SSH_HELPS, Access, Trust, reveal, target_of, to_record
from bs_agent.management.model.host_tags import HostTags, asks_for_write_probe
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.operations.debts import Owing
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet


class Connecting:
    """Connects hosts; what is newly trusted on the way is in the database before it is used."""

    def __init__(self, fleet: Fleet, agents: Agents, enrolling: Enrolling, keyring: Keyring, owing: Owing) -> None:
        self._fleet = fleet
        self._agents = agents
        self._enrolling = enrolling
        self._keyring = keyring
        self._owing = owing

    async def by_agent(self, storage: StorageRecord, host: HostRecord) -> StorageReport:
        """Run the connect command on the host's agent; SSH is not tried."""
        return await self._command(await self._agent(host), storage, host)

    async def by_any_means(self, storage: StorageRecord, host: HostRecord, tags: HostTags) -> StorageReport:
        """Run the connect command, and win the agent's trust or start it first where that is needed."""
        access = self._access(host, tags)
        known = (await self._fleet.agents([host.agentUuid])).get(host.agentUuid or "")
        if access.code:
            trust = await self._enrolling.enroll(access)
            return await self._command(await self._adopt(host, trust, known), storage, host)
        try:
            return await self._command(await self._agent(host), storage, host)
        except StorageProblem as problem:
            if problem.reason.code not in SSH_HELPS or not access.username:
                raise
            agent = await self._enter(host, access, known, problem)
        return await self._command(agent, storage, host)

    async def _agent(self, host: HostRecord) -> AgentRecord:
        agents = await self._fleet.agents([host.agentUuid])
        if not agents:
            raise StorageProblem.of(ReasonCode.AGENT_NOT_ENROLLED, f"{host.hostname}: its agent is not known")
        return agents.popitem()[1]

    async def _command(self, agent: AgentRecord, storage: StorageRecord, host: HostRecord) -> StorageReport:
        write_probe = storage.type == CEPH and asks_for_write_probe(await self._fleet.system_tags(storage.uuid))
        parameters = storage.parameters(host, write_probe=write_probe)
        report = await self._agents.connect(self._target(agent), storage.uuid, parameters)
        if not await self._fleet.serves(agent, storage.uuid):
            await self._owing.owe(agent, storage.uuid)  # another node has taken it away, and cleaned it, meanwhile
            raise ResourceNotFound(f"host {host.hostname} of backup storage[uuid:{storage.uuid}] has been removed")
        return report

    async def _enter(
        self, host: HostRecord, access: Access, known: AgentRecord | None, why: StorageProblem
    ) -> AgentRecord:
        try:
            entered = await self._enrolling.enter(access, self._target(known) if known else None)
        except StorageProblem as problem:
            details = f"{problem.details} (tried because: {why.details})"
            raise StorageProblem.of(problem.reason.code, details) from problem
        if entered.trust:
            return await self._adopt(host, entered.trust, known)
        if known is None:
            raise why
        if entered.host_key != host.sshHostKey:
            await self._fleet.trust(known, host, entered.host_key, entered.host_key_fingerprint)
        return known

    async def _adopt(self, host: HostRecord, trust: Trust, known: AgentRecord | None) -> AgentRecord:
        """Trust from now on what was won; the enrolment that it replaces is forgotten by the agent."""
        same = await self._fleet.find_agent(trust.hostname, trust.port, trust.fingerprint)
        replaced = same or known
        agent = to_record(trust, self._keyring, replaced.uuid if replaced else uuid4().hex)
        await self._fleet.trust(agent, host, trust.host_key, trust.host_key_fingerprint)
        if replaced and replaced.enrollmentId != trust.enrollment_id:
            # Asked of the agent as it shows itself now: its certificate may have been rotated.
            at = self._target(replace(agent, tokenSecret=replaced.tokenSecret))
            await self._owing.forget(at, replaced.enrollmentId)
        return agent

    def _target(self, agent: AgentRecord) -> Target:
        return target_of(agent, self._keyring)

    def _access(self, host: HostRecord, tags: HostTags) -> Access:
        return Access(
            host.hostname,
            tags.code(host.hostname),
            host.sshPort,
            host.sshUsername or "",
            reveal(self._keyring, host.sshPasswordSecret),
            host.sshHostKey or "",
            tags.fingerprint(host.hostname),
        )
