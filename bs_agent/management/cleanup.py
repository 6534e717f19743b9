"""What is owed to hosts: the cleanup of those that could not be reached, or never took part; the enrolment nobody uses.

What is put on a host is first written as owed, and not owed any more once the database has the storage: whenever a
management node is lost in between, the host is cleaned.
"""

import logging
import time
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from bs_agent.contract.errors import ApiError, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, StorageParameters
from bs_agent.management.agents import Agents, Target
from bs_agent.management.config import CleanupSettings
from bs_agent.management.enroll import SSH_HELPS, target_of
from bs_agent.management.operations import Turns
from bs_agent.management.records import AgentRecord, Tombstone
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet

log = logging.getLogger(__name__)

DEADLINE = 600.0
"""Seconds that a cleanup may run; a cleanup removes a few names, so this is for storages that hang."""


_DAY = 86400
_UNDO_DEADLINE = 30.0
_COMMANDS = 5
"""More than an arrival needs one after the other: each may take the deadline of a command."""


class Owing:
    """Writes and pays what is owed, and lets go of agents that serve nothing any more."""

    def __init__(self, fleet: Fleet, agents: Agents, keyring: Keyring, turns: Turns, settings: CleanupSettings) -> None:
        self._fleet = fleet
        self._agents = agents
        self._keyring = keyring
        self._turns = turns
        self.settings = settings

    def owed(self, storage_uuid: str, agent_uuid: str, *, host_only: bool = False) -> Tombstone:
        """Return a cleanup that an agent is owed from now on, to be written with what makes it owed."""
        expires = int(time.time() + self.settings.tombstone_days * _DAY)
        return Tombstone(uuid4().hex, storage_uuid, agent_uuid, expires, hostOnly=host_only)

    async def expect(
        self, agent: AgentRecord, storage_uuid: str, parameters: StorageParameters, *, host_only: bool
    ) -> Tombstone:
        """Write, before an agent is told `parameters`, that it is cleaned unless the storage arrives in time."""
        due = int(time.time() + _COMMANDS * self._agents.command_timeout)
        owed = replace(self.owed(storage_uuid, agent.uuid, host_only=host_only), dueDate=due)
        if isinstance(parameters, CephParameters) and parameters.createPool:
            removing = parameters.model_copy(update={"createPool": False, "removePool": True})
            owed = replace(owed, removePool=removing.model_dump(mode="json"))
        await self._fleet.expect(agent, owed)
        return owed

    async def owe(self, agent: AgentRecord, storage_uuid: str) -> None:
        """Owe an agent the cleanup of a storage that it has no part in any more, and pay it if that is possible now."""
        lives_on = await self._fleet.storage(storage_uuid) is not None
        await self._fleet.expect(agent, self.owed(storage_uuid, agent.uuid, host_only=lives_on))
        await self.try_to_pay(agent, self._agents.timeout)

    async def undo(self, agent: AgentRecord, owed: Tombstone) -> None:
        """Clean an agent on which a storage was expected, or else when it answers; the turn of its host is ours."""
        try:
            await self._pay(agent, owed, _UNDO_DEADLINE)
            await self._retire(agent)
        except ApiError as problem:
            log.warning("%s will be cleaned when it is back: %s", agent.hostname, problem.details)
            with suppress(ApiError):  # without the database it falls due by its date
                await self._fleet.fall_due(owed.commandUuid)

    async def pay(self, agent: AgentRecord, deadline: float = DEADLINE) -> None:
        """Carry out the cleanups that are owed to an agent that answers.

        Raises:
            StorageProblem: one of them could not be carried out now.
        """
        problem: StorageProblem | None = None
        for owed in await self._fleet.owed_to(agent.uuid, int(time.time())):
            try:
                await self._pay(agent, owed, deadline)
            except StorageProblem as error:
                problem = error
        if problem:
            raise problem
        await self.retire(agent)

    async def try_to_pay(self, agent: AgentRecord, deadline: float) -> None:
        """Carry out the cleanups that are owed to an agent now, or else when it is back."""
        try:
            await self.pay(agent, deadline)
        except ApiError as problem:
            log.warning("%s will be cleaned when it is back: %s", agent.hostname, problem.details)

    async def expire(self) -> None:
        """Give up what has been owed for too long."""
        for owed in await self._fleet.expired(int(time.time())):
            await self._fleet.settle(owed.commandUuid)
            log.warning(
                "the cleanup of backup storage %s is given up: %s",
                owed.backupStorageUuid,
                owed.lastError or "its host did not come back",
            )
        for agent in await self._fleet.unused_agents():
            await self.retire(agent)

    async def retire(self, agent: AgentRecord) -> None:
        """Let the agent forget us, and forget it, unless it is needed."""
        async with self._turns.of(agent.hostname):  # an add may just be about to use it
            await self._retire(agent)

    async def _retire(self, agent: AgentRecord) -> None:
        if agent in await self._fleet.unused_agents():
            await self._agents.forget_quietly(target_of(agent, self._keyring), agent.enrollmentId)
            await self._fleet.remove_unused_agent(agent.uuid)

    async def _pay(self, agent: AgentRecord, owed: Tombstone, deadline: float) -> None:
        await self._clean(agent, owed, deadline)
        await self._fleet.settle(owed.commandUuid)
        log.info("backup storage %s is cleaned on %s", owed.backupStorageUuid, agent.hostname)

    async def _clean(self, agent: AgentRecord, owed: Tombstone, deadline: float) -> None:
        at = target_of(agent, self._keyring)
        if owed.removePool:
            await self._let_remove_pool(at, owed.backupStorageUuid, CephParameters.model_validate(owed.removePool))
        try:
            await self._agents.cleanup(at, owed.backupStorageUuid, owed.commandUuid, deadline, host_only=owed.hostOnly)
        except StorageProblem as problem:
            if problem.reason.code == ReasonCode.STORAGE_UNKNOWN:
                return  # it is clean already
            if problem.reason.code not in SSH_HELPS:
                # The agent has answered, and would only repeat its answer under the same uuid.
                await self._fleet.try_again(owed, uuid4().hex, problem.details)
            raise

    async def _let_remove_pool(self, at: Target, storage_uuid: str, parameters: CephParameters) -> None:
        """Let the cleanup that follows remove the pool that was made, if one was."""
        try:
            await self._agents.connect(at, storage_uuid, parameters)
        except StorageProblem as problem:
            if problem.reason.code != ReasonCode.POOL_MISSING:
                raise
