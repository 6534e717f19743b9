"""What the public API shows: one model for each inventory. Capacities are bytes.

`java_class` is the name by which existing clients know the inventory (the `schema` of an answer). `expands` names the
fields that lead to other inventories, for conditions across tables such as `zone.name`.
"""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from bs_agent.contract.dates import ApiDate
from bs_agent.contract.reasons import Reason
from bs_agent.contract.report import CEPH, IMAGESTORE

State = Literal["Enabled", "Disabled"]
Status = Literal["Connecting", "Connected", "Disconnected"]


class Inventory(BaseModel):
    """The root of the inventories; what a newer server adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    java_class: ClassVar[str]
    expands: ClassVar[dict[str, "type[Inventory]"]] = {}

    @classmethod
    def queryable(cls) -> list[str]:
        """Return the fields that a condition may name; lists of plain values among them, sub-inventories not."""
        return [name for name in cls.model_fields if name not in cls.expands and name not in NOT_STORED]


class ZoneInventory(Inventory):
    """A zone: a named group of backup storages."""

    java_class = "org.zstack.header.zone.ZoneInventory"

    uuid: str
    name: str
    description: str | None = None
    state: State = "Enabled"
    type: str = "zstack"
    isDefault: bool = False
    createDate: ApiDate
    lastOpDate: ApiDate


class BackupStorageInventory(Inventory):
    """A backup storage, with what every kind has."""

    java_class = "org.zstack.header.storage.backup.BackupStorageInventory"
    expands = {"zone": ZoneInventory}

    uuid: str = Field(description="The resource UUID.")
    name: str = Field(description="The resource name.")
    url: str = Field(description="Where the images are: the directory of an ImageStore; not used by Ceph.")
    description: str | None = Field(None, description="The detailed description of the resource.")
    totalCapacity: int = Field(description="Bytes.")
    availableCapacity: int = Field(description="Bytes.")
    type: str = Field(description="ImageStoreBackupStorage or Ceph.")
    state: State = Field(description="The wished state.")
    status: Status = Field(description="The observed status.")
    statusReason: Reason | None = Field(None, description="Why the status is not Connected, or what is not well.")
    capacityDate: ApiDate | None = Field(
        None, description="When the capacities were measured; while they stay the same, within the hour."
    )
    capacityStale: bool = Field(default=False, description="Whether the capacities are older than they should be.")
    createDate: ApiDate = Field(description="The creation date.")
    lastOpDate: ApiDate = Field(description="The last operation date.")
    attachedZoneUuids: list[str] = Field(default_factory=list)


class ImageStoreBackupStorageInventory(BackupStorageInventory):
    """A directory on one host."""

    java_class = "org.zstack.storage.backup.imagestore.ImageStoreBackupStorageInventory"

    hostname: str
    username: str | None = None
    sshPort: int


class CephBackupStorageMonInventory(Inventory):
    """One mon host of a Ceph backup storage."""

    java_class = "org.zstack.storage.ceph.backup.CephBackupStorageMonInventory"

    monUuid: str
    backupStorageUuid: str
    hostname: str
    monAddr: str
    monPort: int
    sshUsername: str | None = None
    sshPassword: str | None = Field(None, description="Always `*****`.")
    sshPort: int
    status: Status
    statusReason: Reason | None = None
    createDate: ApiDate
    lastOpDate: ApiDate


class CephBackupStorageInventory(BackupStorageInventory):
    """A pool of a Ceph cluster; `totalCapacity` and `availableCapacity` are the cluster's raw bytes."""

    java_class = "org.zstack.storage.ceph.backup.CephBackupStorageInventory"
    expands = {"zone": ZoneInventory, "mons": CephBackupStorageMonInventory}

    fsid: str
    mons: list[CephBackupStorageMonInventory] = Field(default_factory=list)
    poolName: str
    poolAvailableCapacity: int | None = None
    poolUsedCapacity: int | None = None
    poolReplicatedSize: int | None = None
    poolDiskUtilization: float | None = None
    poolSecurityPolicy: Literal["Copy", "ErasureCode"] | None = None
    poolMaxAvail: int | None = None
    poolStored: int | None = None


class TagInventory(Inventory):
    """A tag of a resource; `resourceType` is BackupStorageVO or ZoneVO."""

    java_class = "org.zstack.header.tag.TagInventory"

    uuid: str
    resourceUuid: str
    resourceType: str
    tag: str
    type: Literal["System", "User"]
    createDate: ApiDate
    lastOpDate: ApiDate


class SystemTagInventory(TagInventory):
    """A tag that means something to the management node, such as `sshHostKey::<fingerprint>`."""

    java_class = "org.zstack.header.tag.SystemTagInventory"


class UserTagInventory(TagInventory):
    """A tag that means something to its user only."""

    java_class = "org.zstack.header.tag.UserTagInventory"


class AccountInventory(Inventory):
    """An account."""

    java_class = "org.zstack.header.identity.AccountInventory"

    uuid: str
    name: str
    type: Literal["SystemAdmin"] = "SystemAdmin"
    createDate: ApiDate
    lastOpDate: ApiDate


class AccessKeyInventory(Inventory):
    """A key that signs requests, in the place of a session."""

    java_class = "org.zstack.accessKey.AccessKeyInventory"

    uuid: str
    accountUuid: str
    description: str | None = None
    AccessKeyID: str
    AccessKeySecret: str | None = Field(None, description="Shown once, when the key is created.")
    createDate: ApiDate
    lastOpDate: ApiDate


class OpenSessionInventory(Inventory):
    """A session that has not expired; `uuid` names it for its revocation, and is not the secret that it carries."""

    java_class = "org.zstack.header.identity.SessionInventory"

    uuid: str
    accountUuid: str
    expiredDate: ApiDate
    createDate: ApiDate


class SessionInventory(Inventory):
    """A logged-in session; `uuid` is what `Authorization: OAuth` carries."""

    java_class = "org.zstack.header.identity.SessionInventory"

    uuid: str
    accountUuid: str
    userUuid: str
    expiredDate: ApiDate
    createDate: ApiDate


BACKUP_STORAGE_KINDS: dict[str, type[BackupStorageInventory]] = {
    IMAGESTORE: ImageStoreBackupStorageInventory,
    CEPH: CephBackupStorageInventory,
}
"""Which inventory a backup storage of this `type` has."""

AnyBackupStorage = ImageStoreBackupStorageInventory | CephBackupStorageInventory | BackupStorageInventory

NOT_STORED = frozenset({"statusReason", "sshPassword", "AccessKeySecret"})
"""Fields that are shown but cannot be queried: they are built for the answer."""
