"""What one host reports out of bounds is shown as its own reason, whichever way it comes; all others go on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import HostReport, ImageStoreReport
from tests.beds.fleet import POLL, FleetBed, fleet, image_store, until
from tests.beds.played import Played, Players, players

pytestmark = pytest.mark.asyncio

GONE = Reason(code=ReasonCode.MARKER_MISSING, details="seen")


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Players]:
    async with players(tmp_path) as made:
        yield made


async def added(bed: FleetBed, stage: Players, host: str) -> tuple[Played, str]:
    agent = await stage.add(host)
    tags = [f"agentEnrollment::{agent.code}"]
    return agent, await bed.service.add_image_store(image_store(Path("/images"), hostname=host, systemTags=tags))


def change(agent: Played, uuid: str, **usage: Any) -> None:
    """Let an agent report other numbers, in bounds or out of them."""
    known = agent.storages[uuid]
    assert isinstance(known, ImageStoreReport)
    assert known.usage.value
    value = known.usage.value.model_copy(update=usage)
    agent.change(uuid, usage=known.usage.model_copy(update={"value": value}))


async def shows(bed: FleetBed, uuid: str, **wanted: Any) -> None:
    """Wait until a storage is shown with these fields."""

    async def so() -> bool:
        shown = await bed.shown(uuid) or {}
        return all(shown.get(name) == value for name, value in wanted.items())

    await until(so, lambda: bed.shown(uuid))


async def test_a_number_out_of_bounds_in_a_poll(tmp_path: Path, stage: Players) -> None:
    async with fleet(tmp_path) as bed:
        guilty, of_guilty = await added(bed, stage, "127.0.0.2")
        other, of_other = await added(bed, stage, "127.0.0.3")
        change(guilty, of_guilty, availableCapacity=2**63)
        await bed.reaches(of_guilty, ("Connected", "ReportInvalid"))
        await shows(bed, of_guilty, availableCapacity=500, capacityStale=True)
        change(other, of_other, availableCapacity=400)
        await shows(bed, of_other, availableCapacity=400, capacityStale=False)
        await bed.service.reconnect(of_other)
        await bed.service.check()
        change(guilty, of_guilty, availableCapacity=300)
        await bed.reaches(of_guilty, ("Connected", ""))
        await shows(bed, of_guilty, availableCapacity=300, capacityStale=False)


async def test_a_number_out_of_bounds_in_a_push(tmp_path: Path, stage: Players) -> None:
    async with fleet(tmp_path, poll={**POLL, "interval": 3600}) as bed:
        guilty, of_guilty = await added(bed, stage, "127.0.0.2")
        other, of_other = await added(bed, stage, "127.0.0.3")
        change(guilty, of_guilty, totalCapacity=-1)
        change(other, of_other, availableCapacity=400)
        for watch in bed.service.poller._watches:
            agent = guilty if watch.target.name.startswith("127.0.0.2:") else other
            report = HostReport.model_validate_json(agent.report().model_dump_json())
            assert bed.service.poller.receive(watch.uuid, report)
        await bed.reaches(of_guilty, ("Connected", "ReportInvalid"))
        await shows(bed, of_other, availableCapacity=400)


async def test_an_entry_that_cannot_be_read_leaves_the_others_of_its_host(tmp_path: Path, stage: Players) -> None:
    async with fleet(tmp_path) as bed:
        agent, guilty = await added(bed, stage, "127.0.0.2")
        tags = [f"agentEnrollment::{agent.code}"]
        beside = await bed.service.add_image_store(image_store(Path("/other"), hostname="127.0.0.2", systemTags=tags))
        agent.change(guilty, url="x" * 5000)
        await bed.reaches(guilty, ("Disconnected", "AgentFault"))
        change(agent, beside, availableCapacity=400)
        await shows(bed, beside, availableCapacity=400, status="Connected")
        assert agent.asked["PUT storages"] == 2, "it is no use to connect it again"


async def test_a_whole_report_is_asked_for_now_and_then(
    tmp_path: Path, stage: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(tmp_path) as bed:
        agent, _ = await added(bed, stage, "127.0.0.2")

        async def unchanged(times: int) -> None:
            wanted = agent.asked["304"] + times

            async def often_enough() -> bool:
                return agent.asked["304"] >= wanted

            await until(often_enough)

        await unchanged(2)
        whole = agent.asked["GET report"] - agent.asked["304"]
        await unchanged(3)
        assert agent.asked["GET report"] - agent.asked["304"] == whole
        monkeypatch.setattr("bs_agent.management.polling.poller.WHOLE", 0.0)
        (watch,) = bed.service.poller._watches
        watch.whole_due = 0.0

        async def asked_again() -> bool:
            return agent.asked["GET report"] - agent.asked["304"] > whole + 1

        await until(asked_again)
