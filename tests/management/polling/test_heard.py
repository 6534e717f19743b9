"""QueryAgent and QueryDebt over played agents: what is shown of one that answers, is missed, refuses, and is owed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.x509 import Certificate, load_pem_x509_certificate

from bs_agent.contract.dates import format_seconds
from bs_agent.contract.inventory import AgentInventory, DebtInventory, Inventory
from bs_agent.contract.query import parse_query
from bs_agent.contract.reasons import REASONS, Reason, ReasonCode
from bs_agent.management.polling.heard import _state
from bs_agent.management.store.queries import find
from tests.beds.fleet import FleetBed, fleet, until
from tests.beds.played import Players, players
from tests.management.polling.test_poller import HOST, directory

pytestmark = pytest.mark.asyncio

SECONDS = 60


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Players]:
    async with players(tmp_path) as made:
        yield made


def _certificate(file: Path) -> Certificate:
    return load_pem_x509_certificate(file.read_bytes())


async def shown(bed: FleetBed, inventory: type[Inventory], *conditions: str) -> list[dict[str, Any]]:
    found = await find(bed.database, inventory, parse_query([("q", one) for one in conditions]))
    for item in found.inventories or []:
        assert inventory.model_validate(item)
        assert "secret" not in str(item).lower()
        assert "token" not in str(item).lower()
    return found.inventories or []


async def reaches(bed: FleetBed, inventory: type[Inventory], *conditions: str) -> dict[str, Any]:
    """Wait until one meets the conditions, and return it."""

    async def there() -> bool:
        return bool(await shown(bed, inventory, *conditions))

    await until(there, lambda: shown(bed, inventory))
    (one,) = await shown(bed, inventory, *conditions)
    return one


async def test_an_agent_is_shown_with_how_its_polls_go(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    agent.boot = "1ab3b836-a883-42e1-bbc1-b1a17d092f0f"
    certificate = _certificate(tmp_path / "played" / HOST / "certificate.pem")
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        one = await reaches(bed, AgentInventory, "status=Connected", "version=1")
        assert (one["hostname"], one["port"], one["hostnames"]) == (HOST, stage.port, [HOST])
        assert (one["bootId"], one["backupStorageUuids"], one["missedPolls"]) == (agent.boot, [uuid], 0)
        assert one["certificateEndDate"] == format_seconds(int(certificate.not_valid_after_utc.timestamp()))
        assert one["lastPollDate"]
        assert abs(one["clockSkew"]) < SECONDS
        assert {"statusReason", "lastPushDate"} & one.keys() == set()
        for condition in (f"backupStorageUuids={uuid}", f"hostnames={HOST}", f"bootId={agent.boot.upper()}"):
            assert await shown(bed, AgentInventory, condition), condition
        assert await shown(bed, AgentInventory, f"backupStorageUuids!={uuid}") == []

        bed.service.poller.receive(one["uuid"], agent.report())
        await reaches(bed, AgentInventory, "lastPushDate not null")
        agent.refuses["GET report"] = Reason(code=ReasonCode.JOURNAL_UNAVAILABLE, details="the disk is gone")
        away = await reaches(bed, AgentInventory, "status=Disconnected", "missedPolls>=3")
        assert away["statusReason"] == {"code": "JournalUnavailable", "details": "the disk is gone"}
        agent.refuses.clear()
        back = await reaches(bed, AgentInventory, "status=Connected", "missedPolls=0")
        assert "statusReason" not in back


async def test_what_whole_seconds_make_of_a_clock_is_no_news(tmp_path: Path, stage: Players) -> None:
    await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        await bed.service.add_image_store(directory(stage))
        await reaches(bed, AgentInventory, "status=Connected")
        (watch,) = bed.service.poller.watches
        watch.shown.clock_offset, watch.noted = 0.3, None
        watch.noted = _state(watch, 3)
        for offset, is_news in ((-0.2, False), (0.8, False), (1.9, False), (2.4, True), (-40.0, True), (None, True)):
            watch.shown.clock_offset = offset
            assert (_state(watch, 3) != watch.noted) is is_news, offset


async def test_a_debt_is_shown_with_why_it_is_not_paid(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(directory(stage))
        agent.refuses["POST cleanup"] = Reason(code=ReasonCode.DIRECTORY_HUNG, details="statvfs hangs")
        await bed.service.delete(uuid, "Enforcing")
        one = await reaches(bed, DebtInventory, "nextTryDate not null", f"backupStorageUuid={uuid}")
        assert (one["type"], one["hostname"], one["backupStorageName"]) == ("Cleanup", HOST, "images")
        assert one["lastReason"] == {"code": "DirectoryHung", "details": "statvfs hangs"}
        assert one["cure"] == REASONS[ReasonCode.DIRECTORY_HUNG].cure
        assert one["lastTryDate"] >= one["createDate"]
        assert await shown(bed, DebtInventory, f"agent.hostname={HOST}", "type=Cleanup") == [one]
        assert await shown(bed, DebtInventory, "agent.hostname=another") == []
        assert await shown(bed, DebtInventory, f"uuid={one['uuid']}"), "it keeps its uuid from one try to the next"
        agent.refuses.clear()

        async def is_over() -> bool:
            return await shown(bed, DebtInventory) == await shown(bed, AgentInventory) == []

        await until(is_over, lambda: shown(bed, AgentInventory))  # which serves nothing, so it has left
