"""A cluster that is built anew under the addresses of another one: refused, and nothing of it is deleted."""

import shutil
from collections.abc import Awaitable, Callable

import pytest

from bs_agent.agent.storages.ceph import Ceph
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, CephReport, Step
from tests.beds.ceph import CephCluster
from tests.ceph.watching import UUID, watching

pytestmark = pytest.mark.asyncio
STEP = Step(action="removePool", target="images")


def is_refused(report: CephReport) -> bool:
    sections = (report.cluster, report.pools, report.mons)
    return all(section.reason and section.reason.code == ReasonCode.FSID_MISMATCH for section in sections)


async def test_a_rebuilt_cluster_is_refused_and_keeps_everything(new_cluster: Callable[..., CephCluster]) -> None:
    first = new_cluster(mons=1, osds=1, objectstore="memstore")
    first.pool("images")
    first.settle()
    async with watching(first, "images", removePool=True) as watch:
        await watch.fresh()
        first.stop()
        second = new_cluster(mons=1, osds=1, objectstore="memstore", mon_ports=first.mon_ports)
        second.pool("images")
        second.rados("-p", "images", "put", f"bs-agent.write-probe.{UUID}", "-", stdin="of another cluster")
        # The operator brings configuration and keyring of the new cluster to the host, at the old place.
        for before, now in ((first.conf, second.conf), (first.keyring, second.keyring)):
            shutil.copy(now, before)
        report = await watch.until(is_refused)
        assert report.cluster.value is not None
        assert (report.cluster.value.fsid, report.cluster.stale) == (first.fsid, True)
        await refused(watch.storage.connect([]), second)
        await refused(watch.storage.plan_cleanup(), second)
        await refused(watch.storage.clean(STEP), second)
        anew = Ceph(UUID, CephParameters(poolName="images", fsid=first.fsid, removePool=True), None, watch.host)
        await refused(anew.connect([]), second)
        await refused(anew.plan_cleanup(), second)
        await refused(anew.clean(STEP), second)
        await anew.close()
        assert second.objects("images") == [f"\tbs-agent.write-probe.{UUID}"]


async def refused(attempt: Awaitable[object], cluster: CephCluster) -> None:
    with pytest.raises(StorageProblem) as caught:
        await attempt
    assert caught.value.reason.code == ReasonCode.FSID_MISMATCH
    assert cluster.fsid in caught.value.details
