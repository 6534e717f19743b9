"""Whether what answers is the storage that was added, and not another one in its place. Pure."""

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephReport, StorageReport
from bs_agent.management.model.health import Health, judge
from bs_agent.management.model.records import StorageRecord

# Not a fault that passes: somebody has to decide, so a reconnect says it even while other hosts serve the storage.
IDENTITY = frozenset({ReasonCode.FSID_MISMATCH, ReasonCode.POOL_REPLACED, ReasonCode.MON_ADDR_CHANGED})


def verify(report: StorageReport, storage: StorageRecord) -> Health:
    """Return the health of a host that was just connected.

    Raises:
        StorageProblem: it has another storage than the one that was added.
    """
    if report.type != storage.type or report.uuid != storage.uuid:
        details = f"the agent answered for {report.type} {report.uuid}"
        raise StorageProblem.of(ReasonCode.AGENT_FAULT, details)
    if isinstance(report, CephReport):
        _verify_ceph(report, storage)
    return judge(report)


def _verify_ceph(report: CephReport, storage: StorageRecord) -> None:
    cluster, pools = report.cluster.value, report.pools.value
    if cluster and storage.fsid and cluster.fsid != storage.fsid:
        details = f"the cluster's fsid is {cluster.fsid}, not {storage.fsid}"
        raise StorageProblem.of(ReasonCode.FSID_MISMATCH, details)
    if pools is None:
        return
    named = next((pool for pool in pools if pool.name == storage.poolName), None)
    if named is None:
        details = f"the cluster has no pool named {storage.poolName}"
        raise StorageProblem.of(ReasonCode.POOL_MISSING, details)
    if storage.poolId not in {None, named.id}:
        details = f"pool {storage.poolName} is number {named.id}, not {storage.poolId}"
        raise StorageProblem.of(ReasonCode.POOL_REPLACED, details)
