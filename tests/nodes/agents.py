"""Agents that count what they do, by storage and number of the operation: nothing may be done twice, or be left."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from aiohttp import web

from bs_agent.contract.enrollment import encode, enrollment_id
from tests.fleet.behaviour import Manner, Pace, SimulatedAgent
from tests.fleet.machines import Machine, machines
from tests.fleet.site import Site
from tests.nodes.network import Network

Done = tuple[str, str, int]
"""What was done (connect, clean), of which storage, by the operation of which number."""


class CountingAgent(SimulatedAgent):
    """One agent, with as many enrolments as commands on its host have made."""

    def __init__(self, machine: Machine, site: Site) -> None:
        super().__init__(machine, Manner.CHANGING, Pace(change=2.0), site.polls, serving=False)
        self.done: Counter[Done] = Counter()
        self.polled_at = 0.0
        self.enrolments: dict[str, str] = {}
        self.in_vain: set[str] = set()
        self._site = site

    def enroll(self) -> tuple[str, str]:
        """Enrol as by the command on the host; return the id of the enrolment, and its code."""
        token = uuid4().hex
        self.enrolments[enrollment_id(token)] = token
        return enrollment_id(token), encode(self._site.port, token, self.machine.fingerprint)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer whom the agent knows, and count what it does."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.token = token if token in self.enrolments.values() else "nobody's"
        if self.token == token and request.path == "/v1/report":
            self.polled_at = time.monotonic()
        if self.token == token and request.path.startswith("/v1/enrollments/"):
            self.enrolments.pop(request.path.rpartition("/")[2], None)
        cleaned, connected = self.asked["clean"], len(self.parameters)
        response = await super().handle(request)
        uuid = request.path.removeprefix("/v1/storages/").partition("/")[0]
        if self.asked["clean"] > cleaned:
            self.done["clean", uuid, self.numbers[uuid]] += 1
        if len(self.parameters) > connected:
            self.done["connect", uuid, self.parameters[-1]["number"]] += 1
        return response


@asynccontextmanager
async def agents(folder: Path, network: Network, count: int) -> AsyncIterator[list[CountingAgent]]:
    """Play so many agents while the context is open."""
    site = Site()
    known = [replace(each, host=network.agent(each.number)) for each in machines(folder, count, lambda _: None)]
    async with site.open():
        playing = [CountingAgent(machine, site) for machine in known]
        site.agents = {agent.machine.host: agent for agent in playing}
        yield playing
        await asyncio.sleep(0)
