"""Calls by the hundred, as a careful client makes them: each with a uuid, and sent again until it is known."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from tests.fleet.behaviour import URL
from tests.nodes.agents import CountingAgent
from tests.nodes.cluster import SECONDS, Cluster

ASIDE = 10.0
"""Seconds after which an answer is not waited for any more: the node may stand still."""
AT_ONCE = 8
_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
CUT_SHORT = {"SYS.1006", "BS.StorageBusy"}
"""How a call may end whose node was lost: it says so, and has no effect, or another node takes that back."""


class Lost(Exception):
    """A call that was taken is not known any more, or does not end."""


@dataclass
class Traffic:
    """The calls and their ends; `fails` are the codes with which calls may end as things are."""

    cluster: Cluster
    fails: frozenset[str] = frozenset(CUT_SHORT)
    ended: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, bool] = field(default_factory=dict)
    slowest: float = 0.0

    async def run(self, calls: int, agents: list[CountingAgent], stop: asyncio.Event | None = None) -> None:
        """Make so many calls: reconnects, adds and deletes, on each agent one after the other; or as long as wanted."""
        chosen = random.Random(calls)  # noqa: S311  nothing secret
        waiting = asyncio.Queue[CountingAgent]()
        for agent in agents:
            waiting.put_nowait(agent)
        there: dict[str, bool] = {}

        async def work() -> None:
            while self.ended < calls and not (stop and stop.is_set()):
                agent = await waiting.get()
                uuid = agent.machine.uuid
                if uuid not in there:
                    there[uuid] = await self.is_there(agent)
                kind = chosen.choice(("reconnect", "reconnect", "delete")) if there[uuid] else "add"
                if await self.call(kind, agent):
                    there[uuid] = kind != "delete"
                else:
                    del there[uuid]
                waiting.put_nowait(agent)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def settle(self, agents: list[CountingAgent]) -> None:
        """Have each agent serve its storage, whatever has befallen it before."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def settle(agent: CountingAgent) -> None:
            async with turns:
                while not (await self.is_there(agent) and await self.call("reconnect", agent)):
                    await self.call("add", agent)

        await asyncio.gather(*(settle(agent) for agent in agents))

    async def call(self, kind: str, agent: CountingAgent) -> bool:
        """Make one call to its end; tell whether it went well."""
        began, uuid = time.monotonic(), uuid4().hex
        enrolment, code = agent.enroll() if kind == "add" else ("", "")
        method, path, body = _request(kind, agent, code)
        problem = await self._begin(uuid, method, path, body) or await self._end(uuid)
        if problem and enrolment:
            agent.in_vain.add(enrolment)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.ended += 1
        self.ends[f"{kind} {problem or 'well'}"] += 1
        return not problem

    async def is_there(self, agent: CountingAgent) -> bool:
        """Ask until it is told whether the storage is there."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            status, answer = await self.request("GET", f"/backup-storage/{agent.machine.uuid}")
            if status == 200:
                return bool(answer["inventories"])
            await asyncio.sleep(_PAUSE)
        raise Lost("queries are not answered")

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 RUF100  JSON
        """Send a request through the balancer; the status is 0 when nobody of ours has answered it."""
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        sent["Authorization"] = f"OAuth {self.cluster.session}"
        url, timeout = f"{self.cluster.url}/zstack/v1{path}", aiohttp.ClientTimeout(total=ASIDE)
        options: dict[str, Any] = {"json": body, "headers": sent, "timeout": timeout, "ssl": False}
        try:
            async with self.cluster.http.request(method, url, **options) as answer:
                if not answer.content_type.endswith("json"):
                    self.refused[f"balancer {answer.status}"] += 1
                    return 0, {}
                said = await answer.json()
                if answer.headers.get("Retry-After"):
                    self.refused[f"come back: {said['error']['details'][:60]}"] += 1
                    return 0, {}
                return answer.status, said
        except (aiohttp.ClientError, TimeoutError) as error:
            self.refused[type(error).__name__] += 1
            return 0, {}

    async def _begin(self, uuid: str, method: str, path: str, body: Any) -> str:  # noqa: ANN401 RUF100  JSON
        """Send a call until somebody has taken it; return the code with which it is refused, if it is."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            hook = self.cluster.hooks_at
            status, said = await self.request(method, path, body, X_Job_UUID=uuid, X_Web_Hook=hook)
            if status == 202 or "Duplicate job uuid" in said.get("error", {}).get("details", ""):
                return ""
            if status:
                return self._failed(said)
            await asyncio.sleep(_PAUSE)
        raise Lost(f"nobody takes {method} {path}")

    async def _end(self, uuid: str) -> str:
        """Ask for a job until it has ended; return the code with which it has failed, if it has."""
        deadline, pause = time.monotonic() + SECONDS, _PAUSE
        while time.monotonic() < deadline:
            status, said = await self.request("GET", f"/api-jobs/{uuid}")
            if status not in {0, 202}:
                self.jobs[uuid] = status == 200
                return "" if status == 200 else self._failed(said)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise Lost(f"job {uuid} does not end")

    def _failed(self, said: dict[str, Any]) -> str:
        code = str(said["error"]["code"])
        if code not in self.fails:
            raise Lost(f"a call has failed that should not: {said}")
        return code


def _request(kind: str, agent: CountingAgent, code: str) -> tuple[str, str, Any]:
    path = f"/backup-storage/{agent.machine.uuid}"
    if kind == "delete":
        return "DELETE", f"{path}?deleteMode=Permissive", None
    if kind == "reconnect":
        return "PUT", f"{path}/actions", {"reconnectBackupStorage": {}}
    parameters = {"name": agent.machine.name, "hostname": agent.machine.host, "url": URL}
    parameters["resourceUuid"] = agent.machine.uuid
    tags = [f"agentEnrollment::{code}"]
    return "POST", "/backup-storage/image-store", {"params": parameters, "systemTags": tags}
