"""The capacity of a Ceph cluster and of its pools: the parsed answers in, the report out, no I/O.

A pool's bytes are those of the OSDs that its CRUSH rule reaches, times the share that holds data: 1/size or k/(k+m).
Ceph's own `max_avail`, lowered by a quota, stands beside them.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from bs_agent.agent.storages.ceph_answers import (
    Df,
    OsdDf,
    OsdPool,
    PoolAnswers,
    PoolStats,
    Rule,
    Status,
    Tree,
    TreeNode,
)
from bs_agent.contract.report import Cluster, HealthCheck, Pool

CapacityPolicy = Literal["osd_bytes", "max_avail"]
ERASURE = 3


class Layout(NamedTuple):
    """How a pool spreads an object: `data` of `total` parts hold it, the others protect it."""

    data: int
    total: int


class Placement(NamedTuple):
    """What a CRUSH rule says: where it starts, which devices it takes, what it keeps apart, and the OSDs it reaches."""

    rule: str
    root: str
    device_class: str | None
    failure_domain: str
    osds: list[int]


class Usage(NamedTuple):
    """What the OSDs of a pool hold and can hold of its data, in bytes."""

    used: int
    available: int
    total: int


class Limits(NamedTuple):
    """What Ceph itself says that a pool holds and may still take, in bytes."""

    stored: int
    max_avail: int
    full: bool


def cluster_of(status: Status, df: Df, vendor: str) -> Cluster:
    """Describe the whole cluster."""
    checks = [
        HealthCheck(code=code, severity=check.severity, summary=check.summary.message)
        for code, check in sorted(status.health.checks.items())
    ]
    return Cluster(
        fsid=status.fsid,
        totalCapacity=df.stats.total_bytes,
        availableCapacity=df.stats.total_avail_bytes,
        health=status.health.status,
        checks=checks,
        mgrActive=status.mgrmap.available and "MGR_DOWN" not in status.health.checks,
        vendor=vendor,
    )


def lacks_osds(status: Status, df: Df) -> bool:
    """Tell whether the mgr, after its start, has not heard of all OSDs yet: then its sums are too low."""
    counts = status.osdmap.osdmap or status.osdmap
    # So many at least are both up and in.
    serving = counts.num_up_osds + counts.num_in_osds - counts.num_osds
    heard_of = df.stats.num_osds if df.stats.num_osds is not None else counts.num_osds * (df.stats.total_bytes > 0)
    return serving > heard_of


def silent_osds(osd_df: OsdDf) -> list[int]:
    """Return the OSDs that serve and that the mgr has not heard of yet."""
    return [osd.id for osd in osd_df.nodes if osd.status == "up" and osd.reweight > 0 and osd.kb == 0]


def pools_of(answers: PoolAnswers, policy: CapacityPolicy) -> list[Pool]:
    """Describe every pool."""
    placements = {rule.rule_id: placement_of(rule, answers.tree) for rule in answers.rules}
    stats = {pool.id: pool.stats for pool in answers.df.pools}
    # Before Ceph 14 one full OSD stops all pools by a flag of the whole cluster.
    cluster_full = "full" in answers.osd_dump.flags.split(",")
    pools = []
    for pool in answers.osd_dump.pools:
        # A rule that was made after the rules were read reaches nothing that we know of, for this one report.
        placement = placements.get(pool.crush_rule, Placement(str(pool.crush_rule), "", None, "", []))
        layout = layout_of(pool, answers.osd_dump.erasure_code_profiles)
        limits = _limits(pool, stats.get(pool.pool, PoolStats()), cluster_full)
        pools.append(_pool(pool, placement, layout, _usage(answers, placement, layout), limits))
    if policy == "max_avail":
        return [pool.model_copy(update={"availableCapacity": pool.poolMaxAvail}) for pool in pools]
    return pools


def layout_of(pool: OsdPool, profiles: dict[str, dict[str, str]]) -> Layout:
    """Return how a pool spreads an object.

    Raises:
        ValueError: it is erasure coded and its profile does not say how.
    """
    if pool.type != ERASURE:
        return Layout(1, max(pool.size, 1))
    profile = profiles.get(pool.erasure_code_profile, {})
    # A locally repairable code may be given by a mapping, where each D is a part with data; its size has local parity.
    data = int(profile["k"]) if "k" in profile else profile.get("mapping", "").count("D")
    if not 0 < data <= pool.size:
        raise ValueError(
            f"pool {pool.pool_name}: profile {pool.erasure_code_profile!r} does not tell the parts with data"
        )
    return Layout(data, pool.size)


def placement_of(rule: Rule, tree: Tree) -> Placement:
    """Return where a rule puts data; `default~hdd` means the devices of class hdd below `default`."""
    nodes = {node.id: node for node in tree.nodes}
    by_name = {node.name: node for node in tree.nodes}
    osds: set[int] = set()
    roots: list[str] = []
    classes: list[str] = []
    failure_domain = ""
    for step in rule.steps:
        if step.op == "take":
            root, _, wanted = step.item_name.partition("~")
            roots.append(root)
            classes += [wanted] if wanted else []
            below = _osds_below(by_name.get(root), nodes)
            osds.update(osd.id for osd in below if not wanted or osd.device_class == wanted)
        elif step.op.startswith("choose") and step.type:
            failure_domain = step.type
    device_class = ",".join(dict.fromkeys(classes)) or None
    return Placement(rule.rule_name, ",".join(dict.fromkeys(roots)), device_class, failure_domain, sorted(osds))


def _osds_below(top: TreeNode | None, nodes: dict[int, TreeNode]) -> Iterator[TreeNode]:
    open_nodes = [top] if top else []
    while open_nodes:
        node = open_nodes.pop()
        if node.type == "osd":
            yield node
        open_nodes += [nodes[child] for child in node.children if child in nodes]


def _usage(answers: PoolAnswers, placement: Placement, layout: Layout) -> Usage:
    reached = set(placement.osds)
    osds = [osd for osd in answers.osd_df.nodes if osd.id in reached]
    return Usage(
        used=_data_bytes((osd.kb_used for osd in osds), layout),
        available=_data_bytes((osd.kb_avail for osd in osds), layout),
        total=_data_bytes((osd.kb for osd in osds), layout),
    )


def _data_bytes(kib: Iterable[int], layout: Layout) -> int:
    return sum(kib) * 1024 * layout.data // layout.total


def _limits(pool: OsdPool, stats: PoolStats, cluster_full: bool) -> Limits:
    over_bytes = 0 < pool.quota_max_bytes <= stats.stored
    over_objects = 0 < pool.quota_max_objects <= stats.objects
    full = cluster_full or over_bytes or over_objects or "full" in pool.flags_names.split(",")
    left = pool.quota_max_bytes - stats.stored if pool.quota_max_bytes else stats.max_avail
    return Limits(stats.stored, 0 if full else max(0, min(stats.max_avail, left)), full)


def _pool(pool: OsdPool, placement: Placement, layout: Layout, usage: Usage, limits: Limits) -> Pool:
    erasure = pool.type == ERASURE
    return Pool(
        id=pool.pool,
        name=pool.pool_name,
        securityPolicy="ErasureCode" if erasure else "Copy",
        replicatedSize=pool.size,
        k=layout.data if erasure else None,
        m=layout.total - layout.data if erasure else None,
        crushRule=placement.rule,
        crushRoot=placement.root,
        failureDomain=placement.failure_domain,
        deviceClass=placement.device_class,
        relatedOsds=placement.osds,
        usedCapacity=usage.used,
        availableCapacity=0 if limits.full else usage.available,
        totalCapacity=usage.total,
        diskUtilization=layout.data / layout.total,
        poolMaxAvail=limits.max_avail,
        poolStored=limits.stored,
        quotaBytes=pool.quota_max_bytes,
        quotaObjects=pool.quota_max_objects,
        full=limits.full,
    )
