"""What is owed to hosts, against all odds: live storages are never cleaned for it, and enrolments in use stay."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bs_agent.contract.calls_ceph import AddCephParameters
from bs_agent.contract.errors import InvalidArgument, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.hosts.agent_client import Agents, Target, Told
from bs_agent.management.operations.debts import Debts
from bs_agent.management.store.database import DatabaseUnavailable
from bs_agent.management.store.debts import DebtStore
from bs_agent.management.store.storages import OperatedStore
from tests.beds.agent import AgentProcess
from tests.beds.arrivals import dying_with_its_answer
from tests.beds.fleet import FleetBed, fleet, image_store, until

pytestmark = pytest.mark.asyncio

QUIET = {"interval": 3600.0, "timeout": 5.0}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", {"probe": {"interval": 5.0, "deadline": 5.0}}) as running:
        yield running


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return _directory(tmp_path / "images")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return _directory(tmp_path / "other")


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def _holds_ours(directory: Path) -> bool:
    return list(directory.iterdir()) != []


def _served(agent: AgentProcess) -> list[str]:
    return [shown["uuid"] for shown in json.loads(agent.run("report").stdout)["storages"]]


def debts_of(bed: FleetBed) -> Debts:
    """Return what pays in this bed."""
    return bed.service.means.debts


async def _is_whole(bed: FleetBed, uuid: str, directory: Path) -> bool:
    """Tell whether a storage is here and there, or neither."""
    return (await bed.shown(uuid) is not None) == _holds_ours(directory)


async def test_an_add_that_is_refused_leaves_the_enrolment_to_the_storage_that_has_it(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    code = agent.enroll()
    async with fleet(tmp_path, poll=QUIET) as bed:
        uuid = await bed.service.add_image_store(image_store(images, code))
        with pytest.raises(InvalidArgument, match=uuid):
            await bed.service.add_image_store(image_store(images, code))
        await bed.service.reconnect(uuid)


async def test_the_same_add_twice_at_once_is_one_storage(tmp_path: Path, agent: AgentProcess, images: Path) -> None:
    wanted = image_store(images, agent.enroll(), resourceUuid="1" * 32)
    async with fleet(tmp_path, poll=QUIET) as bed:
        adding = (bed.service.add_image_store(wanted) for _ in range(2))
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {str, InvalidArgument}
        await bed.service.reconnect("1" * 32)


async def test_an_enrolment_under_two_names_ends_with_the_second(
    tmp_path: Path, agent: AgentProcess, images: Path, other: Path
) -> None:
    code = agent.enroll()
    async with fleet(tmp_path, poll=QUIET) as bed:
        first = await bed.service.add_image_store(image_store(images, code))
        second = await bed.service.add_image_store(image_store(other, code, hostname="localhost"))
        await bed.service.delete(second, "Permissive")
        await bed.service.reconnect(first)
        await bed.service.delete(first, "Permissive")
    assert code.id not in agent.run("enrollments", "list").stdout


async def test_a_storage_that_comes_back_under_another_name_of_its_host_is_not_cleaned(
    tmp_path: Path, agent: AgentProcess, images: Path
) -> None:
    async with fleet(tmp_path, poll=QUIET) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        agent.kill()
        await bed.service.delete(uuid, "Enforcing")
        agent.start()
        again = image_store(images, agent.enroll(), hostname="localhost", resourceUuid=uuid)
        await bed.service.add_image_store(again)
        assert await bed.owed() == [], "it is the same machine, and it serves the storage"
        await bed.service.reconnect(uuid)
        assert _served(agent) == [uuid]
        assert _holds_ours(images)


@pytest.mark.parametrize("is_stored", [True, False])
async def test_an_add_whose_end_the_database_leaves_open_is_whole_or_nothing(
    tmp_path: Path, agent: AgentProcess, images: Path, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    add = OperatedStore.add

    async def lose(self: OperatedStore, *words: Any, **more: Any) -> None:
        if is_stored:
            await add(self, *words, **more)
        raise DatabaseUnavailable("the connection broke at the commit")

    async with fleet(tmp_path, poll=QUIET) as bed:
        monkeypatch.setattr(OperatedStore, "add", lose)
        with pytest.raises(DatabaseUnavailable):
            await bed.service.add_image_store(image_store(images, agent.enroll(), resourceUuid="1" * 32))
        assert (await bed.shown("1" * 32) is not None) == is_stored
        assert await _is_whole(bed, "1" * 32, images)
        assert await bed.owed() == []


async def test_what_is_expected_though_nobody_heard_of_it_is_settled(
    tmp_path: Path, agent: AgentProcess, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = agent.enroll()
    async with fleet(tmp_path) as bed:
        monkeypatch.setattr(DebtStore, "write", _but_says_nothing(DebtStore.write))
        with pytest.raises(DatabaseUnavailable):
            await bed.service.add_image_store(image_store(images, code))

        async def is_settled() -> bool:
            return bed.service.poller.watching == 0 and await bed.owed() == []

        await until(is_settled)
    assert code.id not in agent.run("enrollments", "list").stdout


async def test_trust_that_was_won_anew_is_kept_where_the_database_has_it(
    tmp_path: Path, agent: AgentProcess, images: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, report = agent.enroll(), Agents.report

    async def be_slow(self: Agents, at: Target, etag: str = "") -> Told:
        if first.token in at.headers["Authorization"]:
            raise StorageProblem.of(ReasonCode.AGENT_TIMEOUT, f"{at.name} is slow")
        return await report(self, at, etag)

    async with fleet(tmp_path, poll=QUIET) as bed:
        uuid = await bed.service.add_image_store(image_store(images, first))
        monkeypatch.setattr(DebtStore, "write", _but_says_nothing(DebtStore.write))
        monkeypatch.setattr(Agents, "report", be_slow)
        with pytest.raises(DatabaseUnavailable):
            await bed.service.add_image_store(image_store(other, agent.enroll()))
        monkeypatch.undo()
        await bed.service.reconnect(uuid)


def _but_says_nothing(work: Any) -> Any:
    async def do(*words: Any) -> None:
        await work(*words)
        raise DatabaseUnavailable("the connection broke at the commit")

    return do


async def test_another_enrolment_may_clean_what_is_left_without_an_owner(
    tmp_path: Path, agent: AgentProcess, images: Path, other: Path
) -> None:
    """An add is lost with its agent; then the agent is trusted anew for another storage."""
    async with fleet(tmp_path, poll=QUIET) as bed:
        uuid = await bed.service.add_image_store(image_store(other, agent.enroll()))
        with dying_with_its_answer(agent), pytest.raises(StorageProblem, match="the answer is lost"):
            await bed.service.add_image_store(image_store(images, agent.enroll()))
        agent.start()
        await bed.service.reconnect(uuid, [f"agentEnrollment::{agent.enroll().code}"])
        for known in set(await bed.owed()):
            await debts_of(bed).pay(known)
        assert await bed.owed() == []
    assert _served(agent) == [uuid]
    assert not _holds_ours(images)


async def test_a_pool_that_cannot_be_made_leaves_nothing_owed(tmp_path: Path, agent: AgentProcess) -> None:
    code = agent.enroll()
    async with fleet(tmp_path, poll=QUIET) as bed:
        tags = [f"agentEnrollment::127.0.0.1::{code.code}"]
        with pytest.raises(StorageProblem, match=r"ceph\.conf"):
            await bed.service.add_ceph(AddCephParameters(name="ceph", monUrls=["127.0.0.1"], systemTags=tags))
        assert await bed.owed() == []
    assert code.id not in agent.run("enrollments", "list").stdout
