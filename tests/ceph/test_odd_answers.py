"""Numbers that Ceph itself gets wrong, and clusters that it describes twice: none is below zero or above its total."""

import json
from typing import Any

import pytest

from bs_agent.agent.storages import ceph_answers
from bs_agent.agent.storages.ceph import pool_reason
from bs_agent.agent.storages.ceph_answers import PoolAnswers
from bs_agent.agent.storages.ceph_capacity import cluster_of, pools_of, silent_osds
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import Pool
from tests.ceph.captured import RELEASES, pool_answers

LARGEST = 2**63 - 1
KIB = 1024
UP = {"status": "up", "reweight": 1}


def _answers(osd_df: list[dict[str, Any]], **more: Any) -> PoolAnswers:
    """A pool of two copies on the two OSDs of each of two roots."""
    steps = more.get("steps", [{"op": "take", "item_name": "default"}])
    said: dict[str, Any] = {
        "df": {"stats": {}, "pools": [{"id": 1, "stats": more.get("stats", {})}]},
        "osd_dump": {
            "pools": [{"pool": 1, "pool_name": "a", "type": 1, "size": 2, "crush_rule": 0, **more.get("pool", {})}],
            "erasure_code_profiles": more.get("profiles", {}),
        },
        "rules": [{"rule_id": 0, "rule_name": "r", "steps": steps}],
        "tree": {
            "nodes": more.get("nodes", [])
            or [
                {"id": -1, "name": "default", "type": "root", "children": [0, 1]},
                {"id": -2, "name": "second", "type": "root", "children": [1, 0]},
                *({"id": number, "name": f"osd.{number}", "type": "osd"} for number in (0, 1, 1, 0)),
            ]
        },
        "osd_df": {"nodes": osd_df},
    }
    return PoolAnswers(
        df=ceph_answers.DF.read(json.dumps(said["df"])),
        osd_dump=ceph_answers.OSD_DUMP.read(json.dumps(said["osd_dump"])),
        rules=ceph_answers.CRUSH_RULES.read(json.dumps(said["rules"])),
        tree=ceph_answers.OSD_TREE.read(json.dumps(said["tree"])),
        osd_df=ceph_answers.OSD_DF.read(json.dumps(said["osd_df"])),
    )


def _pool(osd_df: list[dict[str, Any]], **more: Any) -> Pool:
    (pool,) = pools_of(_answers(osd_df, **more), "osd_bytes")
    return pool


def test_an_osd_that_is_listed_below_two_roots_counts_once() -> None:
    osds = [{"id": number, "kb": 100, "kb_used": 40, "kb_avail": 60, **UP} for number in (0, 1)]
    pool = _pool(osds + osds[::-1] + osds[:1])
    assert (pool.totalCapacity, pool.usedCapacity, pool.availableCapacity) == (100 * KIB, 40 * KIB, 60 * KIB)
    assert pool.relatedOsds == [0, 1]


@pytest.mark.parametrize("release", RELEASES)
def test_a_live_answer_that_lists_all_osds_twice_means_the_same(release: str) -> None:
    answers = pool_answers(release, "healthy")
    twice = answers.osd_df.model_copy(update={"nodes": answers.osd_df.nodes * 2})
    doubled = PoolAnswers(answers.df, answers.osd_dump, answers.rules, answers.tree, twice)
    assert pools_of(doubled, "osd_bytes") == pools_of(answers, "osd_bytes")


def test_an_osd_that_nobody_has_heard_of_is_named_once() -> None:
    silent = {"id": 0, "kb": 0, **UP}
    assert silent_osds(ceph_answers.OSD_DF.read(json.dumps({"nodes": [silent, silent]}))) == [0]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"kb_avail": -1024}, (100, 40, 0)),
        ({"kb_avail": 2**64 - 1024}, (100, 40, 0)),
        ({"kb_avail": 101}, (100, 40, 100)),
        ({"kb_used": -1}, (100, 0, 60)),
        ({"kb_used": 2**64 - 1}, (100, 0, 60)),
        ({"kb_used": 200}, (100, 100, 60)),
        ({"kb": -100}, (0, 0, 0)),
        ({"kb_avail": None}, (100, 40, 0)),
        ({"kb_avail": 59.9}, (100, 40, 59)),
        ({"kb_avail": 1e300}, (100, 40, 0)),
        ({"kb_avail": "60"}, (100, 40, 60)),
    ],
)
def test_no_counter_of_an_osd_is_below_zero_or_above_its_size(
    numbers: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    pool = _pool([{"id": 0, "kb": 100, "kb_used": 40, "kb_avail": 60, **UP, **numbers}])
    total, used, available = (number * KIB // 2 for number in expected)
    assert (pool.totalCapacity, pool.usedCapacity, pool.availableCapacity) == (total, used, available)


def test_a_sum_that_the_protocol_cannot_say_is_the_largest_that_it_can() -> None:
    osds = [{"id": number, "kb": 2**62, "kb_avail": 2**62, **UP} for number in (0, 1)]
    pool = _pool(osds)
    assert (pool.totalCapacity, pool.availableCapacity) == (LARGEST, LARGEST)


@pytest.mark.parametrize(
    ("stats", "quota", "max_avail", "stored"),
    [
        ({"max_avail": 2**64 - 4096, "stored": 5}, 0, 0, 5),
        ({"max_avail": -4096, "stored": -5}, 0, 0, 0),
        ({"max_avail": 100, "stored": 2**64 - 5}, 40, 40, 0),
        ({"max_avail": 2**63 - 1, "stored": 0}, 0, 2**63 - 1, 0),
        ({"max_avail": 100, "stored": 5}, -1, 100, 5),
        ({}, 0, 0, 0),
    ],
)
def test_no_number_of_a_pool_is_below_zero(stats: dict[str, int], quota: int, max_avail: int, stored: int) -> None:
    pool = _pool([], stats=stats, pool={"quota_max_bytes": quota})
    assert (pool.poolMaxAvail, pool.poolStored, pool.quotaBytes) == (max_avail, stored, max(quota, 0))


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({"total_bytes": 100, "total_avail_bytes": -5}, (100, 0)),
        ({"total_bytes": 100, "total_avail_bytes": 2**64 - 5}, (100, 0)),
        ({"total_bytes": 100, "total_avail_bytes": 101}, (100, 100)),
        ({"total_bytes": -1, "total_avail_bytes": 5}, (0, 0)),
        ({"total_bytes": 2**64, "total_avail_bytes": 5}, (0, 0)),
        ({"total_bytes": None, "total_avail_bytes": None}, (0, 0)),
    ],
)
def test_no_number_of_the_cluster_is_below_zero_or_above_its_total(
    stats: dict[str, int], expected: tuple[int, int]
) -> None:
    status = ceph_answers.STATUS.read('{"fsid": "f", "health": {"status": "HEALTH_OK"}}')
    cluster = cluster_of(status, ceph_answers.DF.read(json.dumps({"stats": stats})), "open-source")
    assert (cluster.totalCapacity, cluster.availableCapacity) == expected


@pytest.mark.parametrize("profile", [{}, {"k": "many"}, {"k": "9" * 5000}, {"k": "-2"}, {"k": "3"}, {"k": "0"}])
def test_a_pool_that_cannot_be_described_takes_no_other_along(profile: dict[str, str]) -> None:
    answers = _answers([], pool={"type": 3, "erasure_code_profile": "p"}, profiles={"p": profile})
    assert pools_of(answers, "osd_bytes", "b") == []
    for needed in ("a", None):
        with pytest.raises(ValueError, match="pool a: profile 'p'"):
            pools_of(answers, "osd_bytes", needed)


def test_a_pool_whose_name_no_report_can_hold_takes_no_other_along() -> None:
    answers = _answers([], pool={"pool_name": "x" * 300})
    assert pools_of(answers, "osd_bytes", "b") == []
    with pytest.raises(ValueError, match=r"^pool x{100}: no report can hold it: field\[name\]: .* at most 255 .*$"):
        pools_of(answers, "osd_bytes", "x" * 300)


def test_a_rule_that_no_osd_fits_is_a_reason_of_its_own() -> None:
    pools = pools_of(_answers([], steps=[{"op": "take", "item_name": "default~nvme"}]), "osd_bytes")
    assert (pools[0].totalCapacity, pools[0].relatedOsds) == (0, [])
    reason = pool_reason(pools, "a")
    assert reason
    assert (reason.code, reason.details) == (ReasonCode.POOL_WITHOUT_OSDS, "no OSD fits the rule r of pool a")


@pytest.mark.parametrize(
    ("first", "second", "counted"),
    [
        ({}, {"reweight": 0}, 1),
        ({}, {"crush_weight": 0}, 1),
        ({"reweight": 0}, {"crush_weight": 0}, 0),
        ({"reweight": 0.1}, {"crush_weight": None}, 2),
    ],
)
def test_an_osd_that_is_given_no_data_counts_nothing(
    first: dict[str, Any], second: dict[str, Any], counted: int
) -> None:
    osds = [{"id": number, "kb": 100, **UP, **given} for number, given in enumerate((first, second))]
    pool = _pool(osds)
    assert (pool.totalCapacity, pool.relatedOsds) == (counted * 100 * KIB // 2, [0, 1])
    reason = pool_reason([pool], "a")
    assert (reason.code if reason else None) == (None if counted else ReasonCode.POOL_WITHOUT_OSDS)


@pytest.mark.parametrize("weights", [(0, 1), (1, 0)])
def test_an_osd_that_has_a_weight_below_one_of_its_roots_counts(weights: tuple[int, int]) -> None:
    assert _pool([{"id": 0, "kb": 100, "crush_weight": weight, **UP} for weight in weights]).totalCapacity == 50 * KIB


def test_buckets_that_hold_each_other_come_to_an_end() -> None:
    nodes = [
        {"id": -1, "name": "default", "type": "root", "children": [-2, 0]},
        {"id": -2, "name": "host", "type": "host", "children": [-1, 0]},
        {"id": 0, "name": "osd.0", "type": "osd"},
    ]
    assert _pool([{"id": 0, "kb": 8, **UP}], nodes=nodes).relatedOsds == [0]


def test_a_reweight_that_has_no_value_is_whole() -> None:
    read = ceph_answers.OSD_DF.read('{"nodes": [{"id": 0, "status": "up", "reweight": -nan, "kb": 1}]}')
    assert read.nodes[0].reweight == 1.0
