"""What the store hands to the use cases: the rows of the fleet as values. Fields carry the names of their columns."""

from dataclasses import dataclass, field

from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason
from bs_agent.contract.report import CEPH, CephParameters, ImageStoreParameters, StorageParameters


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent that this management node is enrolled with."""

    uuid: str
    hostname: str
    port: int
    fingerprint: str
    enrollmentId: str
    tokenSecret: str = field(repr=False)


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

    @property
    def mon_address(self) -> str:
        """The mon's address as it was added, `host:port`; empty while it is not known."""
        if not self.monAddr:
            return ""
        host = f"[{self.monAddr}]" if ":" in self.monAddr else self.monAddr
        return f"{host}:{self.monPort}"


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
    poolCreated: bool | None = None
    capacityPolicy: str | None = None

    def parameters(self, host: HostRecord, *, remove_pool: bool = False) -> StorageParameters:
        """Return what the connect command says to the agent of `host`."""
        if self.type == CEPH:
            return CephParameters(
                poolName=self.poolName or "",
                fsid=self.fsid or "",
                removePool=remove_pool,
                monAddress=host.mon_address,
                capacityPolicy="max_avail" if self.capacityPolicy == "max_avail" else "osd_bytes",
            )
        return ImageStoreParameters(url=self.url, service=str(self.servicePort) if self.servicePort else "")


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A cleanup that is owed to a host which could not be reached when its storage was deleted by force."""

    commandUuid: str
    backupStorageUuid: str
    agentUuid: str
    expiredDate: int
    lastError: str | None = None
