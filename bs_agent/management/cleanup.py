"""What is owed to hosts after a delete: the cleanup of those that could not be reached, the enrolment nobody uses."""

import logging
import time
from uuid import uuid4

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.agents import Agents
from bs_agent.management.connect import SSH_HELPS
from bs_agent.management.enroll import target_of
from bs_agent.management.operations import Turns
from bs_agent.management.records import AgentRecord, Tombstone
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet

log = logging.getLogger(__name__)

DEADLINE = 600.0
"""Seconds that a cleanup may run; a cleanup removes a few names, so this is for storages that hang."""


class Owing:
    """Pays what is owed, and lets go of agents that serve nothing any more."""

    def __init__(self, fleet: Fleet, agents: Agents, keyring: Keyring, turns: Turns) -> None:
        self._fleet = fleet
        self._agents = agents
        self._keyring = keyring
        self._turns = turns

    async def pay(self, agent: AgentRecord, deadline: float = DEADLINE) -> None:
        """Carry out the cleanups that are owed to an agent that answers.

        Raises:
            StorageProblem: one of them could not be carried out now.
        """
        problem: StorageProblem | None = None
        for owed in await self._fleet.owed_to(agent.uuid):
            try:
                await self._clean(agent, owed, deadline)
            except StorageProblem as error:
                problem = error
            else:
                await self._fleet.settle(owed.commandUuid)
                log.info("backup storage %s is cleaned on %s", owed.backupStorageUuid, agent.hostname)
        if problem:
            raise problem
        await self.retire(agent)

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
            if agent in await self._fleet.unused_agents():
                await self._agents.forget_quietly(target_of(agent, self._keyring), agent.enrollmentId)
                await self._fleet.remove_unused_agent(agent.uuid)

    async def _clean(self, agent: AgentRecord, owed: Tombstone, deadline: float) -> None:
        at = target_of(agent, self._keyring)
        try:
            await self._agents.cleanup(at, owed.backupStorageUuid, owed.commandUuid, deadline, host_only=owed.hostOnly)
        except StorageProblem as problem:
            if problem.reason.code == ReasonCode.STORAGE_UNKNOWN:
                return  # it is clean already
            if problem.reason.code not in SSH_HELPS:
                # The agent has answered, and would only repeat its answer under the same uuid.
                await self._fleet.try_again(owed, uuid4().hex, problem.details)
            raise
