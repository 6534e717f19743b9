"""What the store hands to the use cases: the rows of the fleet as values. Fields carry the names of their columns."""

from dataclasses import dataclass, field, replace
from typing import Any

from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason
from bs_agent.contract.report import CEPH, CephParameters, ImageStoreParameters, StorageParameters
from bs_agent.management.model.health import Health


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent that this management node is enrolled with: one machine, under however many names.

    `hostname` and `port` are where it is reached now. `nextFingerprint` is what it will show after its next rotation.
    `leaving` says that the enrolment is being taken from it, so that it has to be won anew.
    """

    uuid: str
    hostname: str
    port: int
    fingerprint: str
    enrollmentId: str
    tokenSecret: str = field(repr=False)
    nextFingerprint: str | None = None
    bootId: str | None = None
    version: str | None = None
    certificateEndDate: int | None = None
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class HostRecord:
    """The host of an ImageStore, or a mon host of a Ceph storage."""

    monUuid: str
    backupStorageUuid: str
    agentUuid: str | None
    hostname: str
    monAddr: str | None
    monPort: int | None
    sshPort: int
    sshUsername: str | None
    sshPasswordSecret: str | None = field(repr=False)
    sshHostKey: str | None
    status: Status
    statusReason: Reason | None
    capacityFresh: bool = False

    @property
    def health(self) -> Health:
        """How the host is."""
        return Health(self.status, self.statusReason, self.capacityFresh)

    def being(self, health: Health) -> "HostRecord":
        """Return the host with another health."""
        return replace(self, status=health.status, statusReason=health.reason, capacityFresh=health.fresh)

    @property
    def mon_address(self) -> str:
        """The mon's address as it was learnt, `host:port`; empty while it is not known."""
        return write_address(self.monAddr, self.monPort) if self.monAddr else ""


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """A backup storage, with what its hosts must be told."""

    uuid: str
    name: str
    description: str | None
    type: str
    url: str
    state: str
    status: Status
    statusReason: Reason | None
    hostname: str | None = None
    username: str | None = None
    sshPort: int | None = None
    servicePort: int | None = None
    fsid: str | None = None
    poolName: str | None = None
    poolId: int | None = None
    poolCreated: bool | None = None
    capacityPolicy: str | None = None

    def parameters(
        self, host: HostRecord, *, create_pool: bool = False, remove_pool: bool = False, write_probe: bool = False
    ) -> StorageParameters:
        """Return what the connect command says to the agent of `host`."""
        if self.type == CEPH:
            return CephParameters(
                poolName=self.poolName or "",
                poolId=self.poolId,
                fsid=self.fsid or "",
                createPool=create_pool,
                removePool=remove_pool,
                writeProbe=write_probe,
                monAddress=host.mon_address,
                hostAddress="" if host.mon_address else write_address(host.hostname, host.monPort),
                capacityPolicy="max_avail" if self.capacityPolicy == "max_avail" else "osd_bytes",
            )
        return ImageStoreParameters(url=self.url, service=str(self.servicePort) if self.servicePort else "")


def write_address(host: str, port: int | None) -> str:
    """Write `host:port`, or the host alone; an IPv6 host stands in brackets."""
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{port}" if port else bracketed


@dataclass(frozen=True, slots=True)
class Debt:
    """What is still owed to an agent, due when the operation that made it is gone: a clean-up, or a forgetting.

    A clean-up names a storage that was deleted by force, was taken from the host, or may never arrive there; `hostOnly`
    says that the storage lives on through other hosts, and `removePool` is the connect command after which the clean-up
    removes the pool, too. `commandUuid` is that of the command that does it. A forgetting names an enrolment that
    nobody uses any more, with its token.
    """

    uuid: str
    agentUuid: str
    operationUuid: str
    commandUuid: str
    backupStorageUuid: str | None = None
    backupStorageName: str | None = None
    hostOnly: bool = False
    removePool: dict[str, Any] | None = None
    enrollmentId: str | None = None
    tokenSecret: str | None = field(default=None, repr=False)
    lastReason: Reason | None = None
