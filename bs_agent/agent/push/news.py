"""What is worth telling the management node at once: all but ages, durations and small moves of a capacity. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from bs_agent.contract.report import CephReport, ImageStoreReport

MOVE = 0.01
"""The share by which an available capacity must have moved."""


class Facts(NamedTuple):
    """What a report says of a storage; `state` counts when it differs, `available` when it has moved."""

    state: tuple[object, ...]
    available: dict[str, int]


def facts(report: ImageStoreReport | CephReport) -> Facts | None:
    """Return the facts of a report, or None while one of its sections was not read yet."""
    sections = report.sections()
    if any(section.collectedAt is None and section.reason is None for section in sections):
        return None
    state: list[object] = [(section.reason and section.reason.code, section.stale) for section in sections]
    available: dict[str, int] = {}
    if isinstance(report, ImageStoreReport):
        if report.usage.value:
            available["directory"] = report.usage.value.availableCapacity
    else:
        state += sorted((mon.name, mon.inQuorum) for mon in report.mons.value or ())
        if report.cluster.value:
            available["cluster"] = report.cluster.value.availableCapacity
        for pool in report.pools.value or ():
            if pool.name == report.poolName:
                available["pool"] = pool.availableCapacity
    return Facts(tuple(state), available)


def is_news(known: Mapping[str, Facts], present: Mapping[str, Facts]) -> bool:
    """Tell whether something of what there is now was not known; a storage that is gone was let go on purpose."""
    return any(uuid not in known or _differ(known[uuid], now) for uuid, now in present.items())


def _differ(before: Facts, now: Facts) -> bool:
    if before.state != now.state or before.available.keys() != now.available.keys():
        return True
    return any(abs(now.available[name] - known) > MOVE * known for name, known in before.available.items())
