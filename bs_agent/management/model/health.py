"""The status machine. Pure: events, times and random numbers go in; statuses, reasons and due times come out.

    a missed poll         counts; after `max_failures` in a row the hosts behind that agent are Disconnected
    an answered poll      ends the count; a host that is not Connected is connected afresh (see `Retry`)
    a blocking reason     in the report makes its host Disconnected at once: the agent has seen it, there is no doubt
    a passing reason      is shown beside the status and changes nothing

A Ceph storage is Connected while one of its hosts sees the cluster with a quorum; what ails one mon alone stays there.
Its capacity is fresh while one of its hosts reports fresh numbers.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import StorageReport, blocking_reason
from bs_agent.management.model.capacity import is_fresh

RETRY_CAP = 3600.0
TICK = 0.1
_BOOTS, _STEADY = 8, 5
"""How many boots are remembered, and after how many reports of one and the same machine there is just one."""

# The mon of this very host is not well, yet the host sees the cluster.
MON_ONLY = frozenset({ReasonCode.MON_OUT_OF_QUORUM, ReasonCode.MON_ADDR_CHANGED})
# The cluster did not answer this time, which may pass.
UNANSWERED = frozenset({ReasonCode.PROBE_TIMEOUT, ReasonCode.WORKER_CRASHED})
# Nobody looked: what another host has seen says more.
UNSEEN = frozenset(
    {
        ReasonCode.AGENT_UNREACHABLE,
        ReasonCode.AGENT_TIMEOUT,
        ReasonCode.AGENT_UNAUTHORIZED,
        ReasonCode.CERTIFICATE_CHANGED,
        ReasonCode.AGENT_FAULT,
        ReasonCode.AGENT_NOT_ENROLLED,
        ReasonCode.AGENT_CLONED,
        ReasonCode.UNOBSERVED,
    }
)


class Health(NamedTuple):
    """A status, what there is to say about it, and whether the capacity is as new as it should be."""

    status: Status
    reason: Reason | None = None
    fresh: bool = False

    @property
    def sees_storage(self) -> bool:
        """Whether a host that is so can tell how its storage is."""
        return self.status == "Connected" or (self.reason is not None and self.reason.code in MON_ONLY)


@dataclass(frozen=True, slots=True)
class Link:
    """The way to one agent: how many polls were missed in a row, and why."""

    misses: int = 0
    reason: Reason | None = None

    def missed(self, reason: Reason) -> "Link":
        """Return the link after one more missed poll."""
        return Link(self.misses + 1, reason)

    def is_down(self, max_failures: int) -> bool:
        """Tell whether so many polls were missed that the hosts are Disconnected."""
        return self.misses >= max_failures


@dataclass(frozen=True, slots=True)
class Boots:
    """The boots of a machine as its reports name them, the latest last; a boot that is over never comes back."""

    seen: tuple[str, ...] = ()
    steady: int = 0

    def heard(self, boot: str) -> "Boots":
        """Return what is known after one more report."""
        if not boot or (self.seen and boot == self.seen[-1]):
            return replace(self, steady=self.steady + 1)
        came_back = boot in self.seen
        others = [known for known in self.seen if known != boot]
        return Boots((*others[1 - _BOOTS :], boot), 0 if came_back else self.steady + _STEADY)

    @property
    def are_two(self) -> bool:
        """Whether two machines answer in turn, so that one was cloned from the other."""
        return len(self.seen) > 1 and self.steady < _STEADY


def two_machines(name: str) -> str:
    """Say that boots are of two machines, `name` being where they answer."""
    return f"two machines answer in turn at {name}"


@dataclass(frozen=True, slots=True)
class Retry:
    """When a host that answers again may be connected afresh: at once, then ever more rarely, spread by chance."""

    attempts: int = 0
    not_before: float = 0.0

    def failed(self, now: float, first: float, chance: float) -> "Retry":
        """Return what follows a failed attempt; `first` is the first pause's length, `chance` lies in 0..1."""
        pause = min(RETRY_CAP, first * 2.0 ** min(self.attempts, 30))
        return Retry(self.attempts + 1, now + pause * chance)


def next_due(uuid: str, interval: float, now: float) -> float:
    """Return when an agent is polled next: its place in the interval follows from its uuid and never moves.

    There are places every `TICK` seconds: to wake up for several agents costs hardly more than for one.
    """
    digest = hashlib.sha256(uuid.encode()).digest()
    offset = int.from_bytes(digest[:4], "big") / 2**32 * interval
    offset -= offset % min(TICK, interval)
    due = offset + interval * math.ceil((now - offset) / interval)
    return due if due > now else due + interval


def judge(report: StorageReport | None) -> Health:
    """Return the health of a host as the report on its storage shows it; no report: the agent does not know it."""
    if report is None:
        details = "the agent's report does not mention this backup storage"
        return Health("Disconnected", Reason(code=ReasonCode.STORAGE_UNKNOWN, details=details))
    reasons = report.reasons()
    blocking = blocking_reason(reasons)
    if blocking and blocking.code in MON_ONLY and reasons[0].code in UNANSWERED:
        blocking = reasons[0]  # its mon is not well, and nothing shows that the host sees the cluster all the same
    health = Health("Disconnected", blocking) if blocking else Health("Connected", reasons[0] if reasons else None)
    return health._replace(fresh=health.sees_storage and is_fresh(report))


def storage_health(hosts: Sequence[Health]) -> Health:
    """Return the health of a storage from that of its hosts."""
    reason = min((host.reason for host in hosts if host.reason), key=_telling, default=None)
    fresh = any(host.fresh for host in hosts)
    if any(host.sees_storage for host in hosts):
        return Health("Connected", reason, fresh)
    if any(host.status == "Connecting" for host in hosts):
        return Health("Connecting", reason, fresh)
    return Health("Disconnected", reason, fresh)


def _telling(reason: Reason) -> int:
    """Rank a reason: who looked at the cluster says more than who did not reach it, or was not reached."""
    if reason.code in UNSEEN:
        return 3
    if reason.code == ReasonCode.CLUSTER_UNREACHABLE or reason.code in UNANSWERED:
        return 2
    return int(reason.code in MON_ONLY)
