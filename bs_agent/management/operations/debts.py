"""What is owed to hosts: the cleanup of those that could not be reached, or never took part; the enrolment nobody uses.

What is put on a host is first written as owed, and not owed any more once the database has the storage: whenever a
management node is lost in between, the host is cleaned.
"""

import logging
import time
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from bs_agent.contract.errors import ApiError, InvalidArgument, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, StorageParameters
from bs_agent.management.config import CleanupSettings
from bs_agent.management.hosts.agent_client import Agents, Target
from bs_agent.management.hosts.trust import SSH_HELPS, target_of
from bs_agent.management.model.records import AgentRecord, Tombstone
from bs_agent.management.operations.turns import Turns
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.debts import Debts
from bs_agent.management.store.fleet import Fleet

log = logging.getLogger(__name__)

DEADLINE = 600.0
"""Seconds that a cleanup may run; a cleanup removes a few names, so this is for storages that hang."""
_UNDO_DEADLINE = 30.0
_DAY = 86400
_COMMANDS = 5
"""More than an arrival needs one after the other: each may take the deadline of a command."""


class Owing:
    """Writes and pays what is owed, and lets go of agents that serve nothing any more."""

    def __init__(self, fleet: Fleet, agents: Agents, keyring: Keyring, turns: Turns, settings: CleanupSettings) -> None:
        self._fleet = fleet
        self._debts = Debts(fleet.database)
        self._agents = agents
        self._keyring = keyring
        self._turns = turns
        self.settings = settings

    def debt(self, storage_uuid: str, agent_uuid: str, *, host_only: bool = False, due: int = 0) -> Tombstone:
        """Return a cleanup that is owed to an agent, to be written together with what makes it owed."""
        expires = int(max(due, time.time()) + self.settings.tombstone_days * _DAY)
        return Tombstone(uuid4().hex, storage_uuid, agent_uuid, expires, hostOnly=host_only, dueDate=due)

    async def expect(
        self, agent: AgentRecord, storage_uuid: str, parameters: StorageParameters, *, host_only: bool
    ) -> Tombstone:
        """Write, before an agent is told `parameters`, that it is cleaned unless the storage arrives in time.

        The host through which the storage itself is cleaned comes last: nobody else writes to it then.
        """
        commands = _COMMANDS if host_only else _COMMANDS + 1
        due = int(time.time() + commands * self._agents.command_timeout)
        debt = self.debt(storage_uuid, agent.uuid, host_only=host_only, due=due)
        if isinstance(parameters, CephParameters) and parameters.createPool:
            removing = parameters.model_copy(update={"createPool": False, "removePool": True})
            debt = replace(debt, removePool=removing.model_dump(mode="json"))
        await self._debts.expect(agent, debt)
        return debt

    async def owe(self, agent: AgentRecord, storage_uuid: str) -> None:
        """Clean an agent of a storage in which it has no part any more, now or when it is back."""
        debt = self.debt(storage_uuid, agent.uuid)
        await self._debts.expect(agent, debt)
        await self._pay_or_let_fall_due(agent, debt)

    async def undo(self, agent: AgentRecord, debt: Tombstone) -> None:
        """Clean an agent on which a storage was expected, now or when it is back; the turn of its host is ours."""
        await self._pay_or_let_fall_due(agent, debt)
        with suppress(ApiError):
            await self._retire(agent)

    async def pay(self, agent: AgentRecord, deadline: float = DEADLINE) -> None:
        """Carry out the cleanups that are owed to an agent that answers.

        Raises:
            ApiError: one of them could not be carried out now.
        """
        problem: ApiError | None = None
        for debt in await self._debts.due(agent.uuid, int(time.time())):
            try:
                await self._pay(agent, debt, deadline)
            except (StorageProblem, InvalidArgument) as error:
                problem = error
        if problem:
            raise problem
        await self.retire(agent)

    async def try_to_pay(self, agent: AgentRecord, deadline: float) -> None:
        """Carry out the cleanups that are owed to an agent, now or when it is back."""
        try:
            await self.pay(agent, deadline)
        except ApiError as problem:
            _put_off(agent, problem)

    async def expire(self) -> None:
        """Give up what has been owed for too long."""
        for debt in await self._debts.expired(int(time.time())):
            await self._debts.settle(debt.commandUuid)
            log.warning(
                "the cleanup of backup storage %s is given up: %s",
                debt.backupStorageUuid,
                debt.lastError or "its host did not come back",
            )
        for agent in await self._fleet.unused_agents():
            await self.retire(agent)

    async def retire(self, agent: AgentRecord) -> None:
        """Let the agent forget us, and forget it, unless it is needed."""
        async with self._turns.of(agent.hostname):  # an add may just be about to use it
            await self._retire(agent)

    async def forget(self, at: Target, enrollment_id: str) -> None:
        """Let an agent forget an enrolment, unless an agent is known by it; without the database it stays."""
        try:
            needed = await self._fleet.enrolled(enrollment_id)
        except ApiError as problem:
            log.warning("enrolment %s stays with agent %s: %s", enrollment_id, at.name, problem.details)
        else:
            if not needed:
                await self._agents.forget_quietly(at, enrollment_id)

    async def _retire(self, agent: AgentRecord) -> None:
        if agent in await self._fleet.unused_agents():
            # One host may be known under several names by the same enrolment.
            if await self._fleet.enrolled(agent.enrollmentId) == [agent]:
                await self._agents.forget_quietly(target_of(agent, self._keyring), agent.enrollmentId)
            await self._fleet.remove_unused_agent(agent.uuid)

    async def _pay_or_let_fall_due(self, agent: AgentRecord, debt: Tombstone) -> None:
        try:
            await self._pay(agent, debt, _UNDO_DEADLINE)
        except ApiError as problem:
            _put_off(agent, problem)
            with suppress(ApiError):  # without the database it falls due by its date
                await self._debts.fall_due(debt.commandUuid)

    async def _pay(self, agent: AgentRecord, debt: Tombstone, deadline: float) -> None:
        if left := await self._debts.left(debt, agent, int(time.time())):
            await self._clean(agent, left, deadline)
            await self._debts.settle(left.commandUuid)
            log.info("backup storage %s is cleaned on %s", left.backupStorageUuid, agent.hostname)

    async def _clean(self, agent: AgentRecord, debt: Tombstone, deadline: float) -> None:
        at, storage, command = target_of(agent, self._keyring), debt.backupStorageUuid, debt.commandUuid
        try:
            if debt.removePool:
                command = uuid4().hex  # the same one would not be done again
                await self._agents.plan_cleanup(at, storage, command)
                await self._let_remove_pool(at, storage, CephParameters.model_validate(debt.removePool))
            await self._agents.cleanup(at, storage, command, deadline, host_only=debt.hostOnly)
        except StorageProblem as problem:
            if problem.reason.code == ReasonCode.STORAGE_UNKNOWN:
                return  # it is clean already, or the agent has taken back itself what it could not finish
            if problem.reason.code not in SSH_HELPS:
                # The agent has answered, and would only repeat its answer under the same uuid.
                await self._debts.try_again(debt, uuid4().hex, problem.details)
            raise

    async def _let_remove_pool(self, at: Target, storage_uuid: str, parameters: CephParameters) -> None:
        """Let the cleanup that follows remove the pool that was made, if it is there."""
        try:
            await self._agents.connect(at, storage_uuid, parameters)
        except StorageProblem as problem:
            if problem.reason.code != ReasonCode.POOL_MISSING:
                raise


def _put_off(agent: AgentRecord, problem: ApiError) -> None:
    log.warning("%s will be cleaned when that is possible: %s", agent.hostname, problem.details)
