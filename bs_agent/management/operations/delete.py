"""DeleteBackupStorage: clean the hosts, then remove the record; or remove it at once and owe them the cleanup."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import uuid4

from bs_agent.contract.api import DeleteMode
from bs_agent.contract.errors import ApiError, CannotDelete, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH, CleanupPlan
from bs_agent.contract.tags import REMOVE_POOL
from bs_agent.management.hosts.agent_client import Target
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.operations.debts import DEADLINE, cleanup
from bs_agent.management.operations.means import Means
from bs_agent.management.store.operations import Held, storage_key

log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """One host to clean, with the uuid of the command that does it.

    A `host_only` one lets go of the storage; what is on the storage itself is removed through another host.
    """

    host: HostRecord
    agent: AgentRecord
    at: Target
    command: str
    host_only: bool


class Deleting:
    """Deletes storages. User data is never touched: a cleanup removes what the agent itself put on the storage."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def delete(self, uuid: str, mode: DeleteMode, system_tags: Sequence[str] = ()) -> None:
        """Delete a storage; one that does not exist is deleted already. A second delete of the same mode joins.

        Raises:
            CannotDelete: mode is Permissive and a host could not be cleaned; the record is unchanged.
            StorageProblem: StorageBusy: another operation on it does not end in time.
        """
        if await self._means.storages.find(uuid) is not None:
            await self._means.operations.run(
                storage_key(uuid), "delete", lambda held: self._delete(held, uuid, mode, system_tags), mode
            )

    async def _delete(self, held: Held, uuid: str, mode: DeleteMode, system_tags: Sequence[str]) -> None:
        storage = await self._means.storages.find(uuid)
        if storage is None:
            return
        agents = await self._means.agents.find(host.agentUuid for host in await self._means.hosts.of(uuid))
        debts = []
        if mode == "Permissive":
            await self._clean(held, storage, system_tags)
        else:
            debts = [cleanup(held, storage, agent) for agent in agents]
        await self._means.storages.remove(held, uuid, debts)
        self._means.intake.forget(uuid)
        log.info("backup storage %s [%s] is deleted (%s)", storage.name, uuid, mode)
        deadline = self._means.client.timeout
        await asyncio.gather(
            *(self._means.debts.pay_own(held, agents[debt.agentUuid], debt, deadline) for debt in debts)
        )
        for agent in agents.values():
            with suppress(StorageProblem):  # an add is about to use it
                await self._means.debts.leave(agent)
        await self._means.refresh(agents)

    async def _clean(self, held: Held, storage: StorageRecord, system_tags: Sequence[str]) -> None:
        """Clean all hosts: first every one must agree to its plan, then every one must have carried it out.

        A cluster is cleaned through one host, after the others have let go of it: nobody writes to it then.
        """
        places: dict[str, _Place] = {}
        shared = storage.type == CEPH
        hosts = sorted(await self._means.hosts.of(storage.uuid), key=lambda host: host.status != "Connected")
        agents = await self._means.agents.find(host.agentUuid for host in hosts)
        for host in hosts:
            if host.agentUuid not in agents:
                problem = StorageProblem.of(ReasonCode.AGENT_NOT_ENROLLED, f"{host.hostname}: its agent is not known")
                raise _refused(storage, host, problem)
            agent = agents[host.agentUuid]
            at = self._means.target(agent)
            places.setdefault(agent.uuid, _Place(host, agent, at, uuid4().hex, host_only=shared and bool(places)))
        await self._ask_for_pool(held, storage, [*places.values()], system_tags)
        await _each(storage, places.values(), lambda place: self._plan(held, storage, place))
        for host_only in (True, False):
            some = [place for place in places.values() if place.host_only is host_only]
            await _each(storage, some, lambda place: self._run(held, storage, place))

    async def _plan(self, held: Held, storage: StorageRecord, place: _Place) -> None:
        try:
            plan = await self._ask_plan(held, storage, place)
        except StorageProblem as problem:
            if problem.reason.code != ReasonCode.STORAGE_UNKNOWN:
                raise
            if place.host_only:
                return
            # An agent that does not know the storage cannot say that it is clean: our marker may still be there.
            await self._means.client.connect(place.at, storage.uuid, storage.parameters(place.host), held.number)
            plan = await self._ask_plan(held, storage, place)
        if error := next((step.error for step in plan.steps if step.error), None):
            raise StorageProblem(error)

    async def _ask_plan(self, held: Held, storage: StorageRecord, place: _Place) -> CleanupPlan:
        return await self._means.client.plan_cleanup(
            place.at, storage.uuid, place.command, held.number, host_only=place.host_only
        )

    async def _run(self, held: Held, storage: StorageRecord, place: _Place) -> None:
        try:
            await self._means.client.cleanup(
                place.at, storage.uuid, place.command, held.number, deadline=DEADLINE, host_only=place.host_only
            )
        except StorageProblem as problem:
            if not (place.host_only and problem.reason.code == ReasonCode.STORAGE_UNKNOWN):
                raise  # a host that was to let go of the storage, and does not know it, has done so

    async def _ask_for_pool(
        self, held: Held, storage: StorageRecord, places: Sequence[_Place], system_tags: Sequence[str]
    ) -> None:
        """Let one host remove the pool that we made, if a tag asks for it; the agent removes it only if it is empty."""
        if storage.type != CEPH or not storage.poolCreated or not places:
            return
        wanted = f"{REMOVE_POOL}{storage.poolName}"
        if wanted in {*system_tags, *await self._means.storages.system_tags(storage.uuid)}:
            place = places[0]
            parameters = storage.parameters(place.host, remove_pool=True)
            try:
                await self._means.client.connect(place.at, storage.uuid, parameters, held.number)
            except ApiError as problem:
                raise _refused(storage, place.host, problem) from problem


async def _each(storage: StorageRecord, places: Collection[_Place], work: Callable[[_Place], Awaitable[None]]) -> None:
    """Do something with all places side by side, and refuse the delete when it fails anywhere."""
    outcomes = await asyncio.gather(*(work(place) for place in places), return_exceptions=True)
    for place, outcome in zip(places, outcomes, strict=True):
        if isinstance(outcome, ApiError):
            raise _refused(storage, place.host, outcome) from outcome
        if isinstance(outcome, BaseException):
            raise outcome


def _refused(storage: StorageRecord, host: HostRecord, problem: ApiError) -> CannotDelete:
    details = f"backup storage[uuid:{storage.uuid}] is not deleted: host {host.hostname} cannot be cleaned"
    return CannotDelete(details, cause=problem)
