"""As many storages as one agent may serve: one process probes all of one mount, and a hung mount stays alone."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bs_agent.agent import app
from bs_agent.agent.journal import database
from bs_agent.agent.served import MAX_STORAGES
from bs_agent.agent.storages import mounts as mount_list
from bs_agent.agent.storages.mounts import Mounts
from bs_agent.agent.worker.directory import directory_connect
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import Enrollment
from tests.agent.asking import connect, report
from tests.agent.conftest import OTHER_UUID, UUID
from tests.beds import mounts
from tests.beds.agent import AgentClient, AgentProcess, client_of

MEBIBYTES = 90


@pytest.fixture
def full(tmp_path: Path, tls: Path) -> Iterator[tuple[AgentProcess, Enrollment]]:
    """An agent that serves all that it may, and who connected all of it; the storages are in its journal."""
    process = AgentProcess(tmp_path / "agent", {"probe": {"interval": 10.0, "deadline": 10.0}})
    shutil.copytree(tls, process.state / "tls")
    with process:
        enrollment = process.enroll()
    with closing(database.connect(process.state / "agent.db")) as journal, database.transaction(journal):
        _fill(journal, tmp_path / "storages", enrollment.id)
    with process:
        yield process, enrollment


def _fill(journal: sqlite3.Connection, folder: Path, enrollment: str) -> None:
    folder.mkdir()
    for number in range(MAX_STORAGES):
        uuid, path = f"{number:032x}", folder / f"{number:04}"
        path.mkdir()
        place = {"url": str(path), **directory_connect(str(path), uuid, None, [])}
        parameters = {"type": "ImageStoreBackupStorage", "url": str(path)}
        row = (uuid, json.dumps(parameters), json.dumps(place))
        journal.execute("INSERT INTO storages (uuid, parameters, remembered) VALUES (?, ?, ?)", row)
        journal.execute("INSERT INTO owners (storage, enrollment) VALUES (?, ?)", (uuid, enrollment))


def _memory(pid: int) -> int:
    """Return what a process has of memory in MiB, its share of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


@pytest.mark.asyncio
async def test_a_thousand_storages_are_one_process_and_bounded_memory(full: tuple[AgentProcess, Enrollment]) -> None:
    process, enrollment = full
    async with client_of(process.address, enrollment) as client:
        found = (await report(client)).storages
    assert len(found) == MAX_STORAGES == 1000
    assert [storage.reasons() for storage in found if storage.reasons()] == []
    assert len(process.children) == 1
    used = {pid: _memory(pid) for pid in (process.pid, *process.children)}
    print(used)
    assert sum(used.values()) < MEBIBYTES


@pytest.mark.asyncio
async def test_what_hangs_over_one_directory_holds_up_no_other_of_the_same_disk(
    agent: app.Agent, client: AgentClient, directory: Path, tmp_path: Path, mountable: None
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "other").symlink_to(tmp_path / "other")
    assert (await connect(client, directory)).status == 200
    assert (await connect(client, tmp_path / "link" / "other", OTHER_UUID)).status == 200
    assert (await connect(client, tmp_path, "3" * 32)).status == 200
    assert len(agent.host.workers.all()) == 1
    for hanging, which in ((directory, 0), (tmp_path / "other", 1), (tmp_path / "link", 1)):
        with mounts.hung(hanging):
            for _ in range(2):
                codes = [[reason.code for reason in storage.reasons()] for storage in (await report(client)).storages]
                expected: list[list[ReasonCode]] = [[], [], []]
                expected[which] = [ReasonCode.DIRECTORY_HUNG]
                assert codes == expected, hanging
        for number, path in ((UUID, directory), (OTHER_UUID, tmp_path / "link" / "other")):
            assert (await connect(client, path, number)).status == 200
        assert [storage.reasons() for storage in (await report(client)).storages] == [[], [], []]
    await asyncio.gather(*agent.host.workers._ending)
    assert len(agent.host.workers.all()) == 1


def test_a_mount_is_found_by_the_longest_part_of_the_path(tmp_path: Path, mountable: None) -> None:
    odd = tmp_path / "with blank\tand\r%s ü"
    with ExitStack() as stack:
        stack.enter_context(mounts.tmpfs(odd, "size=1m"))
        (odd / "in").mkdir()
        stack.enter_context(mounts.tmpfs(odd / "in", "size=1m"))
        found = Mounts()
        assert found.of(f"{odd}/images") == str(odd)
        assert found.of(f"/{odd}/in/images/x/") == f"{odd}/in"
        assert found.of(f"{odd}/inner") == str(odd)
        assert found.of("/") == found.of("/..") == "/"
        assert found.of("/nowhere") == "/"


@pytest.mark.parametrize("content", [b"", b"\n", b"36 35 98:0 / /mnt\n", b"\xff \xff \xff \xff \xff - x"])
def test_whatever_the_list_of_mounts_says_there_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "mountinfo").write_bytes(content)
    monkeypatch.setattr(mount_list, "LIST", tmp_path / "mountinfo")
    assert Mounts().of("/mnt/x") in {"/", "/mnt"}
