"""The capacity of a Ceph cluster and of its pools: the parsed answers in, the report out, no I/O.

A pool's bytes are those of the OSDs that its CRUSH rule reaches, times the share that holds data: 1/size or k/(k+m).
An OSD that is out, or whose weight is 0, is given no data: it counts nothing.
Ceph's own `max_avail`, lowered by a quota, stands beside them; it takes no notice of OSDs that are out, nor of the
local parity of a locally repairable code, so that it may be more than there is.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import ValidationError

from bs_agent.agent.storages.ceph_answers import (
    LARGEST,
    Df,
    OsdBytes,
    OsdDf,
    OsdPool,
    PoolAnswers,
    PoolStats,
    Rule,
    Status,
    Tree,
    TreeNode,
)
from bs_agent.contract.errors import explain
from bs_agent.contract.report import Cluster, HealthCheck, Pool

CapacityPolicy = Literal["osd_bytes", "max_avail"]
ERASURE = 3
# How many OSDs are named of a pool: 200 pools on 10,000 OSDs each would be a report of 12 MB, every time.
MOST_NAMED = 1000
LONGEST_SHOWN = 100
# What has effects, whoever wants to hear of it.
UNMUTABLE = frozenset({"OSD_FULL"})
_NUMBER = re.compile("[0-9]{1,4}")


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
    """What OSDs hold and can hold, in bytes."""

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
        if not check.muted or code in UNMUTABLE
    ]
    return Cluster(
        fsid=status.fsid,
        totalCapacity=df.stats.total_bytes,
        availableCapacity=min(df.stats.total_avail_bytes, df.stats.total_bytes),
        health=status.health.status,
        checks=checks,
        mgrActive=status.mgrmap.available and "MGR_DOWN" not in status.health.checks,
        vendor=vendor,
    )


def lacks_osds(status: Status, df: Df) -> bool:
    """Tell whether the mgr, after its start, has not heard of all OSDs yet: then its sums are too low."""
    counts = status.osds
    # So many at least are both up and in.
    serving = counts.num_up_osds + counts.num_in_osds - counts.num_osds
    heard_of = df.stats.num_osds if df.stats.num_osds is not None else counts.num_osds * (df.stats.total_bytes > 0)
    return serving > heard_of


def silent_osds(osd_df: OsdDf) -> list[int]:
    """Return the OSDs that serve and that the mgr has not heard of yet."""
    return [osd.id for osd in _once(osd_df).values() if osd.status == "up" and osd.reweight > 0 and osd.kb == 0]


def pools_of(answers: PoolAnswers, policy: CapacityPolicy, needed: str | None = None) -> list[Pool]:
    """Describe every pool; where one is `needed`, another that cannot be described is left out.

    Raises:
        ValueError: a pool cannot be described; the message names it.
    """
    nodes = Nodes.of(answers.tree)
    placements = {rule.rule_id: placement_of(rule, nodes) for rule in answers.rules}
    osds = _once(answers.osd_df)
    raw = {rule: _raw_usage(placement, osds) for rule, placement in placements.items()}
    stats = {pool.id: pool.stats for pool in answers.df.pools}
    # Before Ceph 14 one full OSD stops all pools by a flag of the whole cluster.
    cluster_full = "full" in answers.osd_dump.flags.split(",")
    pools = []
    for pool in answers.osd_dump.pools:
        # A rule that was made after the rules were read reaches nothing that we know of, for this one report.
        placement = placements.get(pool.crush_rule, Placement(str(pool.crush_rule), "", None, "", []))
        try:
            layout = layout_of(pool, answers.osd_dump.erasure_code_profiles)
            limits = _limits(pool, stats.get(pool.pool, PoolStats()), cluster_full)
            usage = _data_bytes(raw.get(pool.crush_rule, Usage(0, 0, 0)), layout)
            pools.append(_pool(pool, placement, layout, usage, limits))
        except ValueError as error:
            if needed in {None, pool.pool_name}:
                raise _nameable(pool, error) from None
    if policy == "max_avail":
        return [pool.model_copy(update={"availableCapacity": pool.poolMaxAvail}) for pool in pools]
    return pools


def _nameable(pool: OsdPool, error: ValueError) -> ValueError:
    """Return the error with the pool's name in it, also where a value of the pool is one that no report can hold."""
    if isinstance(error, ValidationError):
        return ValueError(f"pool {pool.pool_name[:LONGEST_SHOWN]}: no report can hold it: {explain(error)}")
    return error


def layout_of(pool: OsdPool, profiles: dict[str, dict[str, str]]) -> Layout:
    """Return how a pool spreads an object.

    Raises:
        ValueError: it is erasure coded and its profile does not say how.
    """
    if pool.type != ERASURE:
        return Layout(1, max(pool.size, 1))
    profile = profiles.get(pool.erasure_code_profile, {})
    # A locally repairable code may be given by a mapping, where each D is a part with data; its size has local parity.
    k = profile.get("k", "")
    data = int(k) if _NUMBER.fullmatch(k) else profile.get("mapping", "").count("D")
    if not 0 < data <= pool.size:
        raise ValueError(
            f"pool {pool.pool_name}: profile {pool.erasure_code_profile!r} does not tell the parts with data"
        )
    return Layout(data, pool.size)


class Nodes(NamedTuple):
    """The buckets and OSDs of a tree."""

    by_id: Mapping[int, TreeNode]
    by_name: Mapping[str, TreeNode]

    @classmethod
    def of(cls, tree: Tree) -> "Nodes":
        """Look at the tree once for all rules."""
        return cls({node.id: node for node in tree.nodes}, {node.name: node for node in tree.nodes})


def placement_of(rule: Rule, nodes: Nodes) -> Placement:
    """Return where a rule puts data; `default~hdd` means the devices of class hdd below `default`."""
    osds: set[int] = set()
    roots: list[str] = []
    classes: list[str] = []
    failure_domain = ""
    for step in rule.steps:
        if step.op == "take":
            root, _, wanted = step.item_name.partition("~")
            roots.append(root)
            classes += [wanted] if wanted else []
            below = _osds_below(nodes.by_name.get(root), nodes.by_id)
            osds.update(osd.id for osd in below if not wanted or osd.device_class == wanted)
        elif step.op.startswith("choose") and step.type:
            failure_domain = step.type
    device_class = ",".join(dict.fromkeys(classes)) or None
    return Placement(rule.rule_name, ",".join(dict.fromkeys(roots)), device_class, failure_domain, sorted(osds))


def _osds_below(top: TreeNode | None, nodes: Mapping[int, TreeNode]) -> Iterator[TreeNode]:
    open_nodes, seen = [top] if top else [], set()
    while open_nodes:
        node = open_nodes.pop()
        if node.id in seen:
            continue
        seen.add(node.id)
        if node.type == "osd":
            yield node
        open_nodes += [nodes[child] for child in node.children if child in nodes]


def _once(osd_df: OsdDf) -> dict[int, OsdBytes]:
    """Return each OSD by its id, once: one that hangs below two roots is listed below each, with its weight there."""
    return {osd.id: osd for osd in sorted(osd_df.nodes, key=lambda osd: osd.crush_weight > 0)}


def _raw_usage(placement: Placement, osds: Mapping[int, OsdBytes]) -> Usage:
    reached = [osds[number] for number in placement.osds if number in osds and _takes_data(osds[number])]
    return Usage(
        used=sum(min(osd.kb_used, osd.kb) for osd in reached) * 1024,
        available=sum(min(osd.kb_avail, osd.kb) for osd in reached) * 1024,
        total=sum(osd.kb for osd in reached) * 1024,
    )


def _takes_data(osd: OsdBytes) -> bool:
    return osd.reweight > 0 and osd.crush_weight > 0


def _data_bytes(raw: Usage, layout: Layout) -> Usage:
    return Usage(*(min(number * layout.data // layout.total, LARGEST) for number in raw))


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
        relatedOsds=placement.osds[:MOST_NAMED],
        relatedOsdCount=len(placement.osds),
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
