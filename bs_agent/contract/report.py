"""The agent protocol: the report, the connect and cleanup commands, and their results.

Capacities are bytes, times are Unix seconds (UTC), ages and durations are seconds.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from bs_agent.contract.reasons import REASONS, Reason

T = TypeVar("T")

IMAGESTORE: Literal["ImageStoreBackupStorage"] = "ImageStoreBackupStorage"
CEPH: Literal["Ceph"] = "Ceph"
DEFAULT_PORT = 7765
BOOT_ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="A uuid: 32 hexadecimal digits without dashes.")]
OperationNumber = Annotated[
    int,
    Field(
        ge=0,
        le=2**63 - 1,
        strict=True,
        description="The number of the operation that the command belongs to, which never goes back for a storage: "
        "an agent refuses a command with a smaller number than the greatest that it has seen for the storage. "
        "0 is no number; it is accepted while no number was seen.",
    ),
]


class Wire(BaseModel):
    """A value of the agent protocol; what a newer peer adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Section(Wire, Generic[T]):
    """One probe's part of a report: the last good value, its age, and why there is no newer one."""

    value: T | None = None
    collectedAt: float | None = None
    ageSeconds: float | None = None
    stale: bool = False
    reason: Reason | None = None
    durationSeconds: float | None = None


class DirectoryUsage(Wire):
    """What `statvfs` says of an ImageStore directory; available is what a user other than root may write."""

    totalCapacity: int
    availableCapacity: int
    totalInodes: int
    availableInodes: int
    readOnly: bool


class ServiceAnswer(Wire):
    """The TCP service that serves the images, when it accepted a connection."""

    address: str


class ImageStoreParameters(Wire):
    """What the connect command says of an ImageStore."""

    type: Literal["ImageStoreBackupStorage"] = IMAGESTORE
    url: str
    service: str = ""


class ImageStoreReport(Wire):
    """The report of one ImageStore."""

    type: Literal["ImageStoreBackupStorage"] = IMAGESTORE
    uuid: Uuid
    url: str
    usage: Section[DirectoryUsage]
    service: Section[ServiceAnswer] | None = None

    def sections(self) -> list[Section[Any]]:
        """The sections that this storage has, the most telling first."""
        return _present(self.usage, self.service)

    def reasons(self) -> list[Reason]:
        """Everything that is not well, the most telling first."""
        return _reasons(self.sections())


class MonAddress(Wire):
    """One address of a mon: `v1` or `v2`, and `host:port` (an IPv6 host in brackets)."""

    type: str
    address: str


class Mon(Wire):
    """One mon as the cluster sees it."""

    rank: int
    name: str
    addresses: list[MonAddress]
    inQuorum: bool
    leader: bool
    version: str = ""


class LocalMon(Wire):
    """The mon of this very host as its admin socket describes it, quorum or not."""

    name: str
    state: str
    rank: int
    addresses: list[MonAddress]
    version: str = ""


class HealthCheck(Wire):
    """One of the cluster's health checks."""

    code: str
    severity: str
    summary: str


class Cluster(Wire):
    """The whole cluster; capacities are raw bytes (`ceph df` total_bytes and total_avail_bytes)."""

    fsid: str
    totalCapacity: int
    availableCapacity: int
    health: str
    checks: list[HealthCheck]
    mgrActive: bool
    vendor: str


class Pool(Wire):
    """One pool.

    `usedCapacity`, `availableCapacity` and `totalCapacity` follow the public API, `poolMaxAvail` and `poolStored` Ceph.
    """

    id: int
    name: str
    securityPolicy: Literal["Copy", "ErasureCode"]
    replicatedSize: int
    k: int | None = None
    m: int | None = None
    crushRule: str
    crushRoot: str
    failureDomain: str
    deviceClass: str | None = None
    relatedOsds: list[int]
    usedCapacity: int
    availableCapacity: int
    totalCapacity: int
    diskUtilization: float
    poolMaxAvail: int
    poolStored: int
    quotaBytes: int = 0
    quotaObjects: int = 0
    full: bool = False


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

    `fsid` is empty on the first connect; afterwards another cluster is refused.
    `createPool` lets the agent create the pool. `monAddress` is where the host's mon listens, once that is known; until
    then, of several mons on one machine, the one that listens at `hostAddress`, the host of the mon's URL, is the
    host's.
    """

    type: Literal["Ceph"] = CEPH
    poolName: str
    fsid: str = ""
    createPool: bool = False
    removePool: bool = False
    monAddress: HostAndPort = ""
    hostAddress: HostAndPort = ""
    capacityPolicy: Literal["osd_bytes", "max_avail"] = "osd_bytes"
    writeProbe: bool = False


class CephReport(Wire):
    """The report of one Ceph storage, as seen from one mon host."""

    type: Literal["Ceph"] = CEPH
    uuid: Uuid
    poolName: str
    cluster: Section[Cluster]
    pools: Section[list[Pool]]
    mons: Section[list[Mon]]
    localMon: Section[LocalMon]
    writeProbe: Section[float] | None = None

    def sections(self) -> list[Section[Any]]:
        """The sections that this storage has, the most telling first."""
        return _present(self.cluster, self.mons, self.pools, self.localMon, self.writeProbe)

    def reasons(self) -> list[Reason]:
        """Everything that is not well, the most telling first."""
        return _reasons(self.sections())


StorageParameters = Annotated[ImageStoreParameters | CephParameters, Field(discriminator="type")]
StorageReport = Annotated[ImageStoreReport | CephReport, Field(discriminator="type")]


class HostReport(Wire):
    """All that an agent says: one entry per backup storage it serves.

    `bootId` is the kernel's name of this boot of the machine: two machines never have the same, so one certificate with
    two boot ids at the same time is a cloned machine. `nextFingerprint` is the SHA-256 of the certificate that the
    agent will show after its next rotation. Each is empty where it is not known.
    """

    agentVersion: str
    hostname: str
    startedAt: float
    bootId: str = Field("", pattern=f"^({BOOT_ID})?$")
    nextFingerprint: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    storages: list[StorageReport]

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

    action: str
    target: str
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
    steps: list[Step]
    createdAt: float
    finishedAt: float | None = None
    error: Reason | None = None


class CleanupPlan(Wire):
    """What a cleanup would do."""

    storageUuid: Uuid
    steps: list[Step]


class Enrollment(Wire):
    """What `bs-agent enroll --json` prints: how to reach this agent and what to trust. Holds a secret."""

    id: Uuid
    port: int
    token: str
    fingerprint: str
    code: str


def blocking_reason(reasons: list[Reason]) -> Reason | None:
    """Return the first reason that makes a storage unusable, else None."""
    return next((reason for reason in reasons if REASONS[reason.code].blocking), None)


def _present(*sections: Section[Any] | None) -> list[Section[Any]]:
    return [section for section in sections if section is not None]


def _reasons(sections: list[Section[Any]]) -> list[Reason]:
    return list(dict.fromkeys(section.reason for section in sections if section.reason is not None))
