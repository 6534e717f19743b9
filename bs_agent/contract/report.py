"""The agent protocol: the report, the connect and cleanup commands, and their results.

Capacities are bytes, times are Unix seconds (UTC), ages and durations are seconds. What is not within its bounds spoils
its own part alone: a section takes a reason in the place of its value, an entry of a report one in all of its sections.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from bs_agent.contract.bounds import (
    MAX_ADDRESSES,
    MAX_CHECKS,
    MAX_MONS,
    MAX_OSDS,
    MAX_POOLS,
    MAX_STEPS,
    MAX_STORAGES,
    Bytes,
    Count,
    Details,
    Fingerprint,
    Fsid,
    Label,
    Moment,
    Name,
    OperationNumber,
    Path,
    Port,
    Rank,
    Seconds,
    Share,
    Token,
)
from bs_agent.contract.reasons import REASONS, Reason, ReasonCode
from bs_agent.contract.spoilt import ENTRY, ONLY_NAMED, SECTION

T = TypeVar("T")

IMAGESTORE: Literal["ImageStoreBackupStorage"] = "ImageStoreBackupStorage"
CEPH: Literal["Ceph"] = "Ceph"
DEFAULT_PORT = 7765
KNOWS_NEXT = "Knows-Next-Fingerprint"
"""The header of a request for the report that names the next fingerprint as the management node has stored it: only
then may the agent show that certificate."""
BOOT_ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="A uuid: 32 hexadecimal digits without dashes.")]


class Wire(BaseModel):
    """A value of the agent protocol; what a newer peer adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Section(Wire, Generic[T]):
    """One probe's part of a report: the last good value, its age, and why there is no newer one."""

    value: T | None = None
    collectedAt: Moment | None = None
    ageSeconds: Seconds | None = None
    stale: bool = False
    reason: Reason | None = None
    durationSeconds: Seconds | None = None


class DirectoryUsage(Wire):
    """What `statvfs` says of an ImageStore directory; available is what a user other than root may write."""

    totalCapacity: Bytes
    availableCapacity: Bytes
    totalInodes: Count
    availableInodes: Count
    readOnly: bool


class ServiceAnswer(Wire):
    """The TCP service that serves the images, when it accepted a connection."""

    address: Name


class ImageStoreParameters(Wire):
    """What the connect command says of an ImageStore."""

    type: Literal["ImageStoreBackupStorage"] = IMAGESTORE
    url: Path
    service: Name = ""


class ImageStoreReport(Wire):
    """The report of one ImageStore."""

    type: Literal["ImageStoreBackupStorage"] = IMAGESTORE
    uuid: Uuid
    url: Path
    usage: Annotated[Section[DirectoryUsage], SECTION]
    service: Annotated[Section[ServiceAnswer] | None, SECTION] = None

    def sections(self) -> list[Section[Any]]:
        """The sections that this storage has, the most telling first."""
        return _present(self.usage, self.service)

    def reasons(self) -> list[Reason]:
        """Everything that is not well, the most telling first."""
        return _reasons(self.sections())


class MonAddress(Wire):
    """One address of a mon: `v1` or `v2`, and `host:port` (an IPv6 host in brackets)."""

    type: Label
    address: Name


Addresses = Annotated[list[MonAddress], Field(max_length=MAX_ADDRESSES)]


class Mon(Wire):
    """One mon as the cluster sees it."""

    rank: Rank
    name: Name
    addresses: Addresses
    inQuorum: bool
    leader: bool
    version: Label = ""


Mons = Annotated[list[Mon], Field(max_length=MAX_MONS)]


class LocalMon(Wire):
    """The mon of this very host as its admin socket describes it, quorum or not."""

    name: Name
    state: Label
    rank: Rank
    addresses: Addresses
    version: Label = ""


class HealthCheck(Wire):
    """One of the cluster's health checks."""

    code: Label
    severity: Label
    summary: Details


class Cluster(Wire):
    """The whole cluster; capacities are raw bytes (`ceph df` total_bytes and total_avail_bytes)."""

    fsid: Fsid
    totalCapacity: Bytes
    availableCapacity: Bytes
    health: Label
    checks: list[HealthCheck] = Field(max_length=MAX_CHECKS)
    mgrActive: bool
    vendor: Label


class Pool(Wire):
    """One pool.

    `usedCapacity`, `availableCapacity` and `totalCapacity` follow the public API, `poolMaxAvail` and `poolStored` Ceph.
    `relatedOsds` names the first thousand of the OSDs that the pool's rule reaches, `relatedOsdCount` counts them all.
    """

    id: Count
    name: Name
    securityPolicy: Literal["Copy", "ErasureCode"]
    replicatedSize: Count
    k: Count | None = None
    m: Count | None = None
    crushRule: Name
    crushRoot: Label
    failureDomain: Label
    deviceClass: Label | None = None
    relatedOsds: list[Count] = Field(max_length=MAX_OSDS)
    relatedOsdCount: Count = 0
    usedCapacity: Bytes
    availableCapacity: Bytes
    totalCapacity: Bytes
    diskUtilization: Share
    poolMaxAvail: Bytes
    poolStored: Bytes
    quotaBytes: Bytes = 0
    quotaObjects: Count = 0
    full: bool = False


Pools = Annotated[list[Pool], Field(max_length=MAX_POOLS)]

_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
HostAndPort = Annotated[
    str,
    Field(
        max_length=300,
        pattern=rf"^((\[[^\[\]\s]+\]|[^\[\]\s:]+)(:{_PORT})?|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)?$",
        description="A name or an address, and perhaps a port: `host`, `host:port` or `[address]:port`.",
    ),
]


class CephParameters(Wire):
    """What the connect command says of a Ceph storage.

    `fsid` is empty and `poolId` null on the first connect; afterwards another cluster is refused, and another pool that
    has taken the name of ours.
    `createPool` lets the agent create the pool. `monAddress` is where the host's mon listens, once that is known; until
    then, of several mons on one machine, the one that listens at `hostAddress`, the host of the mon's URL, is the
    host's.
    """

    type: Literal["Ceph"] = CEPH
    poolName: Name
    poolId: Count | None = None
    fsid: Fsid = ""
    createPool: bool = False
    removePool: bool = False
    monAddress: HostAndPort = ""
    hostAddress: HostAndPort = ""
    capacityPolicy: Literal["osd_bytes", "max_avail"] = "osd_bytes"
    writeProbe: bool = False


class CephReport(Wire):
    """The report of one Ceph storage, as seen from one mon host; `poolId` is its pool's number, once it was seen."""

    type: Literal["Ceph"] = CEPH
    uuid: Uuid
    poolName: Name
    poolId: Count | None = None
    cluster: Annotated[Section[Cluster], SECTION]
    pools: Annotated[Section[Pools], SECTION]
    mons: Annotated[Section[Mons], SECTION]
    localMon: Annotated[Section[LocalMon], SECTION]
    writeProbe: Annotated[Section[Seconds] | None, SECTION] = None

    def sections(self) -> list[Section[Any]]:
        """The sections that this storage has, the most telling first."""
        return _present(self.cluster, self.mons, self.pools, self.localMon, self.writeProbe)

    def reasons(self) -> list[Reason]:
        """Everything that is not well, the most telling first."""
        return _reasons(self.sections())

    def mons_in_quorum(self) -> int | None:
        """How many mons are in the quorum: none where there is none, whatever was seen last; None: not known."""
        if self.mons.value is None:
            return None
        lost = any(reason.code == ReasonCode.NO_QUORUM for reason in self.reasons())
        return 0 if lost else sum(mon.inQuorum for mon in self.mons.value)


StorageParameters = Annotated[ImageStoreParameters | CephParameters, Field(discriminator="type")]
StorageReport = Annotated[ImageStoreReport | CephReport, Field(discriminator="type")]


class HostReport(Wire):
    """All that an agent says: one entry per backup storage it serves.

    `bootId` is the kernel's name of this boot of the machine: two machines never have the same, so one certificate with
    two boot ids at the same time is a cloned machine. `nextFingerprint` is the SHA-256 of the certificate that the
    agent will show after its next rotation. Each is empty where it is not known.
    """

    agentVersion: Label
    hostname: Label
    startedAt: Moment
    bootId: str = Field("", pattern=f"^({BOOT_ID})?$")
    nextFingerprint: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    storages: Annotated[list[Annotated[StorageReport, ENTRY]], ONLY_NAMED, Field(max_length=MAX_STORAGES)]

    def etag(self) -> str:
        """Name this content: equal for two reports that differ in ages and durations only."""
        ages = {"collectedAt", "ageSeconds", "durationSeconds"}
        sections = dict.fromkeys(("usage", "service", "cluster", "pools", "mons", "localMon", "writeProbe"), ages)
        content = self.model_dump_json(exclude={"storages": {"__all__": sections}})
        return '"' + hashlib.sha256(content.encode()).hexdigest()[:32] + '"'


class CommandState(StrEnum):
    """How far a command is."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


FINAL_STATES = frozenset({CommandState.DONE, CommandState.FAILED, CommandState.INTERRUPTED})


class Step(Wire):
    """One step of a cleanup: what it does to what; `done` tells that the effect is there, `error` why it is not."""

    action: Name
    target: Path
    done: bool = False
    error: Reason | None = None


class CleanupRequest(Wire):
    """The body of the cleanup command; a dry run returns the plan and changes nothing.

    `hostOnly` says that the storage lives on through other hosts: this one lets go of it and removes nothing.
    """

    commandUuid: Uuid
    number: OperationNumber = 0
    dryRun: bool = False
    hostOnly: bool = False


class Command(Wire):
    """A command as the agent keeps it, with the result of each step."""

    uuid: Uuid
    storageUuid: Uuid
    kind: Literal["cleanup"] = "cleanup"
    number: OperationNumber = 0
    hostOnly: bool = False
    state: CommandState
    steps: list[Step] = Field(max_length=MAX_STEPS)
    createdAt: Moment
    finishedAt: Moment | None = None
    error: Reason | None = None


class CleanupPlan(Wire):
    """What a cleanup would do."""

    storageUuid: Uuid
    steps: list[Step] = Field(max_length=MAX_STEPS)


class Enrollment(Wire):
    """What `bs-agent enroll --json` prints: how to reach this agent and what to trust. Holds a secret."""

    id: Uuid
    port: Port
    token: Token
    fingerprint: Fingerprint
    code: Name


def blocking_reason(reasons: list[Reason]) -> Reason | None:
    """Return the first reason that makes a storage unusable, else None."""
    return next((reason for reason in reasons if REASONS[reason.code].blocking), None)


def _present(*sections: Section[Any] | None) -> list[Section[Any]]:
    return [section for section in sections if section is not None]


def _reasons(sections: list[Section[Any]]) -> list[Reason]:
    return list(dict.fromkeys(section.reason for section in sections if section.reason is not None))
