"""Three real nodes on one PostgreSQL: a call on all of them has one effect, and any of them may die or stand still."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.beds.fleet import until
from tests.beds.nodes import Member, Site, site
from tests.beds.played import Played, players
from tests.beds.postgresql import PostgreSQL

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(400)]

Call = tuple[str, str, object]

HOST, UUID = "127.0.0.2", "1" * 32
STORAGE = f"/backup-storage/{UUID}"
RECONNECT: Call = ("PUT", f"{STORAGE}/actions", {"reconnectBackupStorage": {}})
DELETE: Call = ("DELETE", STORAGE, None)


@dataclass
class Stage:
    """A site of three nodes, and one agent that is played."""

    site: Site
    agent: Played

    @property
    def add(self) -> Call:
        """The call that adds a directory of the agent."""
        parameters = {"name": "images", "hostname": HOST, "url": "/images", "resourceUuid": UUID}
        tags = [f"agentEnrollment::{self.agent.code}"]
        return "POST", "/backup-storage/image-store", {"params": parameters, "systemTags": tags}

    async def everywhere(self, call: Call) -> list[dict[str, Any]]:
        """Send one call to all nodes at once."""
        return await asyncio.gather(*(member.client.call(*call) for member in self.site.members))

    async def held(self, kind: str) -> None:
        """Wait until the agent holds a command of this kind."""
        wanted = self.agent.asked[kind] + 1
        await until(lambda: _true(self.agent.asked[kind] >= wanted))

    async def is_whole(self, member: Member) -> bool:
        """Tell whether a node shows the storage Connected, and the agent has it."""
        shown = (await member.client.call("GET", STORAGE))["inventories"]
        return [one["status"] for one in shown] == ["Connected"] and list(self.agent.storages) == [UUID]

    async def is_nothing(self, member: Member) -> bool:
        """Tell whether no storage is left, here or on the agent, and the agent is of no interest any more."""
        shown = (await member.client.call("GET", STORAGE))["inventories"]
        return shown == [] and not self.agent.storages and self.agent.enrolled == 0

    def let_go(self, kind: str) -> None:
        """Let the agent answer what it holds."""
        self.agent.holds.pop(kind).set()


async def _true(value: bool) -> bool:
    return value


@pytest_asyncio.fixture
async def stage(tmp_path: Path, postgresql_server: PostgreSQL) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(players(tmp_path))
        agent = await stage.add(HOST)
        nodes = await stack.enter_async_context(site(tmp_path, postgresql_server.new_database(), 3))
        yield Stage(nodes, agent)


def _codes(answers: list[dict[str, Any]]) -> list[str]:
    return sorted(answer.get("error", {}).get("code", "") for answer in answers)


async def test_one_call_on_three_nodes_has_one_effect(stage: Stage) -> None:
    assert _codes(await stage.everywhere(stage.add)) == ["", "SYS.1007", "SYS.1007"]
    assert stage.agent.asked["PUT storages"] == 1
    assert all([await stage.is_whole(member) for member in stage.site.members])

    stage.agent.holds["PUT storages"] = asyncio.Event()
    reconnects = asyncio.create_task(stage.everywhere(RECONNECT))
    await stage.held("PUT storages")
    stage.let_go("PUT storages")
    assert _codes(await reconnects) == ["", "", ""]
    assert stage.agent.asked["PUT storages"] == 2

    stage.agent.holds["POST cleanup"] = asyncio.Event()
    deletes = asyncio.create_task(stage.everywhere(DELETE))
    await stage.held("POST cleanup")
    stage.let_go("POST cleanup")
    assert _codes(await deletes) == ["", "", ""]
    assert (stage.agent.asked["plan"], stage.agent.asked["clean"]) == (1, 1)
    await until(lambda: stage.is_nothing(stage.site.members[0]))


async def test_a_node_that_is_killed_in_the_middle_leaves_nothing_half_done(stage: Stage) -> None:
    holder, other, _ = stage.site.members

    async def kill_during(call: Call, kind: str) -> None:
        stage.agent.holds[kind] = asyncio.Event()
        asked = asyncio.create_task(holder.client.call(*call))
        await stage.held(kind)
        holder.process.signal(signal.SIGKILL)
        await asyncio.gather(asked, return_exceptions=True)
        stage.let_go(kind)

    await kill_during(stage.add, "PUT storages")
    await until(lambda: stage.is_nothing(other))
    stage.agent.enrol()
    assert _codes([await other.client.call(*stage.add)]) == [""]
    await stage.site.restart(holder)

    await kill_during(RECONNECT, "PUT storages")
    await until(lambda: stage.is_whole(other))
    await stage.site.restart(holder)

    await kill_during(DELETE, "POST cleanup")
    await until(lambda: stage.is_whole(other))
    assert _codes([await other.client.call(*DELETE)]) == [""]
    await until(lambda: stage.is_nothing(other))
    assert await stage.site.operations() == {}


async def test_a_node_that_stands_still_past_its_lease_does_no_harm(stage: Stage) -> None:
    sleeper, other, _ = stage.site.members

    async def sleep_during(call: Call, kind: str) -> "asyncio.Task[dict[str, Any]]":
        stage.agent.holds[kind] = asyncio.Event()
        asked = asyncio.create_task(sleeper.client.call(*call))
        await stage.held(kind)
        sleeper.process.signal(signal.SIGSTOP)
        stage.let_go(kind)
        return asked

    async def given_up(asked: "asyncio.Task[dict[str, Any]]") -> bool:
        """Tell whether the call has failed: its operation, its job, or its answer was not there in time."""
        (code,) = _codes([await asked])
        print(f"the node that has slept says {code or 'that all is well'}")
        return code in {"BS.StorageBusy", "SYS.1006", "BS.AgentTimeout", "BS.AgentUnreachable"}

    # An add: another node takes it back, and adds the storage itself.
    asked = await sleep_during(stage.add, "PUT storages")
    await until(lambda: stage.is_nothing(other))
    stage.agent.enrol()
    assert _codes([await other.client.call(*stage.add)]) == [""]
    sleeper.process.signal(signal.SIGCONT)
    assert await given_up(asked)
    assert await stage.is_whole(other)

    # A reconnect: another node connects the storage meanwhile.
    asked = await sleep_during(RECONNECT, "PUT storages")
    assert _codes([await other.client.call(*RECONNECT)]) == [""]
    sleeper.process.signal(signal.SIGCONT)
    assert await given_up(asked)
    await until(lambda: stage.is_whole(sleeper))

    # A delete: another node deletes the storage, and it is added again, meanwhile.
    asked = await sleep_during(DELETE, "POST cleanup")
    assert _codes([await other.client.call(*DELETE)]) == [""]
    stage.agent.enrol()
    assert _codes([await other.client.call(*stage.add)]) == [""]
    sleeper.process.signal(signal.SIGCONT)
    assert await given_up(asked)
    await until(lambda: stage.is_whole(sleeper))
    assert await stage.site.operations() == {}
