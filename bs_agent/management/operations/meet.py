"""Which agent it is that trust was won of: one machine is one agent, under however many names it is reached."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import NamedTuple
from uuid import uuid4

from bs_agent.contract.errors import ApiError, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.hosts.agent_client import Target, target
from bs_agent.management.hosts.trust import Trust, reveal, to_record
from bs_agent.management.model.records import AgentRecord, Debt
from bs_agent.management.operations.debts import forgetting
from bs_agent.management.operations.means import Means
from bs_agent.management.store.operations import Held, agent_key

log = logging.getLogger(__name__)


class Met(NamedTuple):
    """An agent whose turn we have, and the enrolment that turned out not to be needed for it."""

    held: Held
    agent: AgentRecord
    needless: Debt | None


class Meeting:
    """Meets agents: finds or makes their rows, and settles by which enrolment they are known."""

    def __init__(self, means: Means) -> None:
        self._means = means

    @asynccontextmanager
    async def meeting(
        self, trust: Trust, *, instead_of: AgentRecord | None = None, renews: bool = False
    ) -> AsyncIterator[Met]:
        """Have the turn of the agent that trust was won of while the context is open; it is in the database then.

        A new certificate is a new machine, unless it was met where only the agent `instead_of` is reached. Of a known
        agent the enrolment that is there is kept while it fits, unless the one that was won `renews` it. What was won
        of an agent that can not be met is forgotten by it.

        Raises:
            StorageProblem: the agent does not answer as what was won says, so that nothing is changed; AgentCloned: two
                machines answer with this certificate; StorageBusy.
        """
        async with AsyncExitStack() as turn:
            try:
                await self._means.client.report(trust.target())
                met = await self._meet(turn, trust, instead_of, renews=renews)
            except ApiError:
                await self.decline(trust)
                raise
            yield met

    async def decline(self, trust: Trust) -> None:
        """Let an agent forget an enrolment that was won of it, unless that is the one by which it is known."""
        with suppress(ApiError):
            if not await self._means.agents.enrolled(trust.enrollment_id):
                await self._means.client.forget_quietly(trust.target(), trust.enrollment_id)

    async def _meet(self, turn: AsyncExitStack, trust: Trust, instead_of: AgentRecord | None, *, renews: bool) -> Met:
        while True:
            known = await self._known(trust)
            uuid = known.uuid if known else await self._uuid_of_new(trust, instead_of)
            async with AsyncExitStack() as this_turn:
                held = await this_turn.enter_async_context(self._means.operations.holding(agent_key(uuid), "meet"))
                if met := await self._settle(held, trust, uuid, renews=renews):
                    turn.push_async_exit(this_turn.pop_all())
                    if met.needless:
                        pay = self._means.debts.pay_own
                        turn.push_async_callback(pay, held, met.agent, met.needless, self._means.client.timeout)
                    return met

    async def _known(self, trust: Trust) -> AgentRecord | None:
        """Return the agent that shows this certificate, or that has announced it and is the machine that shows it now.

        Whoever can see a certificate can announce it; the agent that has it now takes the token of the one before.
        """
        known = await self._means.agents.of_fingerprint(trust.fingerprint)
        if known and known.fingerprint != trust.fingerprint and not await self._takes_token_of(known, trust):
            return None
        return known

    async def _uuid_of_new(self, trust: Trust, instead_of: AgentRecord | None) -> str:
        if instead_of:
            names = await self._means.agents.hostnames(instead_of.uuid)
            if set(names) <= {trust.hostname}:
                return instead_of.uuid
        return uuid4().hex

    async def _settle(self, held: Held, trust: Trust, uuid: str, *, renews: bool) -> Met | None:
        """Write the agent as it is known from now on; None when another one has the certificate by now."""
        present = (await self._means.agents.find([uuid])).get(uuid)
        won = to_record(trust, self._means.keyring, uuid)
        if present is None or trust.fingerprint not in {present.fingerprint, present.nextFingerprint}:
            replaced = forgetting(held, uuid, present.enrollmentId, present.tokenSecret) if present else None
            return Met(held, won, replaced) if await self._means.agents.put(held, won, replaced) else None
        await self._refuse_clone(present, trust)
        here = replace(present, hostname=trust.hostname, port=trust.port, fingerprint=trust.fingerprint)
        if present.fingerprint != trust.fingerprint:  # which it had announced
            here = replace(here, nextFingerprint=None)
        needless: Debt | None = None
        if present.enrollmentId != trust.enrollment_id:
            if not renews and not present.leaving and await self._takes_token_of(present, trust):
                needless = forgetting(held, uuid, trust.enrollment_id, won.tokenSecret)
            else:
                needless = forgetting(held, uuid, present.enrollmentId, present.tokenSecret)
                here = replace(here, enrollmentId=won.enrollmentId, tokenSecret=won.tokenSecret)
        here = replace(here, leaving=False)
        return Met(held, here, needless) if await self._means.agents.put(held, here, needless) else None

    async def _takes_token_of(self, agent: AgentRecord, trust: Trust) -> bool:
        """Tell whether the machine that trust was won of is enrolled as a known agent is."""
        token = reveal(self._means.keyring, agent.tokenSecret)
        try:
            await self._means.client.report(target(trust.hostname, trust.port, trust.fingerprint, token))
        except StorageProblem:
            return False
        return True

    async def _refuse_clone(self, known: AgentRecord, trust: Trust) -> None:
        """See that the machine that answers here is the one that answers where the agent was reached until now."""
        if (known.hostname, known.port) == (trust.hostname, trust.port):
            return
        there = target(known.hostname, known.port, trust.fingerprint, reveal(self._means.keyring, known.tokenSecret))
        before, was, after = [await self._boot(at) for at in (trust.target(), there, trust.target())]
        if was and before and before == after != was:
            details = f"{known.hostname} and {trust.hostname} answer with one certificate, but are two machines"
            raise StorageProblem.of(ReasonCode.AGENT_CLONED, details)

    async def _boot(self, at: Target) -> str:
        """Return the boot id of the machine that answers; empty when none does."""
        try:
            report = (await self._means.client.report(at)).report
        except StorageProblem:
            return ""
        return report.bootId if report else ""
