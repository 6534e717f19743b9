"""Pools of every kind on a live cluster, each compared with `ceph df` and with what its OSDs come to by hand."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephReport, Pool
from tests.beds.ceph import CephCluster
from tests.ceph.watching import watching

pytestmark = pytest.mark.asyncio
KIB = 1024
OBJECT = 64 * KIB
QUOTA = 1 << 20
FULL_RATIO = 0.95
SETTLED_SECONDS = 45.0
# By OSD: root, host and class of device. The host `left` hangs below a second root, too.
PLACES = [
    ("default", "left", "hdd"),
    ("default", "left", "ssd"),
    ("default", "right", "hdd"),
    ("default", "right", "ssd"),
    ("archive", "apart", "hdd"),
]
ALL = [0, 1, 2, 3]


class Made(NamedTuple):
    """A pool: how it is made, where its data lies, how many of its parts hold data, and what Ceph takes that share for.

    Ceph counts k/(k+m) of a code, without the local parity of a locally repairable one; a code that is given by layers
    has neither k nor m, and counts as a half.
    """

    words: str
    osds: list[int]
    data: int = 1
    parts: int = 2
    ceph: float = 0.5


CODES = {
    "jerasure": Made("plugin=jerasure k=2 m=1 technique=cauchy_good", ALL, 2, 3, 2 / 3),
    "isa": Made("plugin=isa k=3 m=1", ALL, 3, 4, 3 / 4),
    "shec": Made("plugin=shec k=2 m=2 c=1", ALL, 2, 4),
    "clay": Made("plugin=clay k=2 m=2 d=3", ALL, 2, 4),
    "lrc": Made("plugin=lrc k=2 m=1 l=3", ALL, 2, 4, 2 / 3),
    "layers": Made("plugin=lrc mapping=__DD", ALL, 2, 4),
}
LAYERS = ['layers=[ [ "_cDD", "" ], [ "cDDD", "" ] ]', 'crush-steps=[ [ "chooseleaf", "osd", 0 ] ]']
COPIES = {
    "two": Made("", ALL),
    "three": Made("", ALL, 1, 3, 1 / 3),
    "ssd": Made("default osd ssd", [1, 3]),
    "second": Made("second osd", [0, 1]),
    "archive": Made("archive host", [4], 1, 1, 1.0),
    "bytes": Made("", ALL),
    "objects": Made("", ALL),
}
WITHOUT = {"empty": Made("empty osd", []), "nvme": Made("archive osd nvme", [])}
POOLS = {**CODES, **COPIES, **WITHOUT}


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[..., CephCluster]) -> CephCluster:
    """One mon and five OSDs with every pool there is."""
    made = new_cluster(mons=1, osds=len(PLACES), osd_bytes=1 << 30)
    for osd, (root, host, kind) in enumerate(PLACES):
        made.ceph("osd", "crush", "set", f"osd.{osd}", "1.0", f"root={root}", f"host={host}")
        set_class(made, osd, kind)
    for root in ("second", "empty"):
        made.ceph("osd", "crush", "add-bucket", root, "root")
    made.ceph("osd", "crush", "link", "left", "root=second")
    for name, code in CODES.items():
        words = [*code.words.split(), "crush-failure-domain=osd", *(LAYERS if name == "layers" else [])]
        made.ceph("osd", "erasure-code-profile", "set", name, *words)
        made.pool(name, "erasure", name)
    for name, copies in COPIES.items():
        make_copies(made, name, copies)
    made.ceph("osd", "pool", "set", "archive", "size", "1", "--yes-i-really-mean-it")
    made.ceph("osd", "pool", "set", "three", "size", "3")
    made.ceph("osd", "pool", "set-quota", "bytes", "max_bytes", str(QUOTA))
    made.ceph("osd", "pool", "set-quota", "objects", "max_objects", "2")
    made.settle()
    for name in CODES | COPIES:
        made.rados("-p", name, "put", "image", "-", stdin="x" * OBJECT)
    made.wait_for(lambda: all(made.df(name)["stored"] >= OBJECT for name in CODES | COPIES))
    # A rule for a class of devices that the last one has left, and one for a root that never had any.
    set_class(made, 4, "nvme")
    for name, without in WITHOUT.items():
        make_copies(made, name, without)
    set_class(made, 4, "hdd")
    made.wait_for(lambda: {pool["name"] for pool in made.ceph("df")["pools"]} >= POOLS.keys())
    made.wait_for(lambda: all(made.df(name)["max_avail"] == 0 for name in WITHOUT))  # the mgr has heard of the class
    return made


def set_class(cluster: CephCluster, osd: int, kind: str) -> None:
    cluster.ceph("osd", "crush", "rm-device-class", str(osd))
    cluster.ceph("osd", "crush", "set-device-class", kind, str(osd))


def make_copies(cluster: CephCluster, name: str, made: Made) -> None:
    if made.words:
        cluster.ceph("osd", "crush", "rule", "create-replicated", name, *made.words.split())
    cluster.pool(name, *(["replicated", name] if made.words else []))


async def reported(cluster: CephCluster, pool: str = "two", **parameters: Any) -> CephReport:
    async with watching(cluster, pool, **parameters) as watch:
        await watch.fresh()
        # A mgr of a busy machine may be silent for longer than a probe waits.
        return await watch.until(lambda report: "MgrDown" not in reasons(report))


def pools_in(report: CephReport) -> dict[str, Pool]:
    assert report.pools.value is not None
    return {pool.name: pool for pool in report.pools.value if pool.name in POOLS}


def osds_of(cluster: CephCluster) -> dict[int, dict[str, int]]:
    return {osd["id"]: osd for osd in cluster.ceph("osd", "df")["nodes"]}


def reasons(report: CephReport) -> list[str]:
    return [str(reason.code) for reason in report.reasons()]


def max_avail(cluster: CephCluster) -> dict[str, int]:
    return {pool["name"]: pool["stats"]["max_avail"] for pool in cluster.ceph("df", "detail")["pools"]}


def about(value: int, between: list[int]) -> bool:
    return 0.99 * between[0] <= value <= 1.01 * between[1]


async def compared(cluster: CephCluster, *, left_out: tuple[int, ...] = (), pool: str = "two") -> CephReport:
    """Compare the bytes of every pool with those of its OSDs, but some, and Ceph's own numbers with `ceph df`.

    While data moves Ceph changes its mind by the second, so what differs is looked at again for a while.
    """
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        try:
            return await compared_now(cluster, left_out, pool)
        except AssertionError:
            if time.monotonic() > deadline:
                raise


async def compared_now(cluster: CephCluster, left_out: tuple[int, ...], pool: str) -> CephReport:
    before, osds_before = max_avail(cluster), osds_of(cluster)
    report = await reported(cluster, pool)
    seen, osds, after = pools_in(report), osds_of(cluster), max_avail(cluster)
    assert seen.keys() == POOLS.keys()
    for name, made in POOLS.items():
        found = seen[name]
        counted = [osd for osd in made.osds if osd not in left_out]

        def share(key: str, counted: list[int] = counted, made: Made = made) -> list[int]:
            sums = (sum(of[osd][key] for osd in counted) for of in (osds_before, osds))
            return sorted(each * KIB * made.data // made.parts for each in sums)

        assert found.relatedOsds == made.osds
        assert found.diskUtilization == pytest.approx(made.data / made.parts)
        assert [found.totalCapacity] * 2 == share("kb")
        assert about(found.usedCapacity, share("kb_used"))
        assert found.availableCapacity == 0 or about(found.availableCapacity, share("kb_avail"))
        if name != "bytes":
            assert about(found.poolMaxAvail, sorted((before[name], after[name])))
    return report


async def test_every_pool_has_the_bytes_that_its_osds_come_to(cluster: CephCluster) -> None:
    report = await compared(cluster)
    assert reasons(report) == []
    osds = osds_of(cluster)
    for name, pool in pools_in(report).items():
        made = POOLS[name]
        assert (pool.poolStored, pool.full) == (cluster.df(name)["stored"], False)
        # What Ceph says, by hand: the fullest OSD counts for all, less what the full ratio keeps back.
        least = min((osds[osd]["kb_avail"] - osds[osd]["kb"] * (1 - FULL_RATIO) for osd in made.osds), default=0)
        by_ceph = least * KIB * len(made.osds) * made.ceph
        expected = QUOTA - OBJECT if name == "bytes" else by_ceph
        assert pool.poolMaxAvail == pytest.approx(expected, rel=0.01)


async def test_codes_and_copies_are_told_as_they_are(cluster: CephCluster) -> None:
    seen = pools_in(await reported(cluster))
    for name, made in POOLS.items():
        pool = seen[name]
        code = ("ErasureCode", made.data, made.parts - made.data) if name in CODES else ("Copy", None, None)
        assert (pool.securityPolicy, pool.k, pool.m, pool.replicatedSize) == (*code, made.parts)
    places = {name: (pool.crushRoot, pool.deviceClass, pool.failureDomain) for name, pool in seen.items()}
    assert places["layers"] == ("default", None, "osd")
    assert (places["ssd"], places["nvme"]) == (("default", "ssd", "osd"), ("archive", "nvme", "osd"))
    assert (places["second"], places["archive"]) == (("second", None, "osd"), ("archive", None, "host"))


async def test_the_policy_max_avail_obeys_a_quota(cluster: CephCluster) -> None:
    ours = pools_in(await reported(cluster))
    theirs = pools_in(await reported(cluster, capacityPolicy="max_avail"))
    assert theirs["bytes"].availableCapacity == QUOTA - OBJECT < ours["bytes"].availableCapacity
    assert theirs["two"].availableCapacity == pytest.approx(cluster.df("two")["max_avail"], rel=0.01)


@pytest.mark.parametrize("pool", list(WITHOUT))
async def test_a_pool_that_no_osd_fits_has_no_room_and_a_reason(cluster: CephCluster, pool: str) -> None:
    report = await reported(cluster, pool)
    assert reasons(report) == ["PoolWithoutOsds"]
    seen = pools_in(report)[pool]
    assert (seen.totalCapacity, seen.availableCapacity, seen.poolMaxAvail, seen.full) == (0, 0, 0, False)


@pytest.mark.parametrize("pool", ["bytes", "objects"])
async def test_a_quota_that_is_used_up_fills_its_pool_alone(cluster: CephCluster, pool: str) -> None:
    size = QUOTA - OBJECT if pool == "bytes" else 1
    cluster.rados("-p", pool, "put", "last", "-", stdin="x" * size)
    try:
        cluster.wait_for(lambda: "full" in cluster.pools()[pool]["flags_names"])
        report = await reported(cluster, pool)
        assert reasons(report) == ["PoolFull"]
        seen = pools_in(report)
        assert (seen[pool].full, seen[pool].availableCapacity, seen[pool].poolMaxAvail) == (True, 0, 0)
        assert [name for name, found in seen.items() if found.full] == [pool]
        assert seen["two"].availableCapacity > 0
    finally:
        cluster.rados("-p", pool, "rm", "last", "--force-full")
        cluster.wait_for(lambda: "full" not in cluster.pools()[pool]["flags_names"])


@contextmanager
def without_data(cluster: CephCluster, osds: tuple[int, ...], how: str) -> Iterator[None]:
    """Have OSDs given no data: out, or of no weight."""
    for osd in osds:
        cluster.ceph(*(("osd", "out", str(osd)) if how == "out" else ("osd", "crush", "reweight", f"osd.{osd}", "0")))
    try:
        cluster.wait_for(lambda: all(osds_of(cluster)[osd][_weight(how)] == 0 for osd in osds))
        if how == "out":  # the mgr counts it until it hears of the change
            cluster.wait_for(lambda: all(osds_of(cluster)[osd]["kb"] == 0 for osd in osds))
        cluster.wait_for(lambda: mons_have_heard(cluster))
        yield
    finally:
        for osd in osds:
            back = ("osd", "in", str(osd)) if how == "out" else ("osd", "crush", "reweight", f"osd.{osd}", "1")
            cluster.ceph(*back)
        cluster.wait_for(lambda: all(osds_of(cluster)[osd]["kb"] for osd in osds) and mons_have_heard(cluster))


def mons_have_heard(cluster: CephCluster) -> bool:
    """Tell whether the mons, who answer `df`, have heard of the mgr, who answers `osd df`, what the OSDs come to."""
    return bool(cluster.ceph("df")["stats"]["total_bytes"] == cluster.bytes_of(range(cluster.osds)))


def _weight(how: str) -> str:
    return "reweight" if how == "out" else "crush_weight"


@pytest.mark.parametrize("how", ["out", "no weight"])
async def test_an_osd_that_is_given_no_data_counts_nothing(cluster: CephCluster, how: str) -> None:
    with without_data(cluster, (3,), how):
        report = await compared(cluster, left_out=(3,))
        assert reasons(report) == []
        stats = cluster.ceph("df")["stats"]
        assert report.cluster.value is not None
        assert report.cluster.value.totalCapacity == stats["total_bytes"]


@pytest.mark.parametrize("how", ["out", "no weight"])
async def test_a_pool_whose_osds_are_all_given_no_data_has_a_reason(cluster: CephCluster, how: str) -> None:
    with without_data(cluster, (1, 3), how):
        report = await compared(cluster, left_out=(1, 3), pool="ssd")
        assert reasons(report) == [ReasonCode.POOL_WITHOUT_OSDS]
        assert pools_in(report)["ssd"].availableCapacity == 0


async def test_an_osd_that_takes_less_data_counts_whole(cluster: CephCluster) -> None:
    cluster.ceph("osd", "reweight", "1", "0.5")
    try:
        cluster.wait_for(lambda: osds_of(cluster)[1]["reweight"] == 0.5)
        assert reasons(await compared(cluster)) == []
    finally:
        cluster.ceph("osd", "reweight", "1", "1")


@contextmanager
def ratios(cluster: CephCluster, near: float, backfill: float, full: float) -> Iterator[None]:
    """Have OSDs called full at other shares than the usual ones."""
    for name, value in (("nearfull", near), ("backfillfull", backfill), ("full", full)):
        cluster.ceph("osd", f"set-{name}-ratio", str(value))
    try:
        yield
    finally:
        for name, usual in (("full", FULL_RATIO), ("backfillfull", 0.9), ("nearfull", 0.85)):
            cluster.ceph("osd", f"set-{name}-ratio", str(usual))
        cluster.wait_for(lambda: not {"OSD_FULL", "OSD_NEARFULL"} & checks(cluster))


def checks(cluster: CephCluster) -> set[str]:
    return set(cluster.ceph("status")["health"]["checks"])


def full_pools(cluster: CephCluster) -> set[str]:
    return {name for name, pool in cluster.pools().items() if "full" in pool["flags_names"].split(",")} & POOLS.keys()


async def test_near_full_is_told_by_the_checks_alone(cluster: CephCluster) -> None:
    least = min(osd["kb_used"] / osd["kb"] for osd in osds_of(cluster).values())
    with ratios(cluster, 0.5 * least, 0.9, FULL_RATIO):
        cluster.wait_for(lambda: {"OSD_NEARFULL", "POOL_NEARFULL"} <= checks(cluster))
        report = await compared(cluster)
        assert reasons(report) == []
        assert report.cluster.value is not None
        assert {"OSD_NEARFULL", "POOL_NEARFULL"} <= {check.code for check in report.cluster.value.checks}
        assert not any(pool.full for pool in pools_in(report).values())


async def test_full_osds_leave_no_room_in_any_pool(cluster: CephCluster) -> None:
    least = min(osd["kb_used"] / osd["kb"] for osd in osds_of(cluster).values())  # each release takes some for itself
    with ratios(cluster, 0.3 * least, 0.5 * least, 0.7 * least):
        cluster.wait_for(lambda: full_pools(cluster) == POOLS.keys() - WITHOUT.keys())
        report = await compared(cluster)
        assert reasons(report) == ["ClusterFull", "PoolFull"]
        for name, pool in pools_in(report).items():
            assert (pool.availableCapacity, pool.poolMaxAvail) == (0, 0)
            assert pool.full is (name not in WITHOUT)
