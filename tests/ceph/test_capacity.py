"""Capacity from the answers of a live cluster, and from small answers in the forms of other releases."""

import pytest

from bs_agent.agent.storages import ceph_answers
from bs_agent.agent.storages.ceph_answers import OsdPool, PoolAnswers
from bs_agent.agent.storages.ceph_capacity import (
    CapacityPolicy,
    cluster_of,
    lacks_osds,
    layout_of,
    pools_of,
    silent_osds,
)
from bs_agent.contract.report import Pool
from tests.ceph.captured import RELEASES, answer, pool_answers

OSD_BYTES = 1 << 30
MIB = 1 << 20


def pools(release: str, state: str = "healthy", policy: CapacityPolicy = "osd_bytes") -> dict[str, Pool]:
    return {pool.name: pool for pool in pools_of(pool_answers(release, state), policy)}


@pytest.mark.parametrize("release", RELEASES)
class TestLiveCluster:
    def test_the_cluster_has_the_raw_bytes_of_df(self, release: str) -> None:
        status = answer(release, "healthy", "status", ceph_answers.STATUS)
        df = answer(release, "healthy", "df", ceph_answers.DF)
        cluster = cluster_of(status, df, "open-source")
        assert cluster.fsid == status.fsid
        assert (cluster.totalCapacity, cluster.health, cluster.checks) == (4 * OSD_BYTES, "HEALTH_OK", [])
        assert 0 < cluster.availableCapacity < cluster.totalCapacity
        assert cluster.mgrActive
        assert cluster.vendor == "open-source"

    def test_a_dead_mgr_and_a_full_pool_show_among_the_checks(self, release: str) -> None:
        status = answer(release, "broken", "status", ceph_answers.STATUS)
        cluster = cluster_of(status, answer(release, "broken", "df", ceph_answers.DF), "open-source")
        assert not cluster.mgrActive
        assert [(check.code, check.severity) for check in cluster.checks] == [
            ("MGR_DOWN", "HEALTH_WARN"),
            ("MON_DOWN", "HEALTH_WARN"),
            ("POOL_FULL", "HEALTH_WARN"),
        ]
        assert cluster.checks[1].summary == "1/3 mons down, quorum a,b"

    @pytest.mark.parametrize(
        ("name", "policy", "layout", "osds"),
        [
            ("size-2", "Copy", (2, None, None), [0, 1, 2]),
            ("size-3", "Copy", (3, None, None), [0, 1, 2]),
            ("coded", "ErasureCode", (3, 2, 1), [0, 1, 2]),
            ("spinning", "Copy", (2, None, None), [0, 1]),
            ("archive", "Copy", (1, None, None), [3]),
        ],
    )
    def test_a_pool_has_the_osd_bytes_that_its_rule_reaches(
        self, release: str, name: str, policy: str, layout: tuple[int, int | None, int | None], osds: list[int]
    ) -> None:
        pool = pools(release)[name]
        size, k, m = layout
        share = k / size if k else 1 / size
        answers = pool_answers(release, "healthy").osd_df.nodes
        available = sum(osd.kb_avail for osd in answers if osd.id in osds) * 1024
        used = sum(osd.kb_used for osd in answers if osd.id in osds) * 1024
        assert (pool.securityPolicy, pool.replicatedSize, pool.k, pool.m) == (policy, size, k, m)
        assert pool.relatedOsds == osds
        assert pool.diskUtilization == pytest.approx(share)
        assert pool.totalCapacity == pytest.approx(len(osds) * OSD_BYTES * share, abs=1)
        assert pool.availableCapacity == pytest.approx(available * share, abs=1)
        assert pool.usedCapacity == pytest.approx(used * share, abs=1)
        assert (pool.poolStored, pool.full) == (6 * MIB, False)
        # Ceph keeps the full ratio back, and counts by the fullest OSD.
        assert 0.9 < pool.poolMaxAvail / pool.availableCapacity < 1.0

    def test_rule_root_class_and_failure_domain_are_told(self, release: str) -> None:
        found = pools(release)
        told = {
            name: (pool.crushRule, pool.crushRoot, pool.deviceClass, pool.failureDomain) for name, pool in found.items()
        }
        assert told["size-2"] == ("replicated_rule", "default", None, "osd")
        assert told["spinning"] == ("spinning", "default", "hdd", "osd")
        assert told["archive"] == ("archive", "archive", None, "host")
        assert told["coded"] == ("coded", "default", None, "osd")

    def test_a_quota_lowers_max_avail_and_not_the_osd_bytes(self, release: str) -> None:
        found = pools(release)
        limited, unlimited = found["limited"], found["size-2"]
        assert (limited.quotaBytes, limited.quotaObjects) == (8 * MIB, 0)
        assert limited.poolMaxAvail == 2 * MIB
        assert limited.availableCapacity == unlimited.availableCapacity

    def test_a_pool_over_its_quota_is_full(self, release: str) -> None:
        found = pools(release, "broken")
        limited = found.pop("limited")
        assert (limited.full, limited.availableCapacity, limited.poolMaxAvail) == (True, 0, 0)
        assert (limited.usedCapacity, limited.poolStored) == (found["size-2"].usedCapacity, 12 * MIB)
        assert not any(pool.full for pool in found.values())

    def test_the_policy_max_avail_changes_one_field(self, release: str) -> None:
        ours, theirs = pools(release), pools(release, policy="max_avail")
        for name, pool in theirs.items():
            assert pool.availableCapacity == pool.poolMaxAvail
            assert pool.model_copy(update={"availableCapacity": ours[name].availableCapacity}) == ours[name]


def old_answers(**changes: str) -> PoolAnswers:
    """Answers with no more than what the releases before 12 gave, `-nan` included."""
    texts = {
        "df": '{"stats": {"total_bytes": 0, "total_avail_bytes": 0}, "pools": [{"name": "a", "id": 7, "stats": {}}]}',
        "osd_dump": '{"pools": [{"pool": 7, "pool_name": "a", "type": 1, "size": 3, "crush_ruleset": 0}]}',
        "rules": '[{"rule_id": 0, "rule_name": "r", "steps": [{"op": "take", "item_name": "default"}]}]',
        "tree": '{"nodes": [{"id": -1, "name": "default", "type": "root", "reweight": -nan, "children": []}]}',
        "osd_df": '{"nodes": [], "summary": {"average_utilization": -nan, "dev": nan, "note": "a \\"-nan\\" in text"}}',
        **changes,
    }
    return PoolAnswers(
        df=ceph_answers.DF.read(texts["df"]),
        osd_dump=ceph_answers.OSD_DUMP.read(texts["osd_dump"]),
        rules=ceph_answers.CRUSH_RULES.read(texts["rules"]),
        tree=ceph_answers.OSD_TREE.read(texts["tree"]),
        osd_df=ceph_answers.OSD_DF.read(texts["osd_df"]),
    )


def test_a_cluster_without_osds_has_nothing_and_is_not_full() -> None:
    (pool,) = pools_of(old_answers(), "osd_bytes")
    assert (pool.totalCapacity, pool.availableCapacity, pool.usedCapacity, pool.poolMaxAvail) == (0, 0, 0, 0)
    assert (pool.relatedOsds, pool.full, pool.crushRoot, pool.failureDomain) == ([], False, "default", "")


def test_the_full_flag_of_the_cluster_fills_every_pool() -> None:
    dump = (
        '{"flags": "sortbitwise,full", "pools": [{"pool": 7, "pool_name": "a", "type": 1, "size": 3, "crush_rule": 0}]}'
    )
    assert [pool.full for pool in pools_of(old_answers(osd_dump=dump), "osd_bytes")] == [True]
    near = dump.replace("full", "nearfull")
    assert [pool.full for pool in pools_of(old_answers(osd_dump=near), "osd_bytes")] == [False]


def test_a_pool_that_is_newer_than_the_rules_and_df_is_there_without_capacity() -> None:
    (pool,) = pools_of(old_answers(df='{"stats": {}}', rules="[]"), "osd_bytes")
    assert (pool.crushRule, pool.totalCapacity, pool.poolMaxAvail, pool.full) == ("0", 0, 0, False)


def test_a_rule_may_take_two_roots_two_classes_and_a_single_osd() -> None:
    tree = """{"nodes": [
        {"id": -1, "name": "fast", "type": "root", "children": [-2]},
        {"id": -2, "name": "left", "type": "host", "children": [0, 1]},
        {"id": -3, "name": "slow", "type": "root", "children": [2, 9]},
        {"id": 0, "name": "osd.0", "type": "osd", "device_class": "ssd"},
        {"id": 1, "name": "osd.1", "type": "osd", "device_class": "hdd"},
        {"id": 2, "name": "osd.2", "type": "osd", "device_class": "hdd"},
        {"id": 3, "name": "osd.3", "type": "osd"}]}"""
    rules = """[{"rule_id": 0, "rule_name": "mixed", "steps": [
        {"op": "set_chooseleaf_tries", "num": 5},
        {"op": "take", "item_name": "fast~ssd"}, {"op": "chooseleaf_firstn", "num": 1, "type": "host"}, {"op": "emit"},
        {"op": "take", "item_name": "slow~hdd"}, {"op": "chooseleaf_firstn", "num": -1, "type": "rack"}, {"op": "emit"},
        {"op": "take", "item_name": "osd.3"}, {"op": "emit"}]}]"""
    (pool,) = pools_of(old_answers(tree=tree, rules=rules), "osd_bytes")
    assert (pool.relatedOsds, pool.crushRoot, pool.deviceClass) == ([0, 2, 3], "fast,slow,osd.3", "ssd,hdd")
    assert pool.failureDomain == "rack"


@pytest.mark.parametrize(
    ("profile", "size", "data"),
    [
        ({"k": "4", "m": "2"}, 6, 4),
        ({"plugin": "lrc", "k": "4", "m": "2", "l": "3"}, 8, 4),
        ({"plugin": "lrc", "mapping": "__DD__DD"}, 8, 4),
    ],
)
def test_the_parts_with_data_come_from_the_profile(profile: dict[str, str], size: int, data: int) -> None:
    pool = OsdPool(pool=1, pool_name="a", type=3, size=size, crush_rule=0, erasure_code_profile="p")
    assert layout_of(pool, {"p": profile}) == (data, size)


def test_a_profile_that_tells_nothing_is_an_error_with_the_name_of_the_pool() -> None:
    pool = OsdPool(pool=1, pool_name="images", type=3, size=6, crush_rule=0, erasure_code_profile="p")
    with pytest.raises(ValueError, match="pool images: profile 'p'"):
        layout_of(pool, {})


@pytest.mark.parametrize("release", RELEASES)
def test_a_settled_mgr_has_heard_of_all_osds(release: str) -> None:
    df = answer(release, "healthy", "df", ceph_answers.DF)
    assert not lacks_osds(answer(release, "healthy", "status", ceph_answers.STATUS), df)
    assert silent_osds(answer(release, "healthy", "osd_df", ceph_answers.OSD_DF)) == []


@pytest.mark.parametrize(
    ("counts", "stats", "lacks"),
    [
        # total, up, in; then what the mgr has heard of
        ((3, 3, 3), '"num_osds": 0', True),
        ((3, 3, 3), '"num_osds": 2', True),
        ((3, 2, 3), '"num_osds": 2', False),
        ((3, 2, 2), '"num_osds": 1', False),
        ((0, 0, 0), '"num_osds": 0', False),
        ((3, 3, 3), '"total_bytes": 0', True),
        ((3, 3, 3), '"total_bytes": 1', False),
        ((0, 0, 0), '"total_bytes": 0', False),
    ],
)
@pytest.mark.parametrize("form", ['{"osdmap": %s}', "%s"], ids=["14", "15 and later"])
def test_a_mgr_that_just_started_is_told(counts: tuple[int, int, int], stats: str, lacks: bool, form: str) -> None:
    osdmap = form % '{"num_osds": %d, "num_up_osds": %d, "num_in_osds": %d}' % counts
    status = ceph_answers.STATUS.read(f'{{"fsid": "f", "health": {{"status": "HEALTH_OK"}}, "osdmap": {osdmap}}}')
    assert lacks_osds(status, ceph_answers.DF.read(f'{{"stats": {{{stats}}}}}')) is lacks


def test_osds_that_serve_and_have_no_size_are_not_heard_of_yet() -> None:
    osd_df = ceph_answers.OSD_DF.read("""{"nodes": [
        {"id": 0, "status": "up", "reweight": 1, "kb": 1024}, {"id": 1, "status": "up", "reweight": 1, "kb": 0},
        {"id": 2, "status": "up", "reweight": 0, "kb": 0}, {"id": 3, "status": "down", "reweight": 1, "kb": 0},
        {"id": 4, "kb": 0}]}""")
    assert silent_osds(osd_df) == [1]


@pytest.mark.parametrize("text", ["", "{", "[]", "nan", '{"pools": 3}', '{"stats": {"total_bytes": "many"}}'])
def test_what_is_no_answer_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        ceph_answers.DF.read(text)
