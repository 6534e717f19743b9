"""Hosts on their way into the fleet: trusted and commanded, but not yet in the database; all of it can be undone."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from bs_agent.contract.errors import ApiError, InvalidArgument
from bs_agent.contract.report import StorageParameters, StorageReport
from bs_agent.management.hosts.trust import Access, Trust
from bs_agent.management.model.records import AgentRecord, Debt, StorageRecord
from bs_agent.management.operations.debts import UNDO_DEADLINE
from bs_agent.management.operations.means import Means
from bs_agent.management.operations.meet import Meeting, Met
from bs_agent.management.store.operations import Held


@dataclass(slots=True)
class Arrival:
    """One host: what was won, its agent whose turn is ours, and what is owed to it if this goes wrong.

    `host_only` says that the storage lives on other hosts too, so that an undo leaves the storage itself alone.
    """

    access: Access
    trust: Trust
    met: Met
    debt: Debt | None = None
    host_only: bool = False

    @property
    def agent(self) -> AgentRecord:
        """The agent as it is stored."""
        return self.met.agent


class Arriving:
    """Lets hosts arrive; whatever goes wrong before they are in the database, nothing of ours stays on them."""

    def __init__(self, means: Means, meeting: Meeting) -> None:
        self._means = means
        self._meeting = meeting

    @asynccontextmanager
    async def arriving(self, held: Held, accesses: Iterable[Access]) -> AsyncIterator[list[Arrival]]:
        """Win the trust of hosts, side by side. An exception inside undoes everything; else it is for good.

        Raises:
            ApiError: a host could not be entered; what was won of the others is undone.
        """
        wanted = list(accesses)
        outcomes = await asyncio.gather(
            *(self._means.enrolling.enroll(access) for access in wanted), return_exceptions=True
        )
        won = [(access, trust) for access, trust in zip(wanted, outcomes, strict=True) if isinstance(trust, Trust)]
        async with AsyncExitStack() as turns:
            arrivals: list[Arrival] = []
            try:
                await self._meet(turns, arrivals, won)
                raise_first(outcomes)
                yield [next(one for one in arrivals if one.access is access) for access in wanted]
            except BaseException:
                await self._undo(held, arrivals)
                raise

    async def command(
        self, held: Held, arrival: Arrival, storage: StorageRecord, parameters: StorageParameters
    ) -> StorageReport:
        """Put the storage on the host."""
        if not arrival.debt:
            arrival.debt = await self._means.debts.expect(
                held, arrival.agent, storage, parameters, host_only=arrival.host_only
            )
        at = self._means.target(arrival.agent)
        return await self._means.client.connect(at, storage.uuid, parameters, held.number)

    async def _meet(self, turns: AsyncExitStack, arrivals: list[Arrival], won: Sequence[tuple[Access, Trust]]) -> None:
        """Take the turns of the agents; what was won of those that may not come is forgotten by them.

        Raises:
            ApiError: one of them may not come; the others have been met all the same.
        """
        problem: ApiError | None = None
        # Everybody takes the turns of several agents in one order, so that nobody waits for one who waits for him.
        for access, trust in sorted(won, key=lambda pair: pair[1].fingerprint):
            other = next((one for one in arrivals if one.trust.fingerprint == trust.fingerprint), None)
            try:
                if other:
                    names = f"{other.access.hostname} and {access.hostname}"
                    await self._meeting.decline(trust)
                    raise InvalidArgument(f"{names} are one host: the same agent answers")
                met = await turns.enter_async_context(self._meeting.meeting(trust))
                arrivals.append(Arrival(access, trust, met))
            except ApiError as error:
                problem = problem or error
        if problem:
            raise problem

    async def _undo(self, held: Held, arrivals: Iterable[Arrival]) -> None:
        async def undo(arrival: Arrival) -> None:
            with suppress(ApiError):  # without the database, or the turn, it is due when the operation is gone
                if arrival.debt:
                    await self._means.debts.pay_own(held, arrival.agent, arrival.debt, UNDO_DEADLINE)
                await self._means.debts.leave_own(arrival.met.held, arrival.agent)

        # The storage itself at last: until then another host might still write to it.
        for host_only in (True, False):
            await asyncio.gather(*(undo(arrival) for arrival in arrivals if arrival.host_only is host_only))


def raise_first(outcomes: Iterable[object]) -> None:
    """Raise the first exception among the outcomes of things that were done side by side."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
