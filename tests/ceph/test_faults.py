"""Faults of a live cluster, seen by the schedule alone: what is reported meanwhile, and that it gets well by itself."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from bs_agent.agent.storages.ceph_mons import IN_QUORUM
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephReport, Section
from tests.beds.ceph import CephCluster
from tests.ceph.watching import Watch, watching

pytestmark = pytest.mark.asyncio
POOL = "images"


@pytest.fixture(scope="module")
def furnished(breakable: CephCluster) -> CephCluster:
    """A cluster with a pool of this module."""
    breakable.pool(POOL)
    return breakable


@pytest.fixture
def broken(furnished: CephCluster) -> CephCluster:
    """Return the cluster when nothing is left of what the test before did to it: a connect says what it meets."""
    furnished.settle()
    return furnished


@asynccontextmanager
async def well_watched(cluster: CephCluster, mon: str, *, write_probe: bool = False) -> AsyncIterator[Watch]:
    """Watch from the host of a mon; at the end everything must be well again, by itself."""
    address = cluster.mon_address(mon)
    async with watching(cluster, POOL, mon, monAddress=address, writeProbe=write_probe) as watch:
        await watch.until(well)
        yield watch
        await watch.until(well)


def well(report: CephReport) -> bool:
    sections = (report.cluster, report.pools, report.mons, report.localMon, report.writeProbe)
    return report.reasons() == [] and not any(section and (section.stale or not section.value) for section in sections)


def codes(report: CephReport) -> set[ReasonCode]:
    return {reason.code for reason in report.reasons()}


def out_of_quorum(name: str) -> Callable[[CephReport], bool]:
    def is_out(report: CephReport) -> bool:
        return any(mon.name == name and not mon.inQuorum for mon in report.mons.value or ())

    return is_out


@pytest.mark.every_release
async def test_a_dead_mon_is_the_trouble_of_its_host_alone(broken: CephCluster) -> None:
    async with well_watched(broken, "a") as there, well_watched(broken, "b") as here:
        with broken.killed("mon.a"):
            await here.until(out_of_quorum("a"))
            report = await there.until(lambda seen: codes(seen) == {ReasonCode.MON_OUT_OF_QUORUM})
            assert report.localMon.stale
            assert report.localMon.value is not None
            assert not report.cluster.stale
        await here.until(well)
        # An election may keep the mons busy, which is no reason to call the storage unusable.
        assert here.blocked == set()


async def test_a_frozen_leader_is_the_trouble_of_its_host_alone(broken: CephCluster) -> None:
    async with well_watched(broken, "a") as there, well_watched(broken, "b") as here:
        with broken.frozen("mon.a"):
            await here.until(out_of_quorum("a"))
            await there.until(lambda seen: codes(seen) == {ReasonCode.MON_OUT_OF_QUORUM})
        await here.until(well)
        assert here.blocked == set()


@dataclass(frozen=True)
class DaemonFault:
    """What befalls a daemon that the cluster can do without, and how it is seen from the host of mon b."""

    what: Literal["killed", "crashed", "frozen"]
    daemon: str

    @property
    def of_mgr(self) -> bool:
        return self.daemon.startswith("mgr")

    def befalls(self, cluster: CephCluster) -> AbstractContextManager[None]:
        if self.what == "frozen":
            return cluster.frozen(self.daemon)
        return cluster.killed(self.daemon, by=signal.SIGSEGV if self.what == "crashed" else signal.SIGKILL)

    def shows(self, report: CephReport) -> bool:
        kind, _, name = self.daemon.partition(".")
        if kind == "mon":
            return out_of_quorum(name)(report)
        if kind == "mgr":
            return codes(report) == {ReasonCode.MGR_DOWN} and report.cluster.stale and report.pools.stale
        # Nothing of the cluster is still when an OSD only stands still and nobody writes.
        checks = report.cluster.value.checks if report.cluster.value else []
        return self.what == "frozen" or "OSD_DOWN" in {check.code for check in checks}


@pytest.mark.parametrize(
    "fault",
    [
        DaemonFault("crashed", "mon.a"),
        DaemonFault("crashed", "mon.c"),
        DaemonFault("crashed", "mgr.x"),
        DaemonFault("frozen", "mgr.x"),
        DaemonFault("crashed", "osd.0"),
        DaemonFault("killed", "osd.1"),
        DaemonFault("frozen", "osd.2"),
    ],
    ids=lambda fault: f"{fault.daemon} {fault.what}",
)
async def test_whatever_befalls_one_daemon_the_reports_go_on(broken: CephCluster, fault: DaemonFault) -> None:
    async with well_watched(broken, "b") as watch:
        with fault.befalls(broken):
            await watch.until(fault.shows)
            asked = time.time()
            report = await watch.fresh()
            assert codes(report) == ({ReasonCode.MGR_DOWN} if fault.of_mgr else set())
            answered: list[Section[Any]] = [report.cluster, report.mons, report.localMon]
            for section in answered if fault.of_mgr else [*answered, report.pools]:
                assert section.collectedAt is not None
                assert section.collectedAt > asked
            stale = (report.cluster.stale, report.pools.stale, report.mons.stale, report.localMon.stale)
            assert stale == (fault.of_mgr, fault.of_mgr, False, False)
        await watch.until(well)
        assert watch.blocked == set()


@pytest.mark.every_release
async def test_a_lost_quorum_is_said_by_the_first_report_after_it(broken: CephCluster, tmp_path: Path) -> None:
    """Where the socket of the own mon is not to be read too: what counts is how many mons live."""
    async with watching(broken, POOL, "c", run_dir=tmp_path, monAddress=broken.mon_address("c")) as watch:
        await watch.until(well)
        with broken.killed("mon.a", "mon.b"):
            # Until then a mon that lives may go on serving what it knows.
            await asyncio.to_thread(broken.wait_for, lambda: broken.mon_state("c") not in IN_QUORUM)
            report = await watch.fresh()
            sections = (report.cluster, report.pools, report.mons, report.localMon)
            assert [section.reason and section.reason.code for section in sections] == [ReasonCode.NO_QUORUM] * 4
            assert all(section.value and section.stale for section in sections)
        await watch.until(well)
        await asyncio.to_thread(broken.settle)
        watch.blocked.clear()
        with broken.killed("mon.a"):
            await watch.until(out_of_quorum("a"))
        await watch.until(well)
        assert watch.blocked == set(), "an election is no reason to call the storage unusable"


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_without_quorum_the_last_numbers_stay_and_are_stale(broken: CephCluster, fault: str) -> None:
    with_fault = {"killed": broken.killed, "frozen": broken.frozen}[fault]
    async with well_watched(broken, "c") as watch:
        before = watch.last()
        with with_fault("mon.a", "mon.b"):
            report = await watch.until(
                lambda seen: seen.cluster.reason is not None and seen.cluster.reason.code == "NoQuorum"
            )
            expected = {ReasonCode.NO_QUORUM, ReasonCode.MON_OUT_OF_QUORUM}
            # A mon that lives may go on serving what it knows for some seconds: each section comes to its own end.
            report = await watch.until(lambda seen: seen.pools.stale and codes(seen) == expected)
            for now, then in ((report.cluster, before.cluster), (report.pools, before.pools)):
                assert now.stale
                assert now.value is not None
                assert then.value is not None
            assert report.cluster.value is not None
            assert before.cluster.value is not None
            assert report.cluster.value.totalCapacity == before.cluster.value.totalCapacity
            assert report.localMon.value is not None
            assert report.localMon.value.state in {"probing", "electing"}


async def test_without_a_mgr_the_numbers_are_stale(broken: CephCluster) -> None:
    async with well_watched(broken, "a") as watch:
        before = watch.last().pools.value
        with broken.killed("mgr.x"):
            await watch.until(lambda seen: seen.cluster.stale and seen.pools.stale)
            report = await watch.until(lambda seen: seen.cluster.value is not None and not seen.cluster.value.mgrActive)
            assert codes(report) == {ReasonCode.MGR_DOWN}
            assert report.cluster.value is not None
            assert "MGR_DOWN" in {check.code for check in report.cluster.value.checks}
            assert report.pools.value is not None
            assert before is not None
            assert [pool.totalCapacity for pool in report.pools.value] == [pool.totalCapacity for pool in before]
            assert not report.mons.stale
        await watch.until(well)
        assert watch.blocked == set()


async def test_frozen_osds_fail_the_write_probe_and_nothing_else(broken: CephCluster) -> None:
    async with well_watched(broken, "a", write_probe=True) as watch:
        with broken.frozen(*(f"osd.{osd}" for osd in range(broken.osds))):
            await watch.until(lambda seen: ReasonCode.WRITE_PROBE_FAILED in codes(seen))
            report = await watch.fresh()
            assert codes(report) == {ReasonCode.WRITE_PROBE_FAILED}
            assert not report.cluster.stale
            assert not report.pools.stale
        await watch.until(well)
        await asyncio.to_thread(broken.settle)
        await watch.fresh()
        assert broken.objects(POOL) == []


async def test_a_full_pool_is_full_and_not_broken(broken: CephCluster) -> None:
    async with well_watched(broken, "a") as watch:
        broken.ceph("osd", "pool", "set-quota", POOL, "max_objects", "1")
        broken.rados("-p", POOL, "put", "object", "-", stdin="x")
        report = await watch.until(lambda seen: codes(seen) == {ReasonCode.POOL_FULL})
        assert report.pools.value is not None
        pool = next(pool for pool in report.pools.value if pool.name == POOL)
        assert (pool.full, pool.availableCapacity, pool.poolMaxAvail, pool.quotaObjects) == (True, 0, 0, 1)
        assert pool.totalCapacity > 0
        assert not report.pools.stale
        broken.ceph("osd", "pool", "set-quota", POOL, "max_objects", "0")
        await watch.until(well)
        broken.rados("-p", POOL, "rm", "object")


async def test_full_osds_fill_the_cluster(broken: CephCluster) -> None:
    async with well_watched(broken, "a") as watch:
        for level, ratio in (("nearfull", "0.001"), ("backfillfull", "0.002"), ("full", "0.003")):
            broken.ceph("osd", f"set-{level}-ratio", ratio)
        report = await watch.until(lambda seen: codes(seen) == {ReasonCode.CLUSTER_FULL, ReasonCode.POOL_FULL})
        assert report.cluster.value is not None
        assert report.cluster.value.totalCapacity > 0
        for level, ratio in (("full", "0.95"), ("backfillfull", "0.9"), ("nearfull", "0.85")):
            broken.ceph("osd", f"set-{level}-ratio", ratio)
        await watch.until(well)
        assert watch.blocked == set()
