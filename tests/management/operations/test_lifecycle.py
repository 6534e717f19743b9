"""A storage's life on a real agent: added, lost, back by itself, connected afresh, deleted; nothing of it stays."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from bs_agent.contract.errors import CannotDelete, InvalidArgument, ResourceNotFound, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import Enrollment
from bs_agent.daemon.configuration import Address
from bs_agent.management.store.zones import ZoneStore
from tests.beds.agent import AgentProcess, client_of
from tests.beds.arrivals import dying_with_its_answer
from tests.beds.fleet import FleetBed, fleet, image_store, until

pytestmark = pytest.mark.asyncio


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A directory in use: files, a link, a directory."""
    folder = tmp_path / "images"
    (folder / "registry").mkdir(parents=True)
    (folder / "registry" / "image.qcow2").write_bytes(os.urandom(4096))
    (folder / ".hidden").write_text("x")
    (folder / "link").symlink_to("registry/image.qcow2")
    return folder


def tree(folder: Path) -> dict[str, str]:
    """Everything that is in a folder, with its kind, rights and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()
        found[str(path.relative_to(folder))] = f"{path.lstat().st_mode:o} {digest}"
    return found


def move(source: Path, target: Path) -> None:
    source.rename(target)


def mount_point(folder: Path) -> None:
    folder.mkdir()


async def _is_clean(bed: FleetBed, images: Path, before: dict[str, str]) -> bool:
    """Tell whether a directory is as it was before, and its agent of no interest any more."""
    return tree(images) == before and bed.service.poller.watching == 0


async def _is_forgotten(address: Address, enrollment: Enrollment) -> bool:
    """Tell whether the agent refuses the token of an enrolment."""
    async with client_of(address, enrollment) as client:
        return (await client.ask("GET", "/v1/report")).status == 401


async def test_life_of_a_storage(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    before = tree(images)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        shown = await bed.shown(uuid)
        assert shown is not None
        filesystem = os.statvfs(images)
        assert shown["totalCapacity"] == filesystem.f_frsize * filesystem.f_blocks
        assert shown["status"] == "Connected"
        assert not shown["capacityStale"]
        assert tree(images) != before, "the marker shows that the disk is ours"

        agent.kill()
        await bed.reaches(uuid, ("Disconnected", "AgentUnreachable"))
        lost = await bed.shown(uuid)
        assert lost is not None
        assert lost["capacityStale"]
        assert lost["totalCapacity"] == shown["totalCapacity"], "the last numbers stay"
        agent.start()
        await bed.reaches(uuid, ("Connected", ""))

        await bed.service.reconnect(uuid)
        assert await bed.status(uuid) == ("Connected", "")
        await bed.service.delete(uuid, "Permissive")
        assert await bed.shown(uuid) is None
        await bed.service.delete(uuid, "Permissive")
        with pytest.raises(ResourceNotFound):
            await bed.service.reconnect(uuid)
    assert tree(images) == before


async def test_a_vanished_disk_and_its_return(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        move(images, tmp_path / "away")
        await bed.reaches(uuid, ("Disconnected", "DirectoryMissing"))
        mount_point(images)
        await bed.reaches(uuid, ("Disconnected", "MarkerMissing"))
        move(images, tmp_path / "mount point")
        move(tmp_path / "away", images)
        await bed.reaches(uuid, ("Connected", ""))


async def test_permissive_delete_of_a_dead_host_changes_nothing(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    before = tree(images)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        agent.kill()
        with pytest.raises(CannotDelete) as refusal:
            await bed.service.delete(uuid, "Permissive")
        shown = refusal.value.shown()
        assert shown.code == "SYS.1004"
        assert shown.cause is not None
        assert shown.cause.code == "BS.AgentUnreachable"
        assert await bed.shown(uuid) is not None
        await bed.reaches(uuid, ("Disconnected", "AgentUnreachable"))
        agent.start()
        await bed.reaches(uuid, ("Connected", ""))
        await bed.service.delete(uuid, "Permissive")
    assert tree(images) == before


async def test_enforced_delete_cleans_the_host_when_it_is_back(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    before = tree(images)
    enrollment = agent.enroll()
    address = agent.address
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, enrollment))
        agent.kill()
        await bed.service.delete(uuid, "Enforcing")
        assert await bed.shown(uuid) is None
        assert tree(images) != before
        agent.start()
        await until(lambda: _is_clean(bed, images, before))
    assert await _is_forgotten(address, enrollment)


async def test_what_is_owed_survives_a_restart_of_the_management_node(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    before = tree(images)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        agent.kill()
        await bed.service.delete(uuid, "Enforcing")
    agent.start()
    async with fleet(tmp_path) as bed:

        async def is_clean() -> bool:
            return tree(images) == before

        await until(is_clean)


async def test_what_is_owed_expires(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    async with fleet(tmp_path, cleanup={"debt_days": 1e-5}) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        agent.kill()
        await bed.service.delete(uuid, "Enforcing")

        async def is_given_up() -> bool:
            return bed.service.poller.watching == 0

        await until(is_given_up)


async def test_two_storages_of_one_agent(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    other = tmp_path / "other"
    mount_point(other)
    first_enrollment, second_enrollment = agent.enroll(), agent.enroll()
    async with fleet(tmp_path) as bed, client_of(agent.address, second_enrollment) as second:
        first = await bed.service.add_image_store(image_store(images, first_enrollment))
        uuid = await bed.service.add_image_store(image_store(other, second_enrollment))
        assert bed.service.poller.watching == 1, "the agent is known already"
        assert (await second.ask("GET", "/v1/report")).status == 401, "so its second token is not kept"
        await bed.service.delete(first, "Permissive")
        await bed.service.reconnect(uuid)
        assert await bed.status(uuid) == ("Connected", "")
        await bed.service.delete(uuid, "Permissive")
        assert bed.service.poller.watching == 0
    assert list(other.iterdir()) == []


async def test_an_add_that_fails_with_its_agent_is_undone_when_the_agent_is_back(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    before, enrollment, address = tree(images), agent.enroll(), agent.address
    async with fleet(tmp_path) as bed:
        with dying_with_its_answer(agent), pytest.raises(StorageProblem, match="the answer is lost"):
            await bed.service.add_image_store(image_store(images, enrollment))
        assert tree(images) != before
        agent.start()
        await until(lambda: _is_clean(bed, images, before))
    assert await _is_forgotten(address, enrollment)


async def test_a_storage_that_comes_back_under_its_uuid_is_not_cleaned_for_its_deletion(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    async with fleet(tmp_path, poll={"interval": 3600.0, "timeout": 5.0}) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        agent.kill()
        await bed.service.delete(uuid, "Enforcing")
        assert len(await bed.owed()) == 1
        agent.start()
        assert uuid == await bed.service.add_image_store(image_store(images, agent.enroll(), resourceUuid=uuid))
        assert await bed.owed() == []


async def test_a_failed_add_leaves_nothing(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    before = tree(images)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        for path, code in (
            (tmp_path / "missing", ReasonCode.DIRECTORY_MISSING),
            (images / "registry" / "image.qcow2", ReasonCode.DIRECTORY_NOT_ALLOWED),
        ):
            with pytest.raises(StorageProblem) as problem:
                await bed.service.add_image_store(image_store(path, agent.enroll()))
            assert problem.value.reason.code == code
        with pytest.raises(InvalidArgument, match=uuid):
            await bed.service.add_image_store(image_store(images, agent.enroll()))
        assert await bed.status(uuid) == ("Connected", "")
        await bed.service.delete(uuid, "Permissive")
    assert tree(images) == before


async def test_of_two_adds_that_want_one_uuid_the_second_leaves_no_trace(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    wanted = "5" * 32
    async with fleet(tmp_path) as bed:
        zones = ZoneStore(bed.database)
        adds = [
            bed.service.add_image_store(image_store(folder, agent.enroll(), resourceUuid=wanted))
            for folder in (images, other)
        ]
        zone = zones.add("z", None, is_default=False, uuid=wanted, system_tags=[], user_tags=[])
        outcomes = await asyncio.gather(*adds, zone, return_exceptions=True)
        assert [outcome for outcome in outcomes if isinstance(outcome, str)] == [wanted]
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {str(outcome) for outcome in refused} == {
            f"field[resourceUuid]: there is a resource[uuid:{wanted}] already; give a new one, or none"
        }
        assert {type(outcome) for outcome in refused} == {InvalidArgument}
        marked = [folder for folder in (images, other) if (folder / ".bs-agent.json").exists()]
        assert marked == [
            folder for folder, outcome in zip((images, other), outcomes, strict=False) if outcome == wanted
        ]
        for second in (images, other):
            with pytest.raises(InvalidArgument, match="there is a resource"):
                await bed.service.add_image_store(image_store(second, agent.enroll(), resourceUuid=wanted))
        assert marked == [folder for folder in (images, other) if (folder / ".bs-agent.json").exists()]
        assert await bed.owed() == []
