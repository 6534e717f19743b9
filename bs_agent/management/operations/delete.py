"""DeleteBackupStorage: clean the hosts, then remove the record; or remove it at once and owe them the cleanup."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple
from uuid import uuid4

from bs_agent.contract.api import DeleteMode
from bs_agent.contract.errors import ApiError, CannotDelete, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH, CleanupPlan
from bs_agent.management.hosts.agent_client import Agents, Target
from bs_agent.management.hosts.trust import target_of
from bs_agent.management.model.host_tags import REMOVE_POOL
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord
from bs_agent.management.operations.debts import DEADLINE, Owing
from bs_agent.management.operations.turns import Operations, Refresh
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet
from bs_agent.management.store.intake import Intake

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

    def __init__(
        self,
        fleet: Fleet,
        agents: Agents,
        keyring: Keyring,
        *,
        owing: Owing,
        intake: Intake,
        operations: Operations,
        refresh: Refresh,
    ) -> None:
        self._fleet = fleet
        self._agents = agents
        self._keyring = keyring
        self._owing = owing
        self._intake = intake
        self._operations = operations
        self._refresh = refresh

    async def delete(self, uuid: str, mode: DeleteMode, system_tags: Sequence[str] = ()) -> None:
        """Delete a storage; one that does not exist is deleted already. A second delete of the same mode joins.

        Raises:
            CannotDelete: mode is Permissive and a host could not be cleaned; the record is unchanged.
            StorageProblem: StorageBusy, while a delete of the other mode runs.
        """
        if await self._fleet.storage(uuid) is not None:
            await self._operations.run(uuid, "delete", lambda: self._delete(uuid, mode, system_tags), variant=mode)

    async def _delete(self, uuid: str, mode: DeleteMode, system_tags: Sequence[str]) -> None:
        storage = await self._fleet.storage(uuid)
        if storage is None:
            return
        if mode == "Permissive":
            await self._clean(storage, system_tags)
        # Owed after a clean-up, too: another node may have connected or added a host before the record was gone.
        owed = await self._fleet.remove(uuid, lambda agent: self._owing.debt(uuid, agent))
        agents = await self._fleet.agents(owed)
        self._intake.forget(uuid)
        log.info("backup storage %s [%s] is deleted (%s)", storage.name, uuid, mode)
        await asyncio.gather(*(self._owing.try_to_pay(agent, self._agents.timeout) for agent in agents.values()))
        await self._refresh(agents)

    async def _clean(self, storage: StorageRecord, system_tags: Sequence[str]) -> None:
        """Clean all hosts: first every one must agree to its plan, then every one must have carried it out.

        A cluster is cleaned through one host, after the others have let go of it: nobody writes to it then.
        """
        places: dict[str, _Place] = {}
        shared = storage.type == CEPH
        hosts = sorted(await self._fleet.hosts(storage.uuid), key=lambda host: host.status != "Connected")
        agents = await self._fleet.agents(host.agentUuid for host in hosts)
        for host in hosts:
            if host.agentUuid not in agents:
                problem = StorageProblem.of(ReasonCode.AGENT_NOT_ENROLLED, f"{host.hostname}: its agent is not known")
                raise _refused(storage, host, problem)
            agent = agents[host.agentUuid]
            at = target_of(agent, self._keyring)
            places.setdefault(agent.uuid, _Place(host, agent, at, uuid4().hex, host_only=shared and bool(places)))
        await self._ask_for_pool(storage, [*places.values()], system_tags)
        await _each(storage, places.values(), lambda place: self._plan(storage, place))
        for host_only in (True, False):
            some = [place for place in places.values() if place.host_only is host_only]
            await _each(storage, some, lambda place: self._run(storage, place))

    async def _plan(self, storage: StorageRecord, place: _Place) -> None:
        try:
            plan = await self._ask_plan(storage, place)
        except StorageProblem as problem:
            if problem.reason.code != ReasonCode.STORAGE_UNKNOWN:
                raise
            if place.host_only:
                return
            # An agent that does not know the storage cannot say that it is clean: our marker may still be there.
            await self._agents.connect(place.at, storage.uuid, storage.parameters(place.host))
            plan = await self._ask_plan(storage, place)
        if error := next((step.error for step in plan.steps if step.error), None):
            raise StorageProblem(error)

    async def _ask_plan(self, storage: StorageRecord, place: _Place) -> CleanupPlan:
        return await self._agents.plan_cleanup(place.at, storage.uuid, place.command, host_only=place.host_only)

    async def _run(self, storage: StorageRecord, place: _Place) -> None:
        try:
            await self._agents.cleanup(place.at, storage.uuid, place.command, DEADLINE, host_only=place.host_only)
        except StorageProblem as problem:
            if not (place.host_only and problem.reason.code == ReasonCode.STORAGE_UNKNOWN):
                raise  # a host that was to let go of the storage, and does not know it, has done so

    async def _ask_for_pool(self, storage: StorageRecord, places: Sequence[_Place], system_tags: Sequence[str]) -> None:
        """Let one host remove the pool that we made, if a tag asks for it; the agent removes it only if it is empty."""
        if storage.type != CEPH or not storage.poolCreated or not places:
            return
        wanted = f"{REMOVE_POOL}{storage.poolName}"
        if wanted in {*system_tags, *await self._fleet.system_tags(storage.uuid)}:
            place = places[0]
            parameters = storage.parameters(place.host, remove_pool=True)
            try:
                await self._agents.connect(place.at, storage.uuid, parameters)
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
