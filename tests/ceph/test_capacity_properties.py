"""What holds for the capacity of every cluster: any tree, any rules, sizes, codes, classes, roots and quotas."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bs_agent.agent.storages.ceph_answers import (
    Df,
    OsdBytes,
    OsdDf,
    OsdDump,
    OsdPool,
    PoolAnswers,
    PoolStats,
    PoolUsage,
    Rule,
    RuleStep,
    Tree,
    TreeNode,
)
from bs_agent.agent.storages.ceph_capacity import pools_of
from bs_agent.contract.report import Pool

CLASSES = ("hdd", "ssd", "nvme")
ROOTS = ("default", "archive")
KIB = st.integers(0, 1 << 44)


@st.composite
def osds(draw: st.DrawFn, number: int) -> OsdBytes:
    total = draw(KIB)
    used = draw(st.integers(0, total))
    return OsdBytes(id=number, kb=total, kb_used=used, kb_avail=total - used)


@st.composite
def pools(draw: st.DrawFn, number: int, rules: Sequence[Rule]) -> OsdPool:
    rule = draw(st.sampled_from(rules))
    coded = draw(st.booleans())
    size = draw(st.integers(2, 12) if coded else st.integers(1, 10))
    profile = f"k={draw(st.integers(1, size - 1))}" if coded else ""
    quota = draw(st.just(0) | st.integers(1, 1 << 50))
    return OsdPool(
        pool=number, pool_name=f"pool-{number}", type=3 if coded else 1, size=size, erasure_code_profile=profile,
        crush_rule=rule.rule_id, quota_max_bytes=quota, quota_max_objects=draw(st.integers(0, 3)),
        flags_names=draw(st.sampled_from(["hashpspool", "hashpspool,full", "hashpspool,nearfull", ""])),
    )  # fmt: skip


@st.composite
def clusters(draw: st.DrawFn) -> PoolAnswers:
    count = draw(st.integers(0, 8))
    where = [(draw(st.sampled_from(ROOTS)), draw(st.sampled_from(CLASSES))) for _ in range(count)]
    nodes = [TreeNode(id=osd, name=f"osd.{osd}", type="osd", device_class=kind) for osd, (_, kind) in enumerate(where)]
    for number, root in enumerate(ROOTS):
        # A host between root and OSDs, as in real trees.
        held = [osd for osd, (its_root, _) in enumerate(where) if its_root == root]
        nodes.append(TreeNode(id=-10 - number, name=f"host-{root}", type="host", children=held))
        nodes.append(TreeNode(id=-1 - number, name=root, type="root", children=[-10 - number]))
    takes = [*ROOTS, *(f"{root}~{kind}" for root in ROOTS for kind in CLASSES), "nowhere"]
    rules = [
        Rule(rule_id=number, rule_name=f"rule-{number}", steps=[RuleStep(op="take", item_name=take)])
        for number, take in enumerate(takes)
    ]
    dump = [draw(pools(number, rules)) for number in range(draw(st.integers(0, 5)))]
    stats = [
        PoolUsage(id=pool.pool, stats=PoolStats(stored=draw(KIB), objects=draw(st.integers(0, 4)), max_avail=draw(KIB)))
        for pool in dump
    ]
    return PoolAnswers(
        df=Df.model_validate({"stats": {}, "pools": stats}),
        osd_dump=OsdDump(pools=dump, erasure_code_profiles={f"k={k}": {"k": str(k)} for k in range(1, 12)}),
        rules=rules,
        tree=Tree(nodes=draw(st.permutations(nodes))),
        osd_df=OsdDf(nodes=draw(st.permutations([draw(osds(number)) for number in range(count)]))),
    )


def described(answers: PoolAnswers) -> list[tuple[OsdPool, Pool]]:
    return list(zip(answers.osd_dump.pools, pools_of(answers, "osd_bytes"), strict=True))


@given(clusters())
def test_a_pool_reaches_exactly_the_osds_of_its_root_and_class(answers: PoolAnswers) -> None:
    nodes = {node.name: node for node in answers.tree.nodes}
    for asked, pool in described(answers):
        root, _, kind = answers.rules[asked.crush_rule].steps[0].item_name.partition("~")
        below = nodes[f"host-{root}"].children if f"host-{root}" in nodes else []
        expected = [osd for osd in below if not kind or nodes[f"osd.{osd}"].device_class == kind]
        assert pool.relatedOsds == sorted(expected)
        assert (pool.crushRoot, pool.deviceClass) == (root, kind or None)


@given(clusters())
def test_capacities_are_the_share_of_those_osds_that_holds_data(answers: PoolAnswers) -> None:
    by_id = {osd.id: osd for osd in answers.osd_df.nodes}
    for asked, pool in described(answers):
        data = int(asked.erasure_code_profile[2:]) if asked.type == 3 else 1
        reached = [by_id[osd] for osd in pool.relatedOsds]
        raw = sum(osd.kb for osd in reached) * 1024
        assert pool.totalCapacity == raw * data // asked.size
        assert pool.usedCapacity == sum(osd.kb_used for osd in reached) * 1024 * data // asked.size
        assert 0 <= pool.usedCapacity <= pool.totalCapacity <= raw
        assert pool.usedCapacity + pool.availableCapacity <= pool.totalCapacity
        assert (pool.k, pool.m) == ((data, asked.size - data) if asked.type == 3 else (None, None))


@given(clusters())
def test_a_full_pool_has_nothing_available_and_another_keeps_to_its_quota(answers: PoolAnswers) -> None:
    stats = {usage.id: usage.stats for usage in answers.df.pools}
    for asked, pool in described(answers):
        said = stats[asked.pool]
        flagged = asked.flags_names == "hashpspool,full"
        over = 0 < asked.quota_max_bytes <= said.stored or 0 < asked.quota_max_objects <= said.objects
        assert pool.full is (flagged or over)
        if pool.full:
            assert (pool.availableCapacity, pool.poolMaxAvail) == (0, 0)
            continue
        assert 0 <= pool.poolMaxAvail <= said.max_avail
        if asked.quota_max_bytes:
            assert pool.poolStored + pool.poolMaxAvail <= max(asked.quota_max_bytes, pool.poolStored)
        else:
            assert pool.poolMaxAvail == said.max_avail


@given(clusters())
def test_pools_on_one_root_share_its_bytes_whatever_their_number(answers: PoolAnswers) -> None:
    seen: dict[tuple[str, str | None, float], int] = {}
    for _, pool in described(answers):
        share = (pool.crushRoot, pool.deviceClass, pool.diskUtilization)
        assert seen.setdefault(share, pool.totalCapacity) == pool.totalCapacity


@given(clusters())
def test_the_policy_max_avail_says_what_ceph_says(answers: PoolAnswers) -> None:
    for ours, theirs in zip(pools_of(answers, "osd_bytes"), pools_of(answers, "max_avail"), strict=True):
        assert theirs == ours.model_copy(update={"availableCapacity": ours.poolMaxAvail})
