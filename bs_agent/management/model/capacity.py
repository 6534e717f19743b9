"""From a report to the capacity columns of its storage, and which of several measurements counts. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bs_agent.contract.report import CephReport, ImageStoreReport, Section, StorageReport

COLUMNS = (
    "totalCapacity",
    "availableCapacity",
    "poolAvailableCapacity",
    "poolUsedCapacity",
    "poolReplicatedSize",
    "poolDiskUtilization",
    "poolSecurityPolicy",
    "poolMaxAvail",
    "poolStored",
    "capacityDate",
    "poolCapacityDate",
)
REFRESH = 5.0
"""Seconds by which a measurement that says nothing new must be younger for its date to be written."""


class Measured(NamedTuple):
    """What one section says: columns, the column of their date, how many seconds ago it was, whether it is fresh."""

    columns: dict[str, Any]
    dated: str
    age: float
    fresh: bool


def measured(report: StorageReport) -> list[Measured]:
    """Return what a report says of the capacity: nothing, while nothing was measured."""
    return _of_ceph(report) if isinstance(report, CephReport) else _of_image_store(report)


def capacity_of(report: StorageReport) -> dict[str, Any]:
    """Return all capacity columns that a report tells, without their dates."""
    return {name: value for part in measured(report) for name, value in part.columns.items()}


def is_fresh(report: StorageReport) -> bool:
    """Tell whether the whole capacity of a report was measured as lately as it should be."""
    if isinstance(report, CephReport):
        return report.cluster.value is not None and not (report.cluster.stale or report.pools.stale)
    return report.usage.value is not None and not report.usage.stale


def counts(said: Measured, date: float, known: Mapping[str, Any], now: float) -> bool:
    """Tell whether what was measured at `date` is written over the `known` row; both dates and `now` are of one clock.

    The newest measurement counts. A date in the future is one of a clock that was set back: it says nothing. What a
    host does not call fresh is the last that it knows, however young it seems, and counts when no host knows better.
    """
    before = known[said.dated]
    if before is None:
        return True
    if not said.fresh and not known["capacityStale"]:
        return False
    if before > now:
        return True
    differs = any(known[name] != value for name, value in said.columns.items())
    return date >= before and (differs or date - before >= REFRESH)


def _of_image_store(report: ImageStoreReport) -> list[Measured]:
    usage = report.usage
    if usage.value is None:
        return []
    columns = {"totalCapacity": usage.value.totalCapacity, "availableCapacity": usage.value.availableCapacity}
    return [_measured(columns, "capacityDate", usage)]


def _of_ceph(report: CephReport) -> list[Measured]:
    cluster, pools = report.cluster, report.pools
    if cluster.value is None:
        return []
    columns: dict[str, Any] = {
        "totalCapacity": cluster.value.totalCapacity,
        "availableCapacity": cluster.value.availableCapacity,
    }
    parts = [_measured(columns, "capacityDate", cluster)]
    pool = next((pool for pool in pools.value or [] if pool.name == report.poolName), None)
    if pool:
        columns = {
            "poolAvailableCapacity": pool.availableCapacity,
            "poolUsedCapacity": pool.usedCapacity,
            "poolReplicatedSize": pool.replicatedSize,
            "poolDiskUtilization": pool.diskUtilization,
            "poolSecurityPolicy": pool.securityPolicy,
            "poolMaxAvail": pool.poolMaxAvail,
            "poolStored": pool.poolStored,
        }
        parts.append(_measured(columns, "poolCapacityDate", pools))
    return parts


def _measured(columns: dict[str, Any], dated: str, section: Section[Any]) -> Measured:
    return Measured(columns, dated, section.ageSeconds or 0.0, fresh=not section.stale)
