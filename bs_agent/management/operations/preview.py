"""DeleteBackupStorage with `dryRun`: what a delete would do on which host; nothing is changed, here or there."""

import asyncio
from collections.abc import Sequence
from typing import Literal, NamedTuple
from uuid import uuid4

from bs_agent.contract.deletion import DeletePreviewInventory, HostCleanupInventory, PlannedStep
from bs_agent.contract.errors import ApiError, reason_of
from bs_agent.contract.reasons import REASONS, Reason, ReasonCode
from bs_agent.contract.report import CEPH, Step
from bs_agent.contract.tags import REMOVE_POOL
from bs_agent.management.model.health import UNSEEN
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.operations.means import Means
from bs_agent.management.operations.turns import unknown
from bs_agent.management.store.operations import storage_key

FORGET_ENROLLMENT = "forgetEnrollment"
"""The step by which an agent that serves nothing else forgets us."""
_REMOVE_POOL, _REMOVE_MARK = "removePool", "removeMark"


class _Planned(NamedTuple):
    steps: Sequence[Step] = ()
    reason: Reason | None = None

    @property
    def hindrance(self) -> Reason | None:
        """What stands in the way of a clean-up; a storage that the agent does not know is none."""
        if self.reason and self.reason.code == ReasonCode.STORAGE_UNKNOWN:
            return None
        return self.reason or next((step.error for step in self.steps if step.error), None)


class Previewing:
    """Tells what deletes would do."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def preview(self, uuid: str, system_tags: Sequence[str] = ()) -> DeletePreviewInventory:
        """Ask every host of a storage for its plan, side by side.

        Raises:
            ResourceNotFound: there is no such storage.
        """
        storage = await self._means.storages.find(uuid)
        if storage is None:
            raise unknown(uuid)
        # As a delete has them: the first one is where the storage itself is cleaned.
        hosts = sorted(await self._means.hosts.of(uuid), key=lambda host: host.status != "Connected")
        agents = await self._means.agents.find(host.agentUuid for host in hosts)
        removes_pool = await self._removes_pool(storage, system_tags)
        number = await self._means.operations.store.number(storage_key(uuid))
        shown = await asyncio.gather(
            *(
                self._host(storage, host, agents.get(host.agentUuid or ""), number, at, removes_pool=removes_pool)
                for at, host in enumerate(hosts)
            )
        )
        permissive: Literal["Deleted", "Refused"] = "Deleted"
        if any(host.permissive == "Refused" for host in shown):
            permissive = "Refused"
        return DeletePreviewInventory(uuid=uuid, name=storage.name, permissive=permissive, hosts=list(shown))

    async def _host(
        self,
        storage: StorageRecord,
        host: HostRecord,
        agent: AgentRecord | None,
        number: int,
        at: int,
        *,
        removes_pool: bool,
    ) -> HostCleanupInventory:
        host_only = storage.type == CEPH and at > 0
        planned = await self._plan(storage, host, agent, number, host_only=host_only)
        reason = planned.reason or planned.hindrance
        steps = [PlannedStep.model_validate(step, from_attributes=True) for step in planned.steps]
        if removes_pool and not host_only:
            steps = [step for step in steps if step.action not in {_REMOVE_POOL, _REMOVE_MARK}]
            steps.insert(0, PlannedStep(action=_REMOVE_POOL, target=storage.poolName or ""))
        if agent and await self._leaves(agent, storage.uuid):
            steps.append(PlannedStep(action=FORGET_ENROLLMENT, target=f"enrolment {agent.enrollmentId}"))
        return HostCleanupInventory(
            hostname=host.hostname,
            agentUuid=host.agentUuid,
            answers=reason is None or reason.code not in UNSEEN,
            reason=reason,
            cure=REASONS[reason.code].cure if reason else None,
            hostOnly=host_only,
            steps=steps,
            permissive="Refused" if planned.hindrance else "Cleaned",
            enforcing="Owed" if planned.hindrance else "Cleaned",
        )

    async def _plan(
        self, storage: StorageRecord, host: HostRecord, agent: AgentRecord | None, number: int, *, host_only: bool
    ) -> _Planned:
        if agent is None:
            details = f"{host.hostname}: its agent is not known"
            return _Planned(reason=Reason(code=ReasonCode.AGENT_NOT_ENROLLED, details=details))
        at = self._means.target(agent)
        try:
            plan = await self._means.client.plan_cleanup(at, storage.uuid, uuid4().hex, number, host_only=host_only)
        except ApiError as problem:
            return _Planned(reason=reason_of(problem))
        return _Planned(plan.steps)

    async def _removes_pool(self, storage: StorageRecord, system_tags: Sequence[str]) -> bool:
        if storage.type != CEPH or not storage.poolCreated:
            return False
        return f"{REMOVE_POOL}{storage.poolName}" in {
            *system_tags,
            *await self._means.storages.system_tags(storage.uuid),
        }

    async def _leaves(self, agent: AgentRecord, storage_uuid: str) -> bool:
        """Tell whether an agent serves nothing else."""
        return all(other.uuid == storage_uuid for other in await self._means.storages.behind([agent.uuid]))
