"""The poller and the operations against played agents: what is asked how often, what is written, who waits for whom."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import event, update

from bs_agent.contract.api import AddImageStoreParameters
from bs_agent.contract.errors import CannotDelete, InternalError, Overloaded, StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import ImageStoreReport
from bs_agent.management.config import ManagementSettings
from bs_agent.management.hosts.agent_client import Told
from bs_agent.management.store import tables
from tests.beds.fleet import POLL, fleet, image_store, until
from tests.beds.played import Played, Players, players

pytestmark = pytest.mark.asyncio

HOST = "127.0.0.2"


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Players]:
    async with players(tmp_path) as made:
        yield made


def directory(stage: Players, host: str = HOST, url: str = "/images") -> AddImageStoreParameters:
    return image_store(Path(url), hostname=host, systemTags=[f"agentEnrollment::{stage.by_host[host].code}"])


def lose_key(folder: Path) -> None:
    (folder / "secrets.key").unlink()


async def polled(agent: Played, times: int, kind: str = "GET report") -> None:
    wanted = agent.asked[kind] + times

    async def often_enough() -> bool:
        return agent.asked[kind] >= wanted

    await until(often_enough)


async def test_an_unchanged_report_costs_no_write(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, database={"lease": 600}) as bed:  # nor is that renewed meanwhile
        await bed.service.add_image_store(directory(stage))
        await polled(agent, 2, "304")
        commits: list[object] = []
        event.listen(bed.database.engine.sync_engine, "commit", commits.append)
        await polled(agent, 5, "304")
        assert commits == []


async def test_poll_and_push_enter_by_one_door(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    slow = {**POLL, "interval": 3600}
    async with fleet(tmp_path, poll=slow) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        full = Reason(code=ReasonCode.DIRECTORY_FULL, details="seen")
        report = agent.storages[uuid]
        assert isinstance(report, ImageStoreReport)
        usage = report.usage
        assert usage.value
        less = usage.value.model_copy(update={"availableCapacity": 0})
        agent.change(uuid, usage=usage.model_copy(update={"value": less, "reason": full, "collectedAt": 2.0}))
        (watch,) = bed.service.poller._watches
        assert bed.service.poller.receive(watch.uuid, agent.report())
        await bed.reaches(uuid, ("Connected", "DirectoryFull"))
        shown = await bed.shown(uuid)
        assert shown is not None
        assert (shown["availableCapacity"], shown["totalCapacity"]) == (0, 1000)
        assert not bed.service.poller.receive("0" * 32, agent.report()), "another node polls that one"
    assert agent.asked["304"] == 0


async def test_a_changed_configuration_applies_on_reload(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll={**POLL, "interval": 3600}) as bed:
        await bed.service.add_image_store(directory(stage))
        bed.service.configure(ManagementSettings.model_validate({"poll": POLL}))
        await polled(agent, 3)


async def test_a_storage_that_was_left_connecting_is_repaired(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
    async with fleet(tmp_path, poll={**POLL, "interval": 3600}) as bed, bed.database.writing() as connection:
        await connection.execute(update(tables.host).values(status="Connecting"))
        await connection.execute(update(tables.backup_storage).values(status="Connecting"))
    async with fleet(tmp_path) as bed:
        await bed.reaches(uuid, ("Connected", ""))
    assert agent.asked["PUT storages"] >= 2


async def test_what_another_node_writes_is_seen(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        await polled(agent, 1, "304")
        async with bed.database.writing() as connection:
            await connection.execute(update(tables.host).values(status="Disconnected"))
            await connection.execute(update(tables.backup_storage).values(status="Disconnected"))
        await bed.reaches(uuid, ("Connected", ""))


async def test_an_agent_that_forgot_the_storage_is_told_again(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        agent.refuses["PUT storages"] = Reason(code=ReasonCode.DIRECTORY_HUNG, details="seen")
        agent.storages.clear()
        await bed.reaches(uuid, ("Disconnected", "StorageUnknown"), ("Disconnected", "DirectoryHung"))
        agent.refuses.clear()
        await bed.reaches(uuid, ("Connected", ""))


async def test_reconnects_that_fail_become_rare(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    quick = {"interval": 0.02, "timeout": 0.02}
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        bed.service.configure(ManagementSettings.model_validate({"poll": quick}))
        agent.refuses["PUT storages"] = Reason(code=ReasonCode.FSID_MISMATCH, details="seen")
        agent.storages.clear()
        await bed.reaches(uuid, ("Disconnected", "FsidMismatch"), ("Disconnected", "StorageUnknown"))
        tries = agent.asked["PUT storages"]
        await polled(agent, 100)
        assert agent.asked["PUT storages"] - tries < 30


async def test_later_callers_join_the_running_reconnect(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll={"interval": 30, "timeout": 30}) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        agent.holds["PUT storages"] = asyncio.Event()
        before = agent.asked["PUT storages"]
        calls = [asyncio.create_task(bed.service.reconnect(uuid)) for _ in range(5)]
        await polled(agent, 1, "PUT storages")
        assert await bed.status(uuid) == ("Connecting", "")
        calls[0].cancel()  # a caller that goes away does not take the reconnect from the others
        agent.holds.pop("PUT storages").set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, *[type(None)] * 4]
        assert agent.asked["PUT storages"] == before + 1


async def test_operations_during_a_delete(tmp_path: Path, stage: Players, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bs_agent.management.operations.turns.WAIT", 0.1)
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll={"interval": 30, "timeout": 30}) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        agent.holds["POST cleanup"] = asyncio.Event()
        deletes = [asyncio.create_task(bed.service.delete(uuid, "Permissive")) for _ in range(2)]
        await polled(agent, 1, "POST cleanup")
        for refused in (bed.service.reconnect(uuid), bed.service.delete(uuid, "Enforcing")):
            with pytest.raises(StorageProblem, match="is under way: delete") as problem:
                await refused
            assert problem.value.reason.code == ReasonCode.STORAGE_BUSY
        agent.holds.pop("POST cleanup").set()
        await asyncio.gather(*deletes)
        assert (agent.asked["plan"], agent.asked["clean"]) == (1, 1), "the second delete has joined"
        assert await bed.shown(uuid) is None


async def test_a_delete_waits_for_a_reconnect(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll={"interval": 30, "timeout": 30}) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        agent.holds["PUT storages"] = asyncio.Event()
        reconnect = asyncio.create_task(bed.service.reconnect(uuid))
        await polled(agent, 1, "PUT storages")
        delete = asyncio.create_task(bed.service.delete(uuid, "Permissive"))
        agent.holds.pop("PUT storages").set()
        await asyncio.gather(reconnect, delete)
        assert await bed.shown(uuid) is None


async def test_a_host_that_refuses_its_cleanup(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        agent.refuses["POST cleanup"] = Reason(code=ReasonCode.READ_ONLY, details="seen")
        with pytest.raises(CannotDelete) as refusal:
            await bed.service.delete(uuid, "Permissive")
        cause = refusal.value.shown().cause
        assert cause is not None
        assert cause.code == "BS.ReadOnly"
        assert await bed.status(uuid) == ("Connected", "")
        await bed.service.delete(uuid, "Enforcing")
        await polled(agent, 2, "POST cleanup")
        assert uuid in agent.storages
        agent.refuses.clear()

        async def is_clean() -> bool:
            return not agent.storages and bed.service.poller.watching == 0

        await until(is_clean)
    assert agent.asked["DELETE enrollments"] == 1


async def test_what_this_machine_lacks_is_not_held_against_an_agent(
    tmp_path: Path, stage: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        asked = 0

        async def nothing_left(*_: object) -> Told:
            nonlocal asked
            asked += 1
            raise Overloaded("this machine cannot connect: Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(bed.service.means.client, "report", nothing_left)
            await bed.reaches(uuid, ("Connecting", "Unobserved"))
            assert (bed.service.poller.away, asked >= 3) == (0, True)
        await bed.reaches(uuid, ("Connected", ""))


async def test_agents_that_hang_do_not_delay_the_others(tmp_path: Path, stage: Players) -> None:
    hung = [await stage.add(f"127.0.1.{number}") for number in range(1, 6)]
    well = await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        for number in range(1, 6):
            await bed.service.add_image_store(directory(stage, f"127.0.1.{number}"))
        uuid = await bed.service.add_image_store(directory(stage))
        for agent in hung:
            agent.holds["GET report"] = asyncio.Event()
        while bed.service.poller.away < 5:
            await polled(well, 1)
        assert await bed.status(uuid) == ("Connected", "")
        for agent in hung:
            agent.holds.pop("GET report").set()

        async def all_are_back() -> bool:
            return bed.service.poller.away == 0

        await until(all_are_back)


async def test_those_that_are_away_wait_for_each_other_and_nobody_for_them(
    tmp_path: Path, stage: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bs_agent.management.polling.poller.AWAY_AT_ONCE", 1)
    hung = [await stage.add(f"127.0.1.{number}") for number in range(1, 6)]
    well = [await stage.add(f"127.0.2.{number}") for number in range(1, 4)]
    async with fleet(tmp_path) as bed:
        for host in stage.by_host:
            await bed.service.add_image_store(directory(stage, host))
        for agent in hung:
            agent.holds["GET report"] = asyncio.Event()
        while bed.service.poller.away < 5:
            await polled(well[0], 1)
        bed.service.means.client.timeout = 600  # who is asked now keeps the only place
        while not bed.service.poller._slow_lane.locked():
            await polled(well[0], 1)
        for agent in well:
            await polled(agent, 5)
        assert bed.service.poller.away == 5
        for agent in hung:
            agent.holds.pop("GET report").set()

        async def all_are_back() -> bool:
            return bed.service.poller.away == 0

        await until(all_are_back)


async def test_an_agent_that_is_taken_up_again_is_polled_though_it_was_just_asked(
    tmp_path: Path, stage: Players
) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll={"interval": 5, "timeout": 5}) as bed:
        await bed.service.add_image_store(directory(stage))
        poller = bed.service.poller
        hold = agent.holds["GET report"] = asyncio.Event()
        await polled(agent, 1)
        poller._watches.drop_all()  # as when the lease is lost
        await poller._watches.sweep()
        (watch,) = poller._watches
        assert watch.timer
        watch.timer.cancel()
        poller._begin_poll(watch)  # as the timer does, should it be due before the agent answers
        del agent.holds["GET report"]
        hold.set()
        await polled(agent, 2)


async def test_what_comes_while_an_agent_is_asked_is_asked_for_again(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll={"interval": 3600, "timeout": 60}) as bed:
        await bed.service.add_image_store(directory(stage))
        watches = bed.service.poller._watches
        (watch,) = watches
        hold = agent.holds["GET report"] = asyncio.Event()
        before = agent.asked["GET report"]
        watches.look(watch)
        await until(lambda: asked(agent, before + 1))
        watches.look(watch)
        del agent.holds["GET report"]
        hold.set()
        await until(lambda: asked(agent, before + 2))


async def asked(agent: Played, times: int) -> bool:
    return agent.asked["GET report"] == times


async def test_a_key_file_that_does_not_fit(tmp_path: Path, stage: Players) -> None:
    await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
    lose_key(tmp_path)
    async with fleet(tmp_path) as bed:
        with pytest.raises(InternalError, match="not the key"):
            await bed.service.reconnect(uuid)
        assert await bed.shown(uuid) is not None
