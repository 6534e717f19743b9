"""Hosts on their way into the fleet: trusted and commanded, but not yet in the database; all of it can be undone."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.report import StorageParameters, StorageReport
from bs_agent.management.hosts.agent_client import Agents, Target
from bs_agent.management.hosts.enroll import Enrolling
from bs_agent.management.hosts.trust import Access, Trust, target_of, to_record
from bs_agent.management.model.records import AgentRecord, Tombstone
from bs_agent.management.operations.debts import Owing
from bs_agent.management.operations.turns import Turns
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.fleet import Fleet

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Arrival:
    """One host: what was won, the agent as it will be stored and the one it replaces, what is owed if this goes wrong.

    `host_only` says that the storage lives on other hosts too, so that an undo leaves the storage itself alone.
    """

    access: Access
    trust: Trust
    agent: AgentRecord
    at: Target
    replaced: AgentRecord | None = None
    debt: Tombstone | None = None
    host_only: bool = False

    @property
    def needs_trust(self) -> bool:
        """Whether the enrolment just won is the one by which the agent will be known."""
        return self.agent.enrollmentId == self.trust.enrollment_id


class Arriving:
    """Lets hosts arrive; whatever goes wrong before they are in the database, nothing of ours stays on them."""

    def __init__(
        self, fleet: Fleet, agents: Agents, enrolling: Enrolling, keyring: Keyring, *, turns: Turns, owing: Owing
    ) -> None:
        self._fleet = fleet
        self._agents = agents
        self._enrolling = enrolling
        self._keyring = keyring
        self._turns = turns
        self._owing = owing

    @asynccontextmanager
    async def arriving(self, accesses: Iterable[Access]) -> AsyncIterator[list[Arrival]]:
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
                    await asyncio.gather(*(self._undo(arrival) for arrival in undone))
                raise
            for arrival in arrivals:
                if not arrival.needs_trust:
                    await self._owing.forget(arrival.trust.target(), arrival.trust.enrollment_id)
                elif arrival.replaced:
                    at = target_of(replace(arrival.agent, tokenSecret=arrival.replaced.tokenSecret), self._keyring)
                    await self._owing.forget(at, arrival.replaced.enrollmentId)

    async def command(self, arrival: Arrival, storage_uuid: str, parameters: StorageParameters) -> StorageReport:
        """Put the storage on the host."""
        if not arrival.debt:
            arrival.debt = await self._owing.expect(
                arrival.agent, storage_uuid, parameters, host_only=arrival.host_only
            )
        return await self._agents.connect(arrival.at, storage_uuid, parameters)

    async def _enter(self, access: Access) -> Arrival:
        trust = await self._enrolling.enroll(access)
        known = await self._fleet.find_agent(trust.hostname, trust.port, trust.fingerprint)
        if known and await self._fits(known):
            return Arrival(access, trust, known, target_of(known, self._keyring))
        agent = to_record(trust, self._keyring, known.uuid if known else uuid4().hex)
        return Arrival(access, trust, agent, trust.target(), known)

    async def _fits(self, known: AgentRecord) -> bool:
        try:
            await self._agents.report(target_of(known, self._keyring))
        except StorageProblem:
            return False
        return True

    async def _undo(self, arrival: Arrival) -> None:
        if arrival.debt:
            await self._owing.undo(arrival.agent, arrival.debt)
        if not (arrival.debt and arrival.needs_trust):
            await self._owing.forget(arrival.trust.target(), arrival.trust.enrollment_id)


def debts_of(arrivals: Iterable[Arrival]) -> list[Tombstone]:
    """Return what is not owed any more once these hosts have arrived."""
    return [arrival.debt for arrival in arrivals if arrival.debt]


def raise_first(outcomes: Iterable[object]) -> None:
    """Raise the first exception among the outcomes of things that were done side by side."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
