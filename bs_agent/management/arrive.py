"""Hosts on their way into the fleet: trusted and commanded, but not yet in the database; all of it can be undone."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from bs_agent.contract.errors import ApiError, StorageProblem
from bs_agent.contract.report import CephParameters, StorageParameters, StorageReport
from bs_agent.management.agents import Agents, Target
from bs_agent.management.enroll import Access, Enrolling, Trust, target_of, to_record
from bs_agent.management.operations import Turns
from bs_agent.management.records import AgentRecord
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet

log = logging.getLogger(__name__)

_UNDO_DEADLINE = 30.0


@dataclass(slots=True)
class Arrival:
    """One host: what was won, the agent as it will be stored, and with what the storage was first put on it.

    `host_only` says that the storage lives on other hosts too, so that an undo leaves the storage itself alone.
    """

    access: Access
    trust: Trust
    agent: AgentRecord
    at: Target
    commanded: StorageParameters | None = None
    host_only: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the agent was known before, so that the enrolment just won is not needed."""
        return self.agent.enrollmentId != self.trust.enrollment_id


class Arriving:
    """Lets hosts arrive; whatever goes wrong before `settled`, nothing of ours stays on them."""

    def __init__(self, fleet: Fleet, agents: Agents, enrolling: Enrolling, keyring: Keyring, turns: Turns) -> None:
        self._fleet = fleet
        self._agents = agents
        self._enrolling = enrolling
        self._keyring = keyring
        self._turns = turns

    @asynccontextmanager
    async def arriving(self, storage_uuid: str, accesses: Iterable[Access]) -> AsyncIterator[list[Arrival]]:
        """Win the trust of hosts, side by side. An exception inside undoes everything; else it is for good.

        Raises:
            ApiError: a host could not be entered; what was won of the others is undone.
        """
        wanted = list(accesses)
        async with self._turns.of(*(access.hostname for access in wanted)):
            arrivals: list[Arrival] = []
            try:
                outcomes = await asyncio.gather(*(self._enter(access) for access in wanted), return_exceptions=True)
                arrivals += [outcome for outcome in outcomes if isinstance(outcome, Arrival)]
                raise_first(outcomes)
                yield arrivals
            except BaseException:
                # The storage itself at last: until then another host might still write to it.
                for host_only in (True, False):
                    undone = [arrival for arrival in arrivals if arrival.host_only is host_only]
                    await asyncio.gather(*(self._undo(storage_uuid, arrival) for arrival in undone))
                raise
            for arrival in arrivals:
                if arrival.is_known:
                    await self._agents.forget_quietly(arrival.trust.target(), arrival.trust.enrollment_id)

    async def command(self, arrival: Arrival, storage_uuid: str, parameters: StorageParameters) -> StorageReport:
        """Put the storage on the host."""
        arrival.commanded = arrival.commanded or parameters
        return await self._agents.connect(arrival.at, storage_uuid, parameters)

    async def _enter(self, access: Access) -> Arrival:
        trust = await self._enrolling.enroll(access)
        known = await self._fleet.find_agent(trust.hostname, trust.port, trust.fingerprint)
        if known and await self._fits(known):
            return Arrival(access, trust, known, target_of(known, self._keyring))
        agent = to_record(trust, self._keyring, known.uuid if known else uuid4().hex)
        return Arrival(access, trust, agent, trust.target())

    async def _fits(self, known: AgentRecord) -> bool:
        try:
            await self._agents.report(target_of(known, self._keyring))
        except StorageProblem:
            return False
        return True

    async def _undo(self, storage_uuid: str, arrival: Arrival) -> None:
        if arrival.commanded:
            try:
                await self._undo_pool(storage_uuid, arrival, arrival.commanded)
                await self._agents.cleanup(
                    arrival.at, storage_uuid, uuid4().hex, _UNDO_DEADLINE, host_only=arrival.host_only
                )
            except ApiError as problem:
                log.info("nothing to undo on %s, or not possible: %s", arrival.at.name, problem.details)
        await self._agents.forget_quietly(arrival.trust.target(), arrival.trust.enrollment_id)

    async def _undo_pool(self, storage_uuid: str, arrival: Arrival, commanded: StorageParameters) -> None:
        """Let the cleanup that follows remove the pool that was made, if one was."""
        if isinstance(commanded, CephParameters) and commanded.createPool:
            removing = commanded.model_copy(update={"createPool": False, "removePool": True})
            await self._agents.connect(arrival.at, storage_uuid, removing)


def raise_first(outcomes: Iterable[object]) -> None:
    """Raise the first exception among the outcomes of things that were done side by side."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
