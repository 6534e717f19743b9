"""Releases that meet: the librados of a host may be older or later than the cluster, as in an upgrade."""

from collections.abc import Callable

import pytest

from bs_agent.contract.report import CephReport
from tests.beds.ceph import CephCluster
from tests.beds.place import Place
from tests.ceph.conftest import LATER_RELEASE, OWN_RELEASE
from tests.ceph.watching import watching

pytestmark = [pytest.mark.asyncio, pytest.mark.every_release]


async def reported(cluster: CephCluster, pool: str, python: str) -> CephReport:
    """Return a fresh report by the librados of this Python, after a write probe."""
    async with watching(cluster, pool, python=python, writeProbe=True, monAddress=cluster.mon_address("a")) as watch:
        report = await watch.fresh()
        assert report.reasons() == []
        for step in await watch.storage.plan_cleanup():
            await watch.storage.clean(step)
        return report


async def test_both_librados_say_the_same_of_a_cluster(
    ceph_release: str, cluster: CephCluster, places: Callable[[str], Place]
) -> None:
    pool = "of-both"
    cluster.pool(pool)
    cluster.rados("-p", pool, "put", "image", "-", stdin="x" * 4096)
    cluster.settle()
    cluster.wait_for(lambda: cluster.df(pool)["stored"] == 4096)
    own, other = [await reported(cluster, pool, places(release).python) for release in (OWN_RELEASE, LATER_RELEASE)]
    assert own.cluster.value
    assert other.cluster.value
    assert own.cluster.value.fsid == other.cluster.value.fsid == cluster.fsid
    assert own.cluster.value.totalCapacity == other.cluster.value.totalCapacity
    assert (own.mons.value, own.localMon.value) == (other.mons.value, other.localMon.value)
    assert own.mons.value
    assert {mon.version.partition(".")[0] for mon in own.mons.value} == {ceph_release}
    for name in ("name", "poolStored", "totalCapacity", "relatedOsds", "diskUtilization"):
        assert [getattr(each, name) for each in own.pools.value or ()] == [
            getattr(each, name) for each in other.pools.value or ()
        ]
    assert cluster.objects(pool) == ["\timage"]
