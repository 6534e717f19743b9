"""A pool that is renamed or replaced on a live cluster: another one of its name is neither reported nor touched."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, CephReport
from tests.beds.ceph import CephCluster
from tests.ceph.watching import UUID, on_host, settings, watching

pytestmark = [pytest.mark.asyncio, pytest.mark.also_ends]


def rename(cluster: CephCluster, old: str, new: str) -> None:
    cluster.ceph("osd", "pool", "rename", old, new)


def remove(cluster: CephCluster, pool: str) -> None:
    cluster.ceph("osd", "pool", "rm", pool, pool, "--yes-i-really-really-mean-it")


def number_of(cluster: CephCluster, pool: str) -> int:
    return int(cluster.pools()[pool]["pool"])


def said(report: CephReport) -> tuple[ReasonCode, str] | None:
    reason = report.pools.reason
    return (reason.code, reason.details) if reason else None


@pytest_asyncio.fixture
async def host(cluster: CephCluster) -> AsyncIterator[Host]:
    async with on_host(settings(cluster)) as made:
        yield made


async def test_a_renamed_pool_is_missed_under_its_name_and_found_by_its_number(cluster: CephCluster) -> None:
    cluster.pool("moving")
    number = number_of(cluster, "moving")
    async with watching(cluster, "moving", writeProbe=True) as watch:
        assert (await watch.fresh()).poolId == number
        rename(cluster, "moving", "moved")
        missing = (ReasonCode.POOL_MISSING, f"the cluster has no pool moving; pool {number} is called moved now")
        await watch.until(lambda report: said(report) == missing)
        with pytest.raises(StorageProblem, match=f"pool {number} is called moved now"):
            await watch.storage.connect([])
        cluster.rados("-p", "moved", "put", f"bs-agent.write-probe.{UUID}", "-", stdin="of an interrupted probe")
        await watch.reporter.unwatch(UUID)
        (step,) = await watch.storage.plan_cleanup()
        assert step.target == f"moved/bs-agent.write-probe.{UUID}"
        await watch.storage.clean(step)
        assert cluster.objects("moved") == []
        rename(cluster, "moved", "moving")
        await watch.storage.connect([])


@pytest.mark.parametrize("kept", [True, False])
async def test_another_pool_of_the_name_is_neither_reported_nor_touched(cluster: CephCluster, kept: bool) -> None:
    name = f"replaced-{kept}".lower()
    cluster.pool(name)
    cluster.rados("-p", name, "put", "image", "-", stdin="x" * 4096)
    cluster.settle()
    number = number_of(cluster, name)
    async with watching(cluster, name, writeProbe=True, removePool=True) as watch:
        before = await watch.fresh()
        if kept:
            rename(cluster, name, f"{name}-old")
        else:
            remove(cluster, name)
        cluster.pool(name)
        cluster.ceph("osd", "pool", "application", "set", name, "rbd", "bs-agent", UUID)  # as of a copy
        now = number_of(cluster, name)
        what = f"pool {number} is called {name}-old now" if kept else f"there is no pool {number}"
        replaced = (ReasonCode.POOL_REPLACED, f"pool {name} is number {now}, not {number}; {what}")
        await watch.until(lambda report: said(report) == replaced)
        report = await watch.fresh()
        assert (report.pools.value, report.pools.stale) == (before.pools.value, True)
        assert report.poolId == number
        with pytest.raises(StorageProblem) as caught:
            await watch.storage.connect([])
        assert (caught.value.reason.code, caught.value.details) == replaced
        await watch.reporter.unwatch(UUID)
        for step in await watch.storage.plan_cleanup():
            assert step.target.startswith(f"{name}-old")
            await watch.storage.clean(step)
        assert cluster.objects(name) == []
        assert cluster.pools()[name]["application_metadata"] == {"rbd": {"bs-agent": UUID}}
    assert not kept or cluster.objects(f"{name}-old") == ["\timage"]


async def refused(storage: Ceph) -> StorageProblem:
    with pytest.raises(StorageProblem) as caught:
        await storage.connect([])
    await storage.close()
    return caught.value


async def test_a_host_that_never_saw_the_pool_is_told_its_number(cluster: CephCluster, host: Host) -> None:
    cluster.pool("told")
    number = number_of(cluster, "told")
    known: dict[str, Any] = {"poolName": "told", "fsid": cluster.fsid}
    right = Ceph(UUID, CephParameters(**known, poolId=number), None, host)
    assert (await right.connect([]))["poolId"] == number
    await right.close()
    problem = await refused(Ceph(UUID, CephParameters(**known, poolId=number + 1000), None, host))
    assert problem.reason.code == ReasonCode.POOL_REPLACED
    gone = CephParameters(**{**known, "poolName": "untold"}, poolId=number + 1000)
    assert (await refused(Ceph(UUID, gone, None, host))).reason.code == ReasonCode.POOL_MISSING


async def test_a_pool_is_not_made_anew_beside_the_renamed_one(cluster: CephCluster, host: Host) -> None:
    making = CephParameters(poolName="made-once", createPool=True)
    first = Ceph(UUID, making, None, host)
    remembered = await first.connect([])
    await first.close()
    rename(cluster, "made-once", "made-once-old")
    problem = await refused(Ceph(UUID, making, remembered, host))
    assert problem.reason.code == ReasonCode.POOL_MISSING
    assert "made-once-old" in problem.details
    assert "made-once" not in cluster.pools()
    cluster.ceph("osd", "pool", "create", "made-once", "8")
    assert (await refused(Ceph(UUID, making, remembered, host))).reason.code == ReasonCode.POOL_REPLACED
    assert cluster.pools()["made-once"]["application_metadata"] == {}
    # Removed by hand, both of them, it is made again: that is what the command says.
    for name in ("made-once", "made-once-old"):
        remove(cluster, name)
    again = Ceph(UUID, making, remembered, host)
    assert (await again.connect([]))["poolId"] == number_of(cluster, "made-once")
    await again.close()
