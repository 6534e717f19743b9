"""Debts: the clean-ups that hosts are still owed, and the enrolments that agents have still to forget.

What is put on a host is first written as owed, and not owed any more once the database has the storage: a debt is due
when the operation that made it is gone, so whenever a management node is lost in between, the host is cleaned.
"""

import logging
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from bs_agent.contract.errors import ApiError, InvalidArgument, StorageProblem, reason_of
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, StorageParameters
from bs_agent.management.config import CleanupSettings
from bs_agent.management.hosts.agent_client import Agents, Target
from bs_agent.management.hosts.trust import SSH_HELPS, target_of
from bs_agent.management.model.records import AgentRecord, Debt, StorageRecord
from bs_agent.management.operations.turns import Operations
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.agents import AgentStore
from bs_agent.management.store.database import DatabaseUnavailable
from bs_agent.management.store.debts import DebtStore
from bs_agent.management.store.operations import Held, agent_key, storage_key

log = logging.getLogger(__name__)

DEADLINE = 600.0
"""Seconds that a clean-up may run; a clean-up removes a few names, so this is for storages that hang."""
UNDO_DEADLINE = 30.0
_DAY = 86400


class Debts:
    """Writes and pays what is owed, and lets go of agents that serve nothing any more."""

    def __init__(
        self, store: DebtStore, agents: AgentStore, client: Agents, keyring: Keyring, operations: Operations
    ) -> None:
        self.settings = CleanupSettings()
        self._store = store
        self._agents = agents
        self._client = client
        self._keyring = keyring
        self._operations = operations

    async def expect(
        self, held: Held, agent: AgentRecord, storage: StorageRecord, parameters: StorageParameters, *, host_only: bool
    ) -> Debt:
        """Write, before an agent is told `parameters`, that it is cleaned unless this operation stores the storage."""
        debt = cleanup(held, storage, agent.uuid, host_only=host_only)
        if isinstance(parameters, CephParameters) and parameters.createPool:
            removing = parameters.model_copy(update={"createPool": False, "removePool": True})
            debt = replace(debt, removePool=removing.model_dump(mode="json"))
        await self._store.write(held, [debt])
        return debt

    async def pay_own(self, held: Held, agent: AgentRecord, debt: Debt, deadline: float) -> None:
        """Pay a debt of the operation under way; what cannot be paid now is due when that is gone."""
        try:
            await self._pay(held, agent, debt, deadline)
        except ApiError as problem:
            log.warning("%s will be cleaned when that is possible: %s", agent.hostname, problem.details)

    async def pay(self, agent: AgentRecord, deadline: float = DEADLINE) -> None:
        """Pay what is owed to an agent that answers; what another operation has just taken up is left to it.

        Raises:
            ApiError: one of the debts could not be paid now.
        """
        problem: ApiError | None = None
        for debt in await self._store.due(agent.uuid):
            key = storage_key(debt.backupStorageUuid) if debt.backupStorageUuid else agent_key(agent.uuid)
            try:
                async with self._operations.holding(key, "pay", wait=0) as held:
                    if left := await self._store.find(debt.uuid):
                        await self._pay(held, await self._present(agent), left, deadline)
            except (StorageProblem, InvalidArgument) as error:
                problem = error
        if problem:
            raise problem
        with suppress(StorageProblem):  # somebody is about to use it
            await self.leave(agent)

    async def put_off(self, agent_uuid: str, seconds: float) -> None:
        """Write that what is owed to an agent, and could not be paid, is not tried again for so many seconds."""
        await self._store.put_off(agent_uuid, seconds)

    async def of_storage(self, storage_uuid: str) -> list[Debt]:
        """Return the clean-ups of a storage that are owed."""
        return await self._store.of_storage(storage_uuid)

    async def keep_house(self) -> None:
        """Give up what has been owed for too long, and let go of agents that serve nothing and are owed nothing."""
        for debt in await self._store.expire(self.settings.debt_days * _DAY):
            what = f"clean-up of backup storage {debt.backupStorageUuid}" if debt.backupStorageUuid else "forgetting"
            why = debt.lastReason.details if debt.lastReason else "its host did not come back"
            log.warning("the %s is given up: %s", what, why)
        for agent in await self._agents.unused():
            with suppress(StorageProblem):  # somebody is about to use it
                await self.leave(agent)

    async def leave(self, agent: AgentRecord) -> None:
        """Let an agent forget us, and forget it, unless it is needed; one that is away is owed the forgetting.

        Raises:
            StorageProblem: StorageBusy: an operation on it is under way.
        """
        async with self._operations.holding(agent_key(agent.uuid), "leave", wait=0) as held:
            await self.leave_own(held, agent)

    async def leave_own(self, held: Held, agent: AgentRecord) -> None:
        """Do the same within an operation on the agent."""
        agent = await self._present(agent)
        debt = forgetting(held, agent.uuid, agent.enrollmentId, agent.tokenSecret)
        if leaving := await self._agents.leave(held, debt):
            await self.pay_own(held, leaving, debt, self._client.timeout)
            await self._agents.remove(held, leaving.uuid)

    async def _present(self, agent: AgentRecord) -> AgentRecord:
        """Return an agent as it is known now: it may have been enrolled anew since it was read."""
        return (await self._agents.find([agent.uuid])).get(agent.uuid, agent)

    async def _pay(self, held: Held, agent: AgentRecord, debt: Debt, deadline: float) -> None:
        paid = True
        try:
            if debt.enrollmentId:
                paid = await self._forget(agent, debt)
            elif left := await self._left(debt):
                await self._clean(held, agent, left, deadline)
                log.info("backup storage %s is cleaned on %s", left.backupStorageUuid, agent.hostname)
            else:
                paid = False
        except DatabaseUnavailable:
            raise
        except ApiError as problem:
            reason = reason_of(problem)
            # An agent that has answered so would only repeat its answer under the same uuid.
            repeats = isinstance(problem, StorageProblem) and reason.code not in SSH_HELPS
            await self._store.failed(debt.uuid, reason, uuid4().hex if repeats else "")
            raise
        await self._store.settle(debt.uuid, paid=paid)

    async def _forget(self, agent: AgentRecord, debt: Debt) -> bool:
        """Let an agent forget an enrolment; False when it is needed again."""
        if debt.enrollmentId == agent.enrollmentId and not agent.leaving:
            return False
        at = target_of(replace(agent, tokenSecret=debt.tokenSecret or ""), self._keyring)
        try:
            await self._client.forget(at, debt.enrollmentId or "")
        except StorageProblem as problem:
            if problem.reason.code != ReasonCode.AGENT_UNAUTHORIZED:  # which says that it is forgotten already
                raise
        return True

    async def _left(self, debt: Debt) -> Debt | None:
        """Return what is left to be done: nothing, if the agent serves the storage now.

        While the storage lives on elsewhere, only this host is cleaned.
        """
        serving = await self._store.serving(debt.backupStorageUuid or "")
        if debt.agentUuid in serving:
            return None
        return replace(debt, hostOnly=True, removePool=None) if serving else debt

    async def _clean(self, held: Held, agent: AgentRecord, debt: Debt, deadline: float) -> None:
        at, storage, command = target_of(agent, self._keyring), debt.backupStorageUuid or "", debt.commandUuid
        try:
            if debt.removePool:
                command = uuid4().hex  # the same one would not be done again
                await self._client.plan_cleanup(at, storage, command, held.number)
                await self._let_remove_pool(held, at, storage, CephParameters.model_validate(debt.removePool))
            await self._client.cleanup(at, storage, command, held.number, deadline=deadline, host_only=debt.hostOnly)
        except StorageProblem as problem:
            if problem.reason.code == ReasonCode.STORAGE_UNKNOWN:
                return  # it is clean already, or the agent has taken back itself what it could not finish
            raise

    async def _let_remove_pool(self, held: Held, at: Target, storage_uuid: str, parameters: CephParameters) -> None:
        """Let the clean-up that follows remove the pool that was made, if it is there."""
        try:
            await self._client.connect(at, storage_uuid, parameters, held.number)
        except StorageProblem as problem:
            if problem.reason.code not in {ReasonCode.POOL_MISSING, ReasonCode.POOL_REPLACED}:
                raise


def cleanup(held: Held, storage: StorageRecord, agent_uuid: str, *, host_only: bool = False) -> Debt:
    """Return the clean-up of a storage that an operation owes to an agent."""
    uuid = uuid4().hex
    return Debt(uuid, agent_uuid, held.uuid, uuid, storage.uuid, storage.name, hostOnly=host_only)


def forgetting(held: Held, agent_uuid: str, enrollment_id: str, token_secret: str) -> Debt:
    """Return the forgetting of an enrolment that an operation owes to an agent."""
    uuid = uuid4().hex
    return Debt(uuid, agent_uuid, held.uuid, uuid, enrollmentId=enrollment_id, tokenSecret=token_secret)
