"""Storages that hang under a real agent: the management node waits long enough to hear what the agent has to say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bs_agent.contract.errors import CannotDelete, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from tests.beds import mounts
from tests.beds.agent import AgentProcess
from tests.beds.fleet import fleet, image_store

pytestmark = pytest.mark.asyncio

DEADLINE = 1.0
# Polls are as impatient as the agent's probes, which is how both are configured by default.
POLL = {"interval": 3600, "timeout": DEADLINE}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    if why := mounts.missing():
        pytest.skip(why)
    with AgentProcess(tmp_path / "agent", {"probe": {"interval": DEADLINE, "deadline": DEADLINE}}) as running:
        yield running


async def test_a_hung_directory_is_named_and_not_taken_for_a_silent_agent(tmp_path: Path, agent: AgentProcess) -> None:
    with mounts.tmpfs(tmp_path / "disk", "size=1m") as disk:
        async with fleet(tmp_path, poll=POLL) as bed:
            uuid = await bed.service.add_image_store(image_store(disk, agent.enroll()))
            with mounts.hung(disk):
                with pytest.raises(StorageProblem) as problem:
                    await bed.service.reconnect(uuid)
                assert problem.value.reason.code == ReasonCode.DIRECTORY_HUNG
                assert await bed.status(uuid) == ("Disconnected", "DirectoryHung")
                with pytest.raises(CannotDelete) as refusal:
                    await bed.service.delete(uuid, "Permissive")
                cause = refusal.value.shown().cause
                assert cause is not None
                assert cause.code == "BS.DirectoryHung"


async def test_a_hung_directory_cannot_be_added(tmp_path: Path, agent: AgentProcess) -> None:
    async with fleet(tmp_path, poll=POLL) as bed:
        with mounts.hung(tmp_path / "disk") as disk:
            with pytest.raises(StorageProblem) as problem:
                await bed.service.add_image_store(image_store(disk, agent.enroll()))
            assert problem.value.reason.code == ReasonCode.DIRECTORY_HUNG
