"""A cluster in stretch mode: a mon and two hosts in each of two data centres, and a mon elsewhere that decides."""

import subprocess
from collections.abc import Callable

import pytest

from bs_agent.contract.report import CephReport
from tests.beds.ceph import CephCluster
from tests.ceph.watching import watching

pytestmark = pytest.mark.asyncio
MIB = 1 << 20
RULE = """
rule stretched {
    id 7
    type replicated
    min_size 1
    max_size 10
    step take left
    step chooseleaf firstn 2 type host
    step emit
    step take right
    step chooseleaf firstn 2 type host
    step emit
}
"""


@pytest.fixture
def cluster(new_cluster: Callable[..., CephCluster]) -> CephCluster:
    """Three mons and four OSDs, in stretch mode."""
    made = new_cluster(osds=4, osd_bytes=1 << 30)
    for site in ("left", "right"):
        made.ceph("osd", "crush", "add-bucket", site, "datacenter")
        made.ceph("osd", "crush", "move", site, "root=default")
    for osd, site in enumerate(("left", "left", "right", "right")):
        place = ("root=default", f"datacenter={site}", f"host=host-{osd}")
        made.ceph("osd", "crush", "set", f"osd.{osd}", "1.0", *place)
    made.pool("images")
    add_rule(made, RULE)
    made.ceph("mon", "set", "election_strategy", "connectivity")
    for mon, site in zip(made.mons, ("left", "right", "elsewhere"), strict=True):
        made.ceph("mon", "set_location", mon, f"datacenter={site}")
    made.ceph("mon", "enable_stretch_mode", "c", "stretched", "datacenter")
    made.wait_for(lambda: bool(made.pools()["images"]["size"] == 4))
    made.settle()
    return made


def add_rule(cluster: CephCluster, rule: str) -> None:
    """Add a rule that takes two places: the command line makes none such."""
    compiled, text = cluster.folder / "crush", cluster.folder / "crush.txt"
    ceph = ["ceph", "-c", str(cluster.conf), "osd"]
    run(cluster, *ceph, "getcrushmap", "-o", str(compiled))
    run(cluster, "crushtool", "-d", str(compiled), "-o", str(text))
    text.write_text(text.read_text().replace("# end crush map", f"{rule}\n# end crush map"))
    run(cluster, "crushtool", "-c", str(text), "-o", str(compiled))
    run(cluster, *ceph, "setcrushmap", "-i", str(compiled))


def run(cluster: CephCluster, *words: str) -> None:
    subprocess.run(cluster.place.command(*words), check=True, capture_output=True, timeout=60)


async def test_both_data_centres_count_also_when_one_is_gone(cluster: CephCluster) -> None:
    cluster.rados("-p", "images", "put", "image", "-", stdin="x" * MIB)
    cluster.wait_for(lambda: bool(cluster.df("images")["stored"] == MIB))
    async with watching(cluster, "images", monAddress=cluster.mon_address("a")) as watch:
        compare(await watch.fresh(), cluster)
        with cluster.killed("osd.2", "osd.3", "mon.b"):
            cluster.wait_for(lambda: "DEGRADED_STRETCH_MODE" in cluster.ceph("status")["health"]["checks"])
            compare(await watch.until(lambda report: "DEGRADED_STRETCH_MODE" in checks(report)), cluster)
            await watch.until(lambda report: in_quorum(report) == ["a", "c"])


def in_quorum(report: CephReport) -> list[str]:
    return [mon.name for mon in report.mons.value or [] if mon.inQuorum]


def checks(report: CephReport) -> set[str]:
    return {check.code for check in report.cluster.value.checks} if report.cluster.value else set()


def compare(report: CephReport, cluster: CephCluster) -> None:
    """Compare the pool of four copies with its OSDs, each of which counts, and with `ceph df`."""
    assert report.reasons() == []
    (pool,) = (pool for pool in report.pools.value or [] if pool.name == "images")
    osds, said = cluster.ceph("osd", "df")["nodes"], cluster.df("images")
    assert (pool.relatedOsds, pool.replicatedSize, pool.failureDomain) == ([0, 1, 2, 3], 4, "host")
    assert (pool.crushRoot, pool.crushRule, pool.diskUtilization) == ("left,right", "stretched", 0.25)
    assert pool.totalCapacity == sum(osd["kb"] for osd in osds) * 1024 // 4 == 1 << 30
    assert pool.availableCapacity == pytest.approx(sum(osd["kb_avail"] for osd in osds) * 1024 // 4, rel=0.01)
    assert pool.poolStored == MIB
    assert pool.poolMaxAvail == pytest.approx(said["max_avail"], rel=0.01)
    assert report.cluster.value is not None
    assert report.cluster.value.totalCapacity == cluster.ceph("df")["stats"]["total_bytes"]
