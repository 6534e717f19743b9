"""From a report to the capacity columns of its storage. Pure."""

from typing import Any, NamedTuple

from bs_agent.contract.report import CephReport, ImageStoreReport, StorageReport


class Measured(NamedTuple):
    """What a report says of the capacity; `columns` is empty when it says nothing yet."""

    columns: dict[str, Any]
    date: float
    fresh: bool


def measured(report: StorageReport) -> Measured:
    """Return the capacities of a report, when they were measured, and whether that was as lately as it should be."""
    return _of_ceph(report) if isinstance(report, CephReport) else _of_image_store(report)


def _of_image_store(report: ImageStoreReport) -> Measured:
    usage = report.usage
    if usage.value is None:
        return Measured({}, 0, fresh=False)
    columns = {
        "totalCapacity": usage.value.totalCapacity,
        "availableCapacity": usage.value.availableCapacity,
        "capacityDate": int(usage.collectedAt or 0),
    }
    return Measured(columns, usage.collectedAt or 0, fresh=not usage.stale)


def _of_ceph(report: CephReport) -> Measured:
    cluster, pools = report.cluster, report.pools
    if cluster.value is None:
        return Measured({}, 0, fresh=False)
    columns: dict[str, Any] = {
        "totalCapacity": cluster.value.totalCapacity,
        "availableCapacity": cluster.value.availableCapacity,
        "capacityDate": int(cluster.collectedAt or 0),
    }
    pool = next((pool for pool in pools.value or [] if pool.name == report.poolName), None)
    if pool:
        columns |= {
            "poolAvailableCapacity": pool.availableCapacity,
            "poolUsedCapacity": pool.usedCapacity,
            "poolReplicatedSize": pool.replicatedSize,
            "poolDiskUtilization": pool.diskUtilization,
            "poolSecurityPolicy": pool.securityPolicy,
            "poolMaxAvail": pool.poolMaxAvail,
            "poolStored": pool.poolStored,
        }
    return Measured(columns, cluster.collectedAt or 0, fresh=not (cluster.stale or pools.stale))
