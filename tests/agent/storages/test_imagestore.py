"""A directory that hangs, vanishes, fills up or is replaced: each has its own reason, and no number is ever wrong."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from bs_agent.agent import app
from bs_agent.agent.config import AgentSettings
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import DirectoryUsage, ImageStoreReport, Section
from tests.agent.asking import MARKER, clean, connect, move, refusal, report
from tests.agent.conftest import OTHER_UUID, UUID, enrolled, eventually, running_agent, tree
from tests.beds import mounts
from tests.beds.agent import AgentClient

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("mountable")]

SIZE = 1024 * 1024


@pytest_asyncio.fixture
async def mounted(tmp_path: Path) -> AsyncIterator[AsyncExitStack]:
    """What is mounted at `disk`; close it to unmount."""
    async with AsyncExitStack() as stack:
        stack.enter_context(mounts.tmpfs(tmp_path / "disk", f"size={SIZE},nr_inodes=50"))
        yield stack


@pytest_asyncio.fixture
async def disk(client: AgentClient, mounted: AsyncExitStack, tmp_path: Path) -> Path:
    """A disk of one mebibyte that is connected."""
    answer = await connect(client, tmp_path / "disk")
    assert answer.status == 200, answer.body
    return tmp_path / "disk"


async def _usage(client: AgentClient) -> Section[DirectoryUsage]:
    (found,) = (await report(client)).storages
    assert isinstance(found, ImageStoreReport)
    return found.usage


def _waits_in(pid: int, what: str) -> bool:
    """Tell whether a process hangs in this part of the kernel."""
    return what in Path(f"/proc/{pid}/stack").read_text()


def _code(section: Section[DirectoryUsage]) -> ReasonCode | None:
    return section.reason.code if section.reason else None


async def test_a_well_disk(client: AgentClient, disk: Path) -> None:
    usage = await _usage(client)
    assert usage.reason is None
    assert usage.value == DirectoryUsage(
        totalCapacity=SIZE, availableCapacity=SIZE - 4096, totalInodes=50, availableInodes=48, readOnly=False
    )


async def test_a_full_disk_has_nothing_available(client: AgentClient, disk: Path) -> None:
    with (disk / "data").open("wb", buffering=0) as data:
        while True:
            try:
                data.write(b"x" * 4096)
            except OSError:
                break
    usage = await _usage(client)
    assert _code(usage) == ReasonCode.DIRECTORY_FULL
    assert usage.value
    assert (usage.value.totalCapacity, usage.value.availableCapacity, usage.stale) == (SIZE, 0, False)
    (disk / "data").unlink()
    usage = await _usage(client)
    assert usage.reason is None
    assert usage.value
    assert usage.value.availableCapacity == SIZE - 4096


async def test_a_disk_without_inodes(client: AgentClient, disk: Path) -> None:
    for number in range(48):
        (disk / str(number)).touch()
    usage = await _usage(client)
    assert _code(usage) == ReasonCode.INODES_EXHAUSTED
    assert usage.value
    assert (usage.value.availableInodes, usage.value.availableCapacity > 0) == (0, True)


async def test_a_disk_that_turned_read_only(client: AgentClient, disk: Path) -> None:
    mounts.mount("tmpfs", disk, "-o", "remount,ro")
    usage = await _usage(client)
    assert _code(usage) == ReasonCode.READ_ONLY
    assert usage.value
    assert (usage.value.readOnly, usage.value.totalCapacity, usage.stale) == (True, SIZE, False)
    assert (await connect(client, disk)).status == 200


async def test_a_disk_that_grew(client: AgentClient, disk: Path) -> None:
    mounts.mount("tmpfs", disk, "-o", f"remount,size={4 * SIZE}")
    usage = await _usage(client)
    assert usage.value
    assert usage.value.totalCapacity == 4 * SIZE


async def test_what_is_ours_on_an_unmounted_disk_is_not_taken_for_clean(
    client: AgentClient, disk: Path, mounted: AsyncExitStack, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with mounts.bound(disk, kept):
        await mounted.aclose()
        for asked in ({"dryRun": True}, {}):
            body = {"commandUuid": "c" * 32, **asked}
            assert refusal(await client.ask("POST", f"/v1/storages/{UUID}/cleanup", body)) == "BS.MarkerMissing"
        assert [storage.uuid for storage in (await report(client)).storages] == [UUID]
        with mounts.bound(kept, disk):
            assert (await clean(client)).error is None
        assert tree(kept) == {}
    assert (await report(client)).storages == []


async def test_an_unmounted_disk_keeps_its_last_numbers_and_says_how_old_they_are(
    client: AgentClient, disk: Path, mounted: AsyncExitStack
) -> None:
    before = await _usage(client)
    await mounted.aclose()
    usage = await _usage(client)
    assert _code(usage) == ReasonCode.MARKER_MISSING
    assert usage.stale
    assert usage.value == before.value
    assert usage.collectedAt == before.collectedAt
    await asyncio.sleep(0.3)
    assert ((await _usage(client)).ageSeconds or 0) >= 0.3
    # Reconnecting does not make the root disk the storage, and neither does another disk in its place.
    assert refusal(await connect(client, disk)) == "BS.MarkerMissing"
    with mounts.tmpfs(disk, "size=2m"):
        assert refusal(await connect(client, disk)) == "BS.MarkerMissing"
        assert _code(await _usage(client)) == ReasonCode.MARKER_MISSING
        assert tree(disk) == {}
    assert tree(disk) == {}


async def test_a_marker_that_was_removed_comes_back_with_a_reconnect(client: AgentClient, disk: Path) -> None:
    (disk / MARKER).unlink()
    assert _code(await _usage(client)) == ReasonCode.MARKER_MISSING
    assert (await connect(client, disk)).status == 200
    assert (disk / MARKER).exists()
    assert _code(await _usage(client)) is None


async def test_a_disk_that_was_swapped_for_that_of_another_storage(client: AgentClient, disk: Path) -> None:
    before = await _usage(client)
    (disk / MARKER).write_text(json.dumps({"storage": OTHER_UUID}))
    usage = await _usage(client)
    assert _code(usage) == ReasonCode.MARKER_FOREIGN
    assert OTHER_UUID in (usage.reason.details if usage.reason else "")
    assert (usage.value, usage.stale) == (before.value, True)
    assert refusal(await connect(client, disk)) == "BS.MarkerForeign"


async def test_a_directory_that_vanished(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    move(directory, directory.with_name("away"))
    assert _code(await _usage(client)) == ReasonCode.DIRECTORY_MISSING
    move(directory.with_name("away") / "image.qcow2", directory)
    assert _code(await _usage(client)) == ReasonCode.DIRECTORY_NOT_ALLOWED
    move(directory, directory.with_name("away") / "image.qcow2")
    move(directory.with_name("away"), directory)
    assert _code(await _usage(client)) is None


@pytest.mark.parametrize("taken", [False, True], ids=["killable", "unkillable"])
async def test_a_hung_disk_holds_up_nothing_else(
    client: AgentClient, disk: Path, directory: Path, taken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bs_agent.agent.probing.monitor")
    await connect(client, directory, OTHER_UUID)
    with mounts.hung(disk, taken=taken):
        found = (await report(client)).storages
        hung, well = (storage for storage in found if isinstance(storage, ImageStoreReport))
        assert _code(hung.usage) == ReasonCode.DIRECTORY_HUNG
        assert hung.usage.stale
        assert hung.usage.value
        assert hung.usage.value.totalCapacity == SIZE
        assert well.usage.reason is None
        assert (well.usage.ageSeconds or 0) < 3
        for _ in range(2):
            assert refusal(await connect(client, disk)) == "BS.DirectoryHung"
        assert refusal(await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32})) == (
            "BS.DirectoryHung"
        )
    assert (await connect(client, disk)).status == 200
    assert (await report(client)).storages[0].reasons() == []
    said = [record.getMessage() for record in caplog.records if UUID in record.getMessage()]
    assert len([line for line in said if "DirectoryHung" in line]) == 1
    assert len([line for line in said if "well again" in line]) == 1


@pytest.mark.parametrize("taken", [False, True], ids=["killable", "unkillable"])
async def test_a_disk_that_is_mounted_again_is_connected_at_the_first_try(
    agent: app.Agent, client: AgentClient, disk: Path, taken: bool
) -> None:
    (worker,) = agent.host.workers.all()
    with mounts.hung(disk, taken=taken):
        probe = asyncio.create_task(worker.call("directory_usage", 3600, path=str(disk), storage=UUID))
        await eventually(lambda: worker.pid is not None and _waits_in(worker.pid, "fuse"))
        mounts.unmount(disk)
        assert (await connect(client, disk)).status == 200
        assert (await probe)["totalCapacity"] == SIZE
        assert worker.stuck == taken


async def test_an_agent_starts_and_stops_with_a_hung_disk(settings: AgentSettings, mounted: AsyncExitStack) -> None:
    disk = settings.state.directory.parent / "disk"
    async with running_agent(settings) as agent, enrolled(agent) as client:
        await connect(client, disk)
        enrollment = client.enrollment
    with mounts.hung(disk, taken=True):
        async with running_agent(settings) as agent, enrolled(agent) as client:
            client.enrollment = enrollment
            usage = await _usage(client)
            assert (_code(usage), usage.value) == (ReasonCode.DIRECTORY_HUNG, None)
    async with running_agent(settings) as agent, enrolled(agent) as client:
        client.enrollment = enrollment
        assert (await clean(client)).error is None


async def test_a_service_that_does_not_answer_degrades_its_own_section(client: AgentClient, directory: Path) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await connect(client, directory, service=str(port))
    assert answer.body["service"]["value"] == {"address": f"127.0.0.1:{port}"}
    server.close()
    await server.wait_closed()
    (found,) = (await report(client)).storages
    assert isinstance(found, ImageStoreReport)
    assert found.service
    assert [reason.code for reason in found.reasons()] == [ReasonCode.SERVICE_DOWN]
    assert (found.service.stale, found.usage.stale) == (True, False)
    # Without the check the section is gone.
    assert (await connect(client, directory)).body["service"] is None
    assert (await report(client)).storages[0].reasons() == []


@pytest.mark.parametrize(
    "service",
    ["192.0.2.1:80", "169.254.169.254:80", "example.org:80", "0.0.0.0:1", "80x", "0", "65536", "[::2]:80", "::"],
)
async def test_the_agent_looks_at_services_of_its_own_host_only(
    client: AgentClient, directory: Path, service: str
) -> None:
    answer = await connect(client, directory, service=service)
    assert (answer.status, refusal(answer)) == (400, "SYS.1007")
    assert not (directory / MARKER).exists()
    assert (await report(client)).storages == []


@pytest.mark.parametrize("kind", ["link", "fifo", "sparse"])
async def test_what_is_no_marker_is_told_and_nobody_waits(client: AgentClient, disk: Path, kind: str) -> None:
    (disk / MARKER).unlink()
    if kind == "fifo":
        os.mkfifo(disk / MARKER)
    elif kind == "link":
        (disk / MARKER).symlink_to("/etc/passwd")
    else:
        (disk / MARKER).touch()
        os.truncate(disk / MARKER, 1 << 30)
    what = {"fifo": "is a FIFO", "link": "is a link", "sparse": "has 1073741824 bytes"}[kind]
    usage = await _usage(client)
    assert (_code(usage), what in (usage.reason.details if usage.reason else "")) == (ReasonCode.MARKER_FOREIGN, True)
    answer = await connect(client, disk)
    assert (refusal(answer), what in answer.body["error"]["details"]) == ("BS.MarkerForeign", True)
    assert [step.action for step in (await clean(client)).steps] == ["forget"]
    assert (disk / MARKER).lstat()
