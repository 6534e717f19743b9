"""The metrics of the storages, as their rows are, and as the hosts that this node polls have seen them last."""

from collections.abc import Iterable, Mapping

from bs_agent.management.metrics.lines import Gauges, labels, written
from bs_agent.management.model.figures import Figures
from bs_agent.management.store.database import Database
from bs_agent.management.store.figures import StorageFigures, storage_figures

MOST = 20_000
"""Storages that have metrics of their own. Of more only the sums are shown: a scrape must come to an end."""

_COLUMNS = {
    "total_bytes": "The bytes of the storage; of a Ceph storage those of its cluster.",
    "available_bytes": "The bytes that can still be written; of a Ceph storage those of its cluster.",
    "pool_stored_bytes": "The bytes that the pool holds before they are replicated.",
    "pool_used_bytes": "The bytes that the pool takes of its OSDs, as the public API says it.",
    "pool_available_bytes": "The bytes that the pool's OSDs can still take, as the public API says it.",
    "pool_max_avail_bytes": "The bytes that Ceph itself says can still be written into the pool.",
    "hosts": "The hosts behind the storage.",
    "hosts_connected": "The hosts behind the storage that are Connected.",
    "capacity_age_seconds": "How long ago the capacity was measured; while it stays the same, within the hour.",
    "capacity_stale": "Whether the capacity is older than it should be.",
    "total_inodes": "The inodes of the file system, as its host said last to this node.",
    "available_inodes": "The inodes that are free, as its host said last to this node.",
    "mons": "The mons of the cluster, as a host said last to this node.",
    "mons_in_quorum": "The mons that are in the quorum, as a host said last to this node.",
}


async def storages(database: Database, seen: Mapping[str, Figures]) -> list[bytes]:
    """Return the metrics of all storages as text; `seen` is what this node's polls have brought, by uuid."""
    info = Gauges("bs_management_storage_info", "What the storage is: its name, kind, zones, and its wished state.")
    status = Gauges("bs_management_storage_status", "1 with the status that the storage has.")
    reason = Gauges("bs_management_storage_reason", "1 with the code of why the storage is not well.")
    numbers = {name: Gauges(f"bs_management_storage_{name}", meaning) for name, meaning in _COLUMNS.items()}
    async for some in storage_figures(database, MOST):
        for one in some:
            mine = labels(storage=one.uuid)
            told = labels(name=one.name, type=one.type, zone=",".join(one.zones), state=one.state)
            info.add(f"{mine},{told}", 1)
            status.add(f"{mine},{labels(status=one.status)}", 1)
            if one.reason:
                reason.add(f"{mine},{labels(reason=one.reason)}", 1)
            for gauge, value in zip(numbers.values(), _numbers(one, seen.get(one.uuid, _NOTHING)), strict=True):
                gauge.add(mine, value)
    return written([info, status, reason, *numbers.values()])


_NOTHING = Figures()


def _numbers(one: StorageFigures, seen: Figures) -> Iterable[float | None]:
    """Return the values of `_COLUMNS`; a capacity of which nothing was measured is none."""
    known = one.age is not None
    return (
        one.total if known else None, one.available if known else None,
        one.pool_stored, one.pool_used, one.pool_available, one.pool_max_avail,
        one.hosts, one.hosts_connected, one.age, int(one.stale),
        *seen,
    )  # fmt: skip
