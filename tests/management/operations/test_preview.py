"""What a delete would do is told before, and is what it does: of a real agent that is there, away, or not well."""

from pathlib import Path

import pytest

from bs_agent.contract.errors import ResourceNotFound
from bs_agent.contract.reasons import REASONS, ReasonCode
from tests.beds.agent import AgentProcess
from tests.beds.fleet import fleet, image_store
from tests.management.operations.test_lifecycle import move, tree

pytestmark = pytest.mark.asyncio


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "image.qcow2").write_bytes(b"x")
    return folder


async def test_a_preview_changes_nothing_and_tells_what_the_delete_does(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    before = tree(images)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        second = await bed.service.add_image_store(image_store(other, agent.enroll()))
        marked, status = tree(images), await bed.status(uuid)
        preview = await bed.service.preview(uuid)
        assert (tree(images), await bed.status(uuid)) == (marked, status), "a preview changes nothing"
        (host,) = preview.hosts
        assert (preview.uuid, preview.name, preview.permissive) == (uuid, images.name, "Deleted")
        assert (host.answers, host.reason, host.permissive, host.enforcing) == (True, None, "Cleaned", "Cleaned")
        assert [(step.action, step.target) for step in host.steps] == [
            ("remove", f"{images}/.bs-agent.json"),
            ("forget", f"backup storage {uuid}"),
        ], "the agent serves another storage, so it stays enrolled"
        await bed.service.delete(uuid, "Permissive")
        assert tree(images) == before
        (last,) = (await bed.service.preview(second)).hosts
        assert last.steps[-1].action == "forgetEnrollment"
        with pytest.raises(ResourceNotFound):
            await bed.service.preview(uuid)


async def test_a_preview_says_which_host_stands_in_the_way_and_what_helps(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        agent.kill()
        preview = await bed.service.preview(uuid)
        (host,) = preview.hosts
        assert (preview.permissive, preview.enforcing) == ("Refused", "Deleted")
        assert (host.answers, host.permissive, host.enforcing) == (False, "Refused", "Owed")
        assert host.reason
        assert host.reason.code == ReasonCode.AGENT_UNREACHABLE
        assert host.cure == REASONS[ReasonCode.AGENT_UNREACHABLE].cure
        await bed.service.delete(uuid, "Enforcing")
        assert await bed.owed(), "as the preview said"


async def test_a_host_that_answers_may_stand_in_the_way_too(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        move(images, tmp_path / "away")
        preview = await bed.service.preview(uuid)
        (host,) = preview.hosts
        assert (preview.permissive, host.answers, host.permissive) == ("Refused", True, "Refused")
        assert host.reason
        assert host.reason.code == ReasonCode.DIRECTORY_MISSING
