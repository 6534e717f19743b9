"""Connects one host of a storage: by its agent; over SSH when the agent does not answer or no longer trusts us."""

from dataclasses import replace

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH, StorageReport
from bs_agent.management.hosts.trust import SSH_HELPS, Access, Trust, reveal
from bs_agent.management.model.host_tags import HostTags, asks_for_write_probe
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.operations.means import Means
from bs_agent.management.operations.meet import Meeting
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.operations import Held


class Connecting:
    """Connects hosts; what is newly trusted on the way is in the database before it is used."""

    def __init__(self, means: Means, meeting: Meeting) -> None:
        self._means = means
        self._meeting = meeting

    async def by_agent(self, held: Held, storage: StorageRecord, host: HostRecord) -> StorageReport:
        """Run the connect command on the host's agent; SSH is not tried."""
        return await self._command(held, await self._agent(host), storage, host)

    async def by_any_means(self, held: Held, storage: StorageRecord, host: HostRecord, tags: HostTags) -> StorageReport:
        """Run the connect command, and win the agent's trust or start it first where that is needed."""
        access = access_to(self._means.keyring, host, tags)
        known = (await self._means.agents.find([host.agentUuid])).get(host.agentUuid or "")
        if access.code:
            trust = await self._means.enrolling.enroll(access)
            return await self._command(held, await self._adopt(held, host, trust, known), storage, host)
        try:
            return await self.by_agent(held, storage, host)
        except StorageProblem as problem:
            if problem.reason.code not in SSH_HELPS or not access.username:
                raise
            agent = await self._enter(held, host, access, known, problem)
        return await self._command(held, agent, storage, host)

    async def _agent(self, host: HostRecord) -> AgentRecord:
        agents = await self._means.agents.find([host.agentUuid])
        if not agents:
            raise StorageProblem.of(ReasonCode.AGENT_NOT_ENROLLED, f"{host.hostname}: its agent is not known")
        return agents.popitem()[1]

    async def _command(self, held: Held, agent: AgentRecord, storage: StorageRecord, host: HostRecord) -> StorageReport:
        write_probe = storage.type == CEPH and asks_for_write_probe(
            await self._means.storages.system_tags(storage.uuid)
        )
        parameters = storage.parameters(host, write_probe=write_probe)
        return await self._means.client.connect(self._means.target(agent), storage.uuid, parameters, held.number)

    async def _enter(
        self, held: Held, host: HostRecord, access: Access, known: AgentRecord | None, why: StorageProblem
    ) -> AgentRecord:
        try:
            at = self._means.target(replace(known, hostname=host.hostname)) if known else None
            entered = await self._means.enrolling.enter(access, at)
        except StorageProblem as problem:
            details = f"{problem.details} (tried because: {why.details})"
            raise StorageProblem.of(problem.reason.code, details) from problem
        if entered.trust:
            return await self._adopt(held, host, entered.trust, known)
        if known is None:
            raise why
        if entered.host_key != host.sshHostKey:
            keyed = replace(host, sshHostKey=entered.host_key)
            await self._means.hosts.change(held, keyed, host, known, key=entered.host_key_fingerprint)
        return known

    async def _adopt(self, held: Held, host: HostRecord, trust: Trust, known: AgentRecord | None) -> AgentRecord:
        """Trust from now on what was won; the enrolment that it replaces is forgotten by the agent."""
        async with self._meeting.meeting(trust, instead_of=known, renews=True) as met:
            now = replace(host, agentUuid=met.agent.uuid, sshHostKey=trust.host_key or host.sshHostKey)
            await self._means.hosts.change(held, now, host, met.agent, key=trust.host_key_fingerprint)
            return met.agent


def access_to(keyring: Keyring, host: HostRecord, tags: HostTags) -> Access:
    """Return how a stored host may be entered, with what the tags of a call say of it."""
    return Access(
        host.hostname,
        tags.code(host.hostname),
        host.sshPort,
        host.sshUsername or "",
        reveal(keyring, host.sshPasswordSecret),
        host.sshHostKey or "",
        tags.fingerprint(host.hostname),
    )
