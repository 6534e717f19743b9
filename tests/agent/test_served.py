"""Connect, report, cleanup and forgetting through the agent protocol, on a real directory."""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bs_agent.agent import app, served
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import database
from bs_agent.agent.journal.journal import Journal, unavailable
from bs_agent.agent.storages.imagestore import ImageStore
from bs_agent.contract.report import Command, CommandState
from tests.agent.asking import MARKER, clean, connect, move, refusal, report
from tests.agent.conftest import OTHER_UUID, UUID, enrolled, eventually, running_agent, tree
from tests.beds import mounts
from tests.beds.agent import AgentClient

pytestmark = pytest.mark.asyncio


async def test_connect_answers_with_true_numbers(client: AgentClient, directory: Path) -> None:
    answer = await connect(client, directory)
    assert answer.status == 200, answer.body
    usage = answer.body["usage"]
    truth = os.statvfs(directory)
    assert usage["value"]["totalCapacity"] == truth.f_blocks * truth.f_frsize
    assert usage["value"]["totalInodes"] == truth.f_files
    assert usage["reason"] is None
    assert usage["stale"] is False
    assert [storage.uuid for storage in (await report(client)).storages] == [UUID]


async def test_connect_again_changes_nothing(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    before = tree(directory)
    assert (await connect(client, directory)).status == 200
    assert tree(directory) == before


async def test_two_storages_on_one_directory_are_refused(client: AgentClient, directory: Path, tmp_path: Path) -> None:
    await connect(client, directory)
    before = tree(directory)
    link = tmp_path / "link"
    link.symlink_to(directory)
    for path in (directory, f"{directory}/", f"{directory}/../images", link):
        assert refusal(await connect(client, path, OTHER_UUID)) == "BS.MarkerForeign"
    (directory / MARKER).unlink()
    assert refusal(await connect(client, link, OTHER_UUID)) == "BS.MarkerForeign"
    assert tree(directory).keys() == before.keys() - {MARKER}
    assert [storage.uuid for storage in (await report(client)).storages] == [UUID]


async def test_a_bind_mount_of_a_served_directory_is_refused(
    client: AgentClient, directory: Path, tmp_path: Path, mountable: None
) -> None:
    await connect(client, directory)
    other = tmp_path / "other"
    other.mkdir()
    with mounts.bound(directory, other):
        assert refusal(await connect(client, other, OTHER_UUID)) == "BS.MarkerForeign"


async def test_a_storage_stays_where_it_is(client: AgentClient, directory: Path, tmp_path: Path) -> None:
    await connect(client, directory)
    other = tmp_path / "other"
    other.mkdir()
    answer = await connect(client, other)
    assert refusal(answer) == "BS.DirectoryNotAllowed"
    assert str(directory) in answer.body["error"]["details"]
    assert tree(other) == {}
    assert (await report(client)).storages[0].reasons() == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", "BS.DirectoryNotAllowed"),
        ("images", "BS.DirectoryNotAllowed"),
        ("/nowhere", "BS.DirectoryMissing"),
        ("/etc/passwd", "BS.DirectoryNotAllowed"),
        ("/proc", "BS.DirectoryNotAllowed"),
    ],
)
async def test_a_refused_connect_leaves_nothing(client: AgentClient, path: str, code: str) -> None:
    assert refusal(await connect(client, path)) == code
    assert (await report(client)).storages == []
    assert refusal(await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32})) == (
        "BS.StorageUnknown"
    )


async def test_a_refused_reconnect_keeps_the_storage(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    move(directory, directory.with_name("away"))
    assert refusal(await connect(client, directory)) == "BS.DirectoryMissing"
    assert [reason.code for reason in (await report(client)).storages[0].reasons()] == ["DirectoryMissing"]
    move(directory.with_name("away"), directory)
    assert (await connect(client, directory)).status == 200


async def test_after_a_cleanup_the_directory_is_as_before(client: AgentClient, directory: Path) -> None:
    before = tree(directory)
    await connect(client, directory)
    plan = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32, "dryRun": True})
    assert plan.status == 200
    assert [(step["action"], step["target"]) for step in plan.body["steps"]] == [
        ("remove", f"{directory}/{MARKER}"),
        ("forget", f"backup storage {UUID}"),
    ]
    assert (directory / MARKER).exists()
    command = await clean(client)
    assert command.state == CommandState.DONE
    assert [(step.action, step.target) for step in command.steps] == [
        (step["action"], step["target"]) for step in plan.body["steps"]
    ]
    assert all(step.done for step in command.steps)
    assert tree(directory) == before
    assert (await report(client)).storages == []


async def test_a_host_that_only_lets_go_removes_nothing(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    asked = {"commandUuid": "1" * 32, "hostOnly": True}
    plan = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {**asked, "dryRun": True})
    assert [step["action"] for step in plan.body["steps"]] == ["forget"]
    assert (await clean(client, int("1" * 32, 16), hostOnly=True)).state == CommandState.DONE
    again = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {**asked, "hostOnly": False})
    assert (again.status, refusal(again)) == (409, "BS.CommandConflict")
    assert (directory / MARKER).exists()
    assert (await report(client)).storages == []


async def test_a_command_has_one_effect(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    asked = {"commandUuid": "1" * 32}
    answers = await asyncio.gather(*(client.ask("POST", f"/v1/storages/{UUID}/cleanup", asked) for _ in range(10)))
    assert {answer.status for answer in answers} == {202}
    first = await clean(client, int("1" * 32, 16))
    await connect(client, directory)
    again = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", asked)
    assert Command.model_validate(again.body) == first
    assert (directory / MARKER).exists()
    other = await client.ask("POST", f"/v1/storages/{OTHER_UUID}/cleanup", asked)
    assert (other.status, refusal(other)) == (409, "BS.CommandConflict")


async def test_a_cleanup_that_cannot_be_done_changes_nothing(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    move(directory, directory.with_name("away"))
    answer = await client.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32})
    assert refusal(answer) == "BS.DirectoryMissing"
    move(directory.with_name("away"), directory)
    assert (await report(client)).storages[0].reasons() == []
    assert (await clean(client)).state == CommandState.DONE


async def test_a_failed_cleanup_keeps_the_storage(client: AgentClient, tmp_path: Path, mountable: None) -> None:
    with mounts.tmpfs(tmp_path / "disk", "size=1m") as disk:
        await connect(client, disk)
        mounts.mount("tmpfs", disk, "-o", "remount,ro")
        command = await clean(client)
        assert command.state == CommandState.FAILED
        assert command.error
        assert command.error.code == "ReadOnly"
        assert [step.done for step in command.steps] == [False, False]
        assert [storage.uuid for storage in (await report(client)).storages] == [UUID]
        mounts.mount("tmpfs", disk, "-o", "remount,rw")
        assert (await clean(client, 2)).state == CommandState.DONE
        assert tree(disk) == {}


async def test_the_marker_of_another_storage_survives_a_cleanup(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    (directory / MARKER).write_text(json.dumps({"storage": OTHER_UUID}))
    before = tree(directory)
    assert (await clean(client)).state == CommandState.DONE
    assert tree(directory) == before


async def test_each_enrolment_sees_its_own_storages(agent: app.Agent, directory: Path, tmp_path: Path) -> None:
    other_directory = tmp_path / "other"
    other_directory.mkdir()
    async with enrolled(agent, "one") as one, enrolled(agent, "two") as two:
        await connect(one, directory)
        await connect(two, other_directory, OTHER_UUID)
        assert [storage.uuid for storage in (await report(one)).storages] == [UUID]
        assert [storage.uuid for storage in (await report(two)).storages] == [OTHER_UUID]
        answer = await two.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32})
        assert (answer.status, refusal(answer)) == (404, "BS.StorageUnknown")
        # A management node that has enrolled again finds its storages again.
        assert (await connect(two, directory)).status == 200
        assert len((await report(two)).storages) == 2


async def test_a_forgotten_token_is_refused_at_once(agent: app.Agent, directory: Path) -> None:
    async with enrolled(agent, "one") as one, enrolled(agent, "two") as two:
        await connect(one, directory)
        await report(two)
        denied = await two.ask("DELETE", f"/v1/enrollments/{one.enrollment.id}")
        assert denied.status == 404
        assert (await one.ask("DELETE", f"/v1/enrollments/{one.enrollment.id}")).status == 200
        assert (await one.ask("GET", "/v1/report")).status == 401
        # Its storage is still served: another enrolment may take it over, and its marker is known.
        assert (await connect(two, directory)).status == 200


async def test_a_storage_that_has_lost_its_last_owner_may_be_cleaned_by_another(
    agent: app.Agent, settings: AgentSettings, directory: Path
) -> None:
    before = tree(directory)
    async with enrolled(agent, "one") as one, enrolled(agent, "two") as two, enrolled(agent, "three") as three:
        await connect(one, directory)
        await connect(two, directory)
        await one.ask("DELETE", f"/v1/enrollments/{one.enrollment.id}")
        answer = await three.ask("POST", f"/v1/storages/{UUID}/cleanup", {"commandUuid": "1" * 32})
        assert (answer.status, refusal(answer)) == (404, "BS.StorageUnknown"), "it has an owner yet"
        # The operator takes the other token away, which a reload tells the agent.
        with closing(database.connect(settings.state.directory / "agent.db")) as journal, journal:
            journal.execute("DELETE FROM enrollments WHERE id = ?", (two.enrollment.id,))
        await app.take_up(agent)
        assert (await report(three)).storages == [], "it is still none of its own"
        assert (await clean(three, 2)).state == CommandState.DONE
    assert tree(directory) == before


async def test_all_is_there_again_after_a_restart(settings: AgentSettings, directory: Path) -> None:
    async with running_agent(settings) as agent, enrolled(agent) as client:
        await connect(client, directory)
        enrollment, etag = client.enrollment, (await client.ask("GET", "/v1/report")).headers["ETag"]
    async with running_agent(settings) as agent, enrolled(agent) as client:
        client.enrollment = enrollment
        found = await report(client)
        assert [storage.uuid for storage in found.storages] == [UUID]
        assert found.storages[0].reasons() == []
        assert (await client.ask("GET", "/v1/report")).headers["ETag"] != etag  # startedAt differs
        assert (await clean(client)).state == CommandState.DONE


async def test_connects_side_by_side_are_one(client: AgentClient, directory: Path) -> None:
    answers = await asyncio.gather(*(connect(client, directory) for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    uuids = [f"{number:032x}" for number in range(5)]
    answers = await asyncio.gather(*(connect(client, directory.parent, uuid) for uuid in uuids))
    assert sorted(answer.status for answer in answers) == [200, 503, 503, 503, 503]
    await eventually(lambda: len(list(directory.parent.glob(f"{MARKER}*"))) == 1)


async def test_a_storage_does_not_change_its_kind(client: AgentClient, directory: Path) -> None:
    await connect(client, directory)
    answer = await client.ask("PUT", f"/v1/storages/{UUID}", {"type": "Ceph", "poolName": "images"})
    assert (answer.status, refusal(answer)) == (400, "SYS.1007")
    assert (await report(client)).storages[0].reasons() == []


async def test_the_number_of_storages_is_bounded(
    client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "MAX_STORAGES", 1)
    await connect(client, directory)
    answer = await connect(client, directory.parent, OTHER_UUID)
    assert answer.status == 429
    assert not (directory.parent / MARKER).exists()
    assert (await connect(client, directory)).status == 200


async def test_who_does_not_get_the_directory_for_itself_leaves_nothing(
    agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two storages that are connected to one place at once take turns, also where no marker keeps them apart."""
    gate, inside = asyncio.Event(), asyncio.Event()
    original = ImageStore.connect

    async def wait(self: ImageStore, others: list[dict[str, object]]) -> dict[str, object]:
        inside.set()
        await gate.wait()
        return await original(self, others)

    monkeypatch.setattr(ImageStore, "connect", wait)
    first = asyncio.create_task(connect(client, directory))
    await inside.wait()
    assert refusal(await connect(client, directory, OTHER_UUID)) == "BS.StorageBusy"
    gate.set()
    assert (await first).status == 200
    assert list(agent.served.uuids) == [UUID]
    assert [row.uuid for row in await agent.parts.journal.read(served.read_rows)] == [UUID]


async def test_who_does_not_get_its_turn_is_told(
    client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, inside = asyncio.Event(), asyncio.Event()
    original = ImageStore.connect

    async def wait(self: ImageStore, others: list[dict[str, object]]) -> dict[str, object]:
        inside.set()
        await gate.wait()
        return await original(self, others)

    await connect(client, directory)
    monkeypatch.setattr(ImageStore, "connect", wait)
    first = asyncio.create_task(connect(client, directory))
    await inside.wait()
    assert refusal(await connect(client, directory)) == "BS.StorageBusy"
    asked = {"commandUuid": "1" * 32}
    assert refusal(await client.ask("POST", f"/v1/storages/{UUID}/cleanup", asked)) == "BS.StorageBusy"
    gate.set()
    assert (await first).status == 200


@pytest.mark.parametrize("lives", [False, True], ids=["new", "live on another agent, or before this one was made anew"])
async def test_a_connect_that_cannot_be_kept_takes_back_its_own_marker_only(
    agent: app.Agent, client: AgentClient, directory: Path, monkeypatch: pytest.MonkeyPatch, lives: bool
) -> None:
    """The journal takes the intent, but not what the connect found."""
    if lives:
        (directory / MARKER).write_text(json.dumps({"storage": UUID}))
    before = tree(directory)
    write, writes = Journal.write, []

    async def write_once(self: Journal, work: Callable[[sqlite3.Connection], object]) -> object:
        writes.append(work)
        if len(writes) == 2:
            raise unavailable("no room")
        return await write(self, work)

    monkeypatch.setattr(Journal, "write", write_once)
    assert refusal(await connect(client, directory)) == "BS.JournalUnavailable"
    assert tree(directory) == before
    assert list(agent.served.uuids) == []
    assert (await connect(client, directory)).status == 200
