"""A scrape of a fleet: what it shows, what it shows no more, and what is left when the database does not answer."""

import asyncio
import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bs_agent.contract.errors import Overloaded
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.management.config import ManagementSettings
from bs_agent.management.metrics import scrape as module
from bs_agent.management.metrics import storages as storages_module
from bs_agent.management.metrics.agents import _versions as versions_of
from bs_agent.management.metrics.lines import Gauges, labels
from bs_agent.management.metrics.registry import _WAITING, Metrics
from bs_agent.management.metrics.scrape import FleetScrape
from bs_agent.management.polling.figures import Shown
from bs_agent.management.store import database as database_module
from bs_agent.management.store.database import Database, DatabaseUnavailable
from tests.beds.fleet import FleetBed, fleet, image_store, until
from tests.beds.played import Played, Players, players

pytestmark = pytest.mark.asyncio

HOST = "127.0.0.2"
PATIENT = {"interval": 2.0, "timeout": 2.0}
"""Polls whose answers a busy machine may hold up."""
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

Samples = dict[tuple[str, str], float]


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Players]:
    async with players(tmp_path) as made:
        yield made


def metrics_of(bed: FleetBed) -> Metrics:
    metrics = Metrics()
    scrape = FleetScrape(bed.database, bed.node.uuid, bed.service.poller, bed.service.check)
    scrape.enter(metrics, bed.service.means.intake, ManagementSettings())
    return metrics


async def text_of(metrics: Metrics, accept: str = "") -> str:
    return b"".join((await metrics.render(accept)).pieces).decode()


def labelled(families: list[Metric], name: str) -> dict[str, float]:
    """Return the samples of a metric by their label that is no uuid, or by nothing."""
    found = {}
    for sample in (sample for family in families for sample in family.samples if sample.name == name):
        others = [value for key, value in sample.labels.items() if key not in {"storage", "agent"}]
        found[",".join(others)] = sample.value
    return found


async def scraped(metrics: Metrics) -> list[Metric]:
    return list(parse_text(await text_of(metrics)))


async def added(bed: FleetBed, stage: Players, url: str, agent: Played) -> str:
    tags = [f"agentEnrollment::{agent.code}"]
    return await bed.service.add_image_store(image_store(Path(url), hostname=HOST, systemTags=tags))


async def test_a_fleet_is_shown_and_what_is_gone_is_not(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll=PATIENT) as bed:
        metrics = metrics_of(bed)
        uuid = await added(bed, stage, r'/im"ages\n', agent)

        async def polled() -> bool:
            return bool(labelled(await scraped(metrics), "bs_management_storage_total_inodes"))

        await until(polled)
        found = await scraped(metrics)
        told = {sample.name: sample.labels for family in found for sample in family.samples if "info" in sample.name}
        assert told["bs_management_storage_info"]["name"] == r'im"ages\n', "as it is, when it is read"
        assert told["bs_management_agent_info"]["address"] == f"{HOST}:{stage.port}"
        for name, values in {
            "bs_management_storage_status": {"Connected": 1},
            "bs_management_storage_total_bytes": {"": 1000},
            "bs_management_storage_available_bytes": {"": 500},
            "bs_management_storage_total_inodes": {"": 10},
            "bs_management_storage_available_inodes": {"": 5},
            "bs_management_storage_capacity_stale": {"": 0},
            "bs_management_storage_hosts": {"": 1},
            "bs_management_storage_mons": {},
            "bs_management_agents": {"1": 1},
            "bs_management_agent_up": {"": 1},
            "bs_management_agent_storages": {"": 1},
            "bs_management_database_up": {"": 1},
            "bs_management_writable": {"": 1},
        }.items():
            assert labelled(found, name) == values, name
        assert abs(labelled(found, "bs_management_agent_clock_offset_seconds")[""]) < 30
        ends = labelled(found, "bs_management_agent_certificate_not_after_timestamp_seconds")[""]
        assert abs(ends - time.time() - 3650 * 86400) < 86400, "as the played one was made"
        await bed.service.delete(uuid, "Permissive")

        async def gone() -> bool:
            text = await text_of(metrics)
            return uuid not in text and "bs_management_agent_up" not in text

        await until(gone)


async def test_an_agent_that_is_away_is_shown_with_why(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll=PATIENT) as bed:
        metrics = metrics_of(bed)
        await added(bed, stage, "/images", agent)
        agent.refuses["GET report"] = Reason(code=ReasonCode.JOURNAL_UNAVAILABLE, details="seen")

        async def away() -> bool:
            return labelled(await scraped(metrics), "bs_management_agent_up") == {"": 0}

        await until(away)
        found = await scraped(metrics)
        assert labelled(found, "bs_management_agent_reason") == {"JournalUnavailable": 1}
        assert labelled(found, "bs_management_polls_missed_total")["JournalUnavailable"] >= 3
        assert labelled(found, "bs_management_agents_away") == {"": 1}


async def test_what_an_agent_says_of_itself_makes_few_series(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll=PATIENT) as bed:
        metrics = metrics_of(bed)
        await added(bed, stage, "/images", agent)
        (watch,) = bed.service.poller.watches

        async def polled() -> bool:
            return bool(watch.shown.storages)

        await until(polled)
        for told, shown in (("1.2.3-rc1+x", "1.2.3-rc1+x"), ("", "other"), ('a"b', "other"), ("9" * 64, "other")):
            watch.seen = replace(watch.seen, record=replace(watch.seen.record, version=told))
            watch.shown.version = told
            assert versions_of([watch]) == {watch.uuid: shown}
        kept = Shown()
        for date, offset in (("no date", None), ("", None), ("Thu, 01 Jan 1970 00:00:00 GMT", -time.time())):
            kept.answered(0.0, date, None)
            assert kept.clock_offset == (None if offset is None else pytest.approx(offset, rel=1e-3))
        stranger = watch.shown.storages["f" * 32] = next(iter(watch.shown.storages.values()))
        assert stranger.total_inodes == 10
        assert len(labelled(await scraped(metrics), "bs_management_storage_total_inodes")) == 1


async def test_openmetrics_is_spoken_to_who_asks_for_it(tmp_path: Path, stage: Players) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll=PATIENT) as bed:
        metrics = metrics_of(bed)
        await added(bed, stage, "/images", agent)
        plain, rich = await metrics.render(""), await metrics.render(OPENMETRICS)
        assert plain.content_type.startswith("text/plain; version=0.0.4")
        assert rich.content_type.startswith("application/openmetrics-text; version=1.0.0")
        families = list(parse_openmetrics(b"".join(rich.pieces).decode()))  # type: ignore[no-untyped-call]
        assert rich.pieces[-1] == b"# EOF\n"
        assert b"# EOF" not in b"".join(plain.pieces)
        for text in (await text_of(metrics), await text_of(metrics, OPENMETRICS)):
            assert "_created" not in text
        names = [family.name for family in families]
        assert len(names) == len(set(names)), "each is there once"
        for odd in ("application/openmetrics-text;version=x", "text/plain;version=..", ";;,", "*/*", "\udcff"):
            assert (await metrics.render(odd)).content_type.startswith("text/plain"), odd


@pytest.mark.parametrize("fault", ["slow", "away"])
async def test_without_the_database_the_rest_is_shown_in_time(
    tmp_path: Path, stage: Players, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll={"interval": 3600, "timeout": 1}) as bed:
        metrics = metrics_of(bed)
        uuid = await added(bed, stage, "/images", agent)
        assert f'bs_management_storage_status{{storage="{uuid}"' in await text_of(metrics)

        async def hang(*_: object) -> float:
            if fault == "away":
                raise DatabaseUnavailable("away")
            return await asyncio.Event().wait() or 0.0

        with monkeypatch.context() as patch:
            patch.setattr(module, "DEADLINE", 0.1)
            patch.setattr(module, "CHECK_DEADLINE", 0.1)
            patch.setattr(Database, "now", hang)
            patch.setattr("bs_agent.management.store.intake.check_writable", hang)
            text = await text_of(metrics)
        assert re.search("(?m)^bs_management_database_up 0.0$", text)
        assert re.search("(?m)^bs_management_writable 0.0$", text)
        assert re.search("(?m)^bs_management_agent_up{.*} 1$", text)
        for name in ("storage_status", "debts", "nodes", "lease_seconds"):
            assert f"bs_management_{name}" not in text, "it may be otherwise by now"
        assert "bs_management_database_up 1.0" in await text_of(metrics)


async def test_a_lock_that_does_not_go_away_holds_up_no_scrape(
    tmp_path: Path, stage: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite waits in a thread, which nothing interrupts."""
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 600)
    monkeypatch.setattr(module, "CHECK_DEADLINE", 0.1)
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll={"interval": 3600, "timeout": 5}) as bed:
        metrics = metrics_of(bed)
        await added(bed, stage, "/images", agent)
        path = str(bed.database.engine.url.database)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            found = [await text_of(metrics) for _ in range(3)]
            other.execute("ROLLBACK")
        for text in found:
            assert "\nbs_management_writable 0.0\n" in text
            assert "\nbs_management_database_up 1.0\n" in text, "it can be read"


async def test_of_very_many_storages_the_sums_are_shown(
    tmp_path: Path, stage: Players, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages_module, "MOST", 1)
    agent = await stage.add(HOST)
    async with fleet(tmp_path, poll=PATIENT) as bed:
        metrics = metrics_of(bed)
        for url in ("/one", "/two"):
            await added(bed, stage, url, agent)
        found = await scraped(metrics)
        assert len([line for line in (await text_of(metrics)).splitlines() if "storage_info{" in line]) == 1
        assert sum(labelled(found, "bs_management_storages").values()) == 2


async def test_scrapes_at_once_share_what_is_read_and_are_not_without_end() -> None:
    metrics, go, read = Metrics(), asyncio.Event(), 0

    async def source() -> list[bytes]:
        nonlocal read
        read += 1
        await go.wait()
        return [b"some 1\n"]

    metrics.add_source(source)
    waiting = [asyncio.create_task(metrics.render(OPENMETRICS if at % 2 else "")) for at in range(_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await metrics.render("")
    waiting.pop(0).cancel()  # who gives up takes nothing from the others
    go.set()
    found = await asyncio.gather(*waiting)
    assert (len(found), read) == (_WAITING - 1, 1)
    assert {one.content_type.partition(";")[0] for one in found} == {"text/plain", "application/openmetrics-text"}
    assert all(b"some 1\n" in one.pieces for one in found)
    await metrics.render("")
    assert read == 2


async def test_labels_are_read_as_they_were_written() -> None:
    for value in ('quote " and \\ and \n end', "{}=,", "ä\u2028", "\\n", ""):
        gauges = Gauges("a", "Means something.")
        gauges.add(labels(x=value, y="1"), 1.5)
        (family,) = parse_text(gauges.text().decode())
        assert [(sample.labels, sample.value) for sample in family.samples] == [({"x": value, "y": "1"}, 1.5)]
    assert Gauges("a", "Means something.").text() == b""
    for number in (0, -1, 2**63, 1e-7, 1e22, True):
        gauges = Gauges("a", "Means something.")
        gauges.add(labels(x="1"), number)
        (family,) = parse_text(gauges.text().decode())
        assert family.samples[0].value == number
