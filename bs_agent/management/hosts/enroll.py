"""How the management node comes to be trusted by an agent and to trust it: by a code, or by entering over SSH."""

import asyncio
import importlib
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bs_agent.contract.enrollment import enrollment_id
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.config import SshSettings
from bs_agent.management.hosts.agent_client import Agents, Target
from bs_agent.management.hosts.trust import Access, Trust

if TYPE_CHECKING:
    from bs_agent.management.hosts import ssh

log = logging.getLogger(__name__)

_FIRST_LOOK, _LAST_LOOK = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class Entered:
    """The outcome of entering a host over SSH; `trust` is None when the known one fits again."""

    trust: Trust | None
    host_key: str
    host_key_fingerprint: str


class Enrolling:
    """Wins trust; every method raises StorageProblem with what stands in the way."""

    def __init__(self, settings: SshSettings, agents: Agents) -> None:
        self.settings = settings
        self._agents = agents
        self._label = f"bs-management on {socket.gethostname()}"

    async def enroll(self, access: Access) -> Trust:
        """Win the trust of a host's agent, which runs and answers afterwards."""
        if access.code:
            port, token, fingerprint = access.code
            return Trust(access.hostname, port, fingerprint, token, enrollment_id(token))
        entered = await self.enter(access, None)
        if entered.trust is None:
            raise RuntimeError("entering without a known agent wins a new trust")
        return entered.trust

    async def enter(self, access: Access, known: Target | None) -> Entered:
        """Enter over SSH: start the agent if it does not answer, enrol again if what we know of it does not fit."""
        if not access.username:
            details = f"{access.hostname}: there is neither a code nor an SSH log-in"
            raise StorageProblem.of(ReasonCode.AGENT_NOT_ENROLLED, details)
        # Only when it is needed, and beside the event loop: asyncssh costs 30 MiB and a sixth of a second.
        await asyncio.to_thread(importlib.import_module, "bs_agent.management.hosts.ssh")
        from bs_agent.management.hosts import ssh  # noqa: PLC0415  as said above

        login = ssh.Login(
            access.hostname, access.ssh_port, access.username, access.password, access.host_key, access.fingerprint
        )
        async with ssh.session(login, self.settings) as session:
            trust = None
            if known is None or not await self._fits_after_restart(session, known):
                trust = await self._enroll(session, access)
            return Entered(trust, session.host_key, session.fingerprint)

    async def _fits_after_restart(self, session: "ssh.Session", known: Target) -> bool:
        try:
            await self._agents.report(known)
        except StorageProblem as problem:
            if problem.reason.code in {ReasonCode.AGENT_UNAUTHORIZED, ReasonCode.CERTIFICATE_CHANGED}:
                return False
        else:
            return True
        await session.start_agent()
        try:
            await self._wait_for(known)
            await self._agents.report(known)
        except StorageProblem as problem:
            log.info("%s: after the restart: %s", known.name, problem)
            return False
        return True

    async def _enroll(self, session: "ssh.Session", access: Access) -> Trust:
        enrollment = await session.enroll(self._label)
        trust = Trust(
            access.hostname, enrollment.port, enrollment.fingerprint, enrollment.token, enrollment.id,
            session.host_key, session.fingerprint,
        )  # fmt: skip
        if not await self._agents.is_alive(trust.target()):
            await session.start_agent()
            await self._wait_for(trust.target())
        return trust

    async def _wait_for(self, agent: Target) -> None:
        pause = _FIRST_LOOK
        try:
            async with asyncio.timeout(self.settings.start_timeout):
                while not await self._agents.is_alive(agent):
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LAST_LOOK)
        except TimeoutError:
            details = f"{agent.name} does not answer {self.settings.start_timeout:g} s after the restart of the agent"
            raise StorageProblem.of(ReasonCode.AGENT_START_FAILED, details) from None
