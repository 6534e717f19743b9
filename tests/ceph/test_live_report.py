"""The report of a healthy live cluster, compared with what the command line says of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bs_agent.contract.report import CephReport
from tests.beds.ceph import OCTOPUS, CephCluster
from tests.ceph.watching import UUID, watching

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.every_release]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def report(cluster: CephCluster) -> AsyncIterator[CephReport]:
    """One fresh report, with a pool of each kind."""
    cluster.pool("copies-2")
    cluster.pool("copies-3", "--size=3")
    cluster.ceph("osd", "erasure-code-profile", "set", "two-and-one", "k=2", "m=1", "crush-failure-domain=osd")
    cluster.pool("coded", "erasure", "two-and-one")
    cluster.ceph("osd", "crush", "rule", "create-replicated", "some", "default", "osd", cluster.device_class(0))
    cluster.pool("some", "replicated", "some")
    cluster.ceph("osd", "pool", "set-quota", "copies-2", "max_bytes", str(1 << 20))
    cluster.rados("-p", "copies-2", "put", "object", "-", stdin="x" * 4096)
    cluster.settle()
    cluster.wait_for(lambda: cluster.df("copies-2")["stored"] == 4096)
    async with watching(cluster, "copies-2", monAddress=cluster.mon_address("a")) as watch:
        yield await watch.fresh()


async def test_nothing_is_wrong_and_nothing_is_old(report: CephReport, cluster: CephCluster) -> None:
    assert report.reasons() == []
    for section in (report.cluster, report.pools, report.mons, report.localMon):
        assert section.value is not None
        assert not section.stale
        assert section.ageSeconds is not None
    assert (report.uuid, report.poolName, report.writeProbe) == (UUID, "copies-2", None)


async def test_the_cluster_is_the_one_of_the_command_line(report: CephReport, cluster: CephCluster) -> None:
    seen, said = report.cluster.value, cluster.ceph("df")["stats"]
    assert seen is not None
    assert (seen.fsid, seen.health, seen.mgrActive) == (cluster.fsid, "HEALTH_OK", True)
    assert seen.totalCapacity == said["total_bytes"]
    assert seen.availableCapacity == pytest.approx(said["total_avail_bytes"], rel=0.05)
    assert seen.vendor == "open-source"


async def test_a_check_that_is_muted_has_no_part_in_the_health(report: CephReport, cluster: CephCluster) -> None:
    if cluster.release < OCTOPUS:
        pytest.skip(f"Ceph {cluster.release} mutes no health check")
    cluster.ceph("osd", "set", "noout")
    try:
        async with watching(cluster, "copies-2") as watch:
            seen = (await watch.until(lambda seen: has_checks(seen, "OSDMAP_FLAGS"))).cluster.value
            assert seen
            assert seen.health == "HEALTH_WARN"
            cluster.ceph("health", "mute", "OSDMAP_FLAGS")
            seen = (await watch.until(has_checks)).cluster.value
            assert seen
            assert seen.health == "HEALTH_OK"
    finally:
        cluster.ceph("osd", "unset", "noout")


def has_checks(report: CephReport, *codes: str) -> bool:
    return report.cluster.value is not None and [check.code for check in report.cluster.value.checks] == [*codes]


async def test_every_pool_has_cephs_own_numbers_beside_ours(report: CephReport, cluster: CephCluster) -> None:
    assert report.pools.value is not None
    seen = {pool.name: pool for pool in report.pools.value}
    assert {"copies-2", "copies-3", "coded", "some"} <= set(seen)
    for name, pool in seen.items():
        said = cluster.df(name)
        limit = (1 << 20) - 4096 if name == "copies-2" else said["max_avail"]
        assert pool.poolMaxAvail == pytest.approx(limit, rel=0.02)
        assert pool.poolStored == said["stored"]
        assert pool.totalCapacity == int(cluster.bytes_of(pool.relatedOsds) * pool.diskUtilization)
    assert (seen["copies-3"].replicatedSize, seen["copies-3"].relatedOsds) == (3, [0, 1, 2])
    assert (seen["coded"].securityPolicy, seen["coded"].k, seen["coded"].m) == ("ErasureCode", 2, 1)
    assert (seen["some"].deviceClass, seen["some"].crushRoot) == (cluster.device_class(0), "default")
    assert 0 in seen["some"].relatedOsds


async def test_the_mons_are_those_of_the_command_line(report: CephReport, cluster: CephCluster) -> None:
    assert report.mons.value is not None
    leader = cluster.ceph("quorum_status")["quorum_leader_name"]
    for mon, name in zip(report.mons.value, cluster.mons, strict=True):
        assert (mon.name, mon.inQuorum, mon.leader) == (name, True, name == leader)
        assert {address.type: address.address for address in mon.addresses} == {
            "v1": cluster.mon_address(name, "v1"),
            "v2": cluster.mon_address(name, "v2"),
        }
        assert mon.version in cluster.ceph("version")["version"]


async def test_the_own_mon_speaks_by_its_socket(report: CephReport) -> None:
    own = report.localMon.value
    assert own is not None
    assert (own.name, own.state in {"leader", "peon"}) == ("a", True)
