"""What the public API shows: one model for each inventory. Capacities are bytes.

`java_class` is the name by which existing clients know the inventory (the `schema` of an answer). `expands` names the
fields that lead to other inventories, for conditions across tables such as `zone.name`.
"""

from typing import ClassVar, Literal, get_origin

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
    computed: ClassVar[frozenset[str]] = frozenset()
    """Fields of this inventory that are built for the answer, beside those of `NOT_STORED`."""

    @classmethod
    def queryable(cls) -> list[str]:
        """Return the fields that a condition may name; lists of plain values among them, sub-inventories not."""
        built = NOT_STORED | cls.computed
        return [name for name in cls.model_fields if name not in cls.expands and name not in built]

    @classmethod
    def reachable(cls) -> list[str]:
        """Return the fields that a condition on another inventory, which leads here, may name: no lists."""
        return [name for name in cls.queryable() if get_origin(cls.model_fields[name].annotation) is not list]


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
    urgency: int = Field(
        0,
        description="How much it wants to be looked at: `sort=-urgency` has the worst first. The hundreds say why (3 "
        "Disconnected, 2 Connecting, 1 Connected with a reason, stale or nearly full, 0 well), the rest is the "
        "percents that are used.",
    )
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


class AgentInventory(Inventory):
    """An agent: one machine, under however many names it is reached. Its token is never shown.

    `status` and `statusReason` say how the polls go: Connected while the agent answers, Disconnected after as many
    missed polls in a row as the configuration allows, Connecting until it was polled.
    """

    java_class = "org.zstack.bsagent.AgentInventory"

    uuid: str
    hostname: str = Field(description="Where it is reached now.")
    port: int
    hostnames: list[str] = Field(default_factory=list, description="Every name and address by which it is reached.")
    version: str | None = Field(None, description="The version that its last report named.")
    bootId: str | None = Field(None, description="The kernel's name of the machine's boot, as of its last report.")
    fingerprint: str = Field(description="SHA-256 of its certificate, which is pinned.")
    nextFingerprint: str | None = Field(None, description="That of the certificate that it has announced.")
    certificateEndDate: ApiDate | None = Field(None, description="Until when its certificate is good.")
    status: Status = Field(description="Whether it answers polls.")
    statusReason: Reason | None = Field(None, description="Why the last poll was missed.")
    missedPolls: int = Field(0, description="How many polls it has missed in a row.")
    lastPollDate: ApiDate | None = Field(None, description="When it answered last, or missed a poll.")
    lastPushDate: ApiDate | None = Field(None, description="When it last sent a report by itself.")
    clockSkew: float | None = Field(
        None,
        description="Seconds by which its clock is ahead of the management node's; answers are dated in whole seconds.",
    )
    leaving: bool = Field(default=False, description="Whether its enrolment is being taken from it.")
    backupStorageUuids: list[str] = Field(default_factory=list, description="The storages that it serves.")
    createDate: ApiDate


class DebtInventory(Inventory):
    """A clean-up, or a forgetting of an enrolment, that is still owed to an agent."""

    java_class = "org.zstack.bsagent.DebtInventory"
    expands = {"agent": AgentInventory}
    computed = frozenset({"hostname", "lastReason", "cure"})

    uuid: str
    type: Literal["Cleanup", "Forgetting"] = Field(description="What is owed.")
    agentUuid: str
    hostname: str | None = Field(None, description="Where the agent is reached now.")
    backupStorageUuid: str | None = Field(None, description="The storage to be cleaned from the host, if it is that.")
    backupStorageName: str | None = Field(None, description="Its name; it may be deleted by now.")
    hostOnly: bool = Field(description="Whether the storage lives on through other hosts, so that only this one goes.")
    lastReason: Reason | None = Field(None, description="Why it could not be paid the last time.")
    cure: str | None = Field(None, description="What helps against that.")
    lastTryDate: ApiDate | None = Field(None, description="When it was tried last.")
    nextTryDate: ApiDate | None = Field(
        None, description="Before when it is not tried again; without it, as soon as the agent answers a poll."
    )
    createDate: ApiDate = Field(description="Since when it is owed.")


class JobInventory(Inventory):
    """A call that runs, or ran, as a job; what it answers is told to its caller alone."""

    java_class = "org.zstack.bsagent.JobInventory"

    uuid: str
    apiName: str = Field(description="The name of the call.")
    state: Literal["Running", "Done", "Failed"]
    accountUuid: str = Field(description="Who called; empty for a call that was refused because nobody had logged in.")
    resourceUuid: str | None = Field(None, description="What the call is about; of a creation, once that is done.")
    errorCode: str | None = Field(None, description="The code of the error that it has failed with.")
    createDate: ApiDate
    endDate: ApiDate | None = None


EventType = Literal[
    "StatusChanged", "StateChanged", "OperationBegan", "OperationEnded", "DebtPaid", "DebtGivenUp",
    "LogIn", "LogInRefused", "SessionEnded", "PasswordChanged", "AccessKeyCreated", "AccessKeyDeleted",
    "AgentAdded", "AgentAway", "AgentBack", "AgentRemoved",
]  # fmt: skip


class EventInventory(Inventory):
    """Something that has happened. The uuids of later events are greater, so the order by uuid is that of time."""

    java_class = "org.zstack.bsagent.EventInventory"

    uuid: str
    type: EventType
    createDate: ApiDate = Field(description="When, by the database's clock.")
    resourceUuid: str | None = Field(None, description="What it happened to.")
    resourceName: str | None = Field(None, description="Its name at that time.")
    resourceType: str | None = Field(None, description="BackupStorageVO, AgentVO, SessionVO, AccessKeyVO or AccountVO.")
    accountUuid: str | None = Field(None, description="Whose doing it is; none where the node did it by itself.")
    accountName: str | None = None
    address: str | None = Field(None, description="From where a log-in was tried.")
    oldValue: str | None = Field(None, description="The status or state before.")
    newValue: str | None = Field(None, description="The status or state since.")
    operation: str | None = Field(None, description="Of an operation: add, reconnect, delete or change.")
    operationUuid: str | None = Field(None, description="Which one: its beginning and its end name the same.")
    outcome: Literal["Succeeded", "Failed", "Lost"] | None = Field(None, description="How an operation has ended.")
    code: str | None = Field(None, description="The code of the reason, or of the error.")
    details: str | None = Field(None, description="What was seen.")


BACKUP_STORAGE_KINDS: dict[str, type[BackupStorageInventory]] = {
    IMAGESTORE: ImageStoreBackupStorageInventory,
    CEPH: CephBackupStorageInventory,
}
"""Which inventory a backup storage of this `type` has."""

AnyBackupStorage = ImageStoreBackupStorageInventory | CephBackupStorageInventory | BackupStorageInventory

NOT_STORED = frozenset({"statusReason", "sshPassword", "AccessKeySecret"})
"""Fields that are shown but cannot be queried: they are built for the answer."""
