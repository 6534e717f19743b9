"""The calls on backup storages."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from bs_agent.contract.bounds import Port
from bs_agent.contract.declaration import (
    Api,
    DeleteMode,
    Description,
    Name,
    OneResource,
    Parameters,
    QueryParameters,
    QueryReply,
    Reply,
)
from bs_agent.contract.deletion import DeletePreviewInventory
from bs_agent.contract.inventory import (
    AnyBackupStorage,
    BackupStorageInventory,
    CephBackupStorageInventory,
    ImageStoreBackupStorageInventory,
)
from bs_agent.contract.uuids import NewUuid, Uuid


def _check_host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.\-_]{0,253}[A-Za-z0-9])?|[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?", text):
        raise ValueError("must be a host name or an IP address")
    return text


def _check_directory(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("must be the absolute path of a directory, for example /zstack_imagestore")
    if not text.strip("/."):
        raise ValueError("must be a directory other than /")
    return text


Host = Annotated[str, AfterValidator(_check_host), Field(max_length=255, description="Host name or IP address.")]
Directory = Annotated[str, AfterValidator(_check_directory), Field(max_length=2048)]


class AddImageStoreParameters(Parameters):
    """A directory on a host. Without an SSH log-in the system tag `agentEnrollment::<code>` is needed."""

    name: Name
    description: Description | None = None
    hostname: Host
    username: str = Field("", max_length=255, description="SSH user; root, or one who may use sudo without a password.")
    password: SecretStr = Field(SecretStr(""), max_length=1024, description="SSH password.")
    sshPort: Port = 22
    url: Directory = Field(description="The absolute path of the directory on the host.")
    servicePort: Port | None = Field(None, description="A TCP port of the host that must answer, if given.")
    importImages: bool = Field(default=False, description="Accepted for compatibility; images are not imported.")
    resourceUuid: NewUuid | None = None


class DeleteParameters(OneResource):
    """What to delete, and how."""

    deleteMode: DeleteMode = Field(
        "Permissive",
        description="Permissive fails when a host cannot be cleaned; Enforcing cleans it when it comes back.",
    )


class DeleteStorageParameters(DeleteParameters):
    """What to delete, and how; or only what that would do."""

    dryRun: bool = Field(default=False, description="Change nothing, and return what would be done on which host.")


class ChangeStateParameters(OneResource):
    """Whether the storage may be used."""

    stateEvent: Literal["enable", "disable"]


class UpdateParameters(OneResource):
    """What to change; what is left out stays."""

    name: Name | None = None
    description: Description | None = None


class CapacityParameters(Parameters):
    """Which backup storages to sum up: those of the zones, those named, or all."""

    zoneUuids: list[Uuid] = Field(default_factory=list, max_length=1000)
    backupStorageUuids: list[Uuid] = Field(default_factory=list, max_length=1000)
    all: bool = Field(default=False, description="Sum up all backup storages.")


class BackupStorageReply(Reply):
    """One backup storage."""

    inventory: AnyBackupStorage


class ImageStoreReply(Reply):
    """One ImageStore."""

    inventory: ImageStoreBackupStorageInventory


class QueryBackupStorageReply(QueryReply):
    """The backup storages that were found."""

    inventories: list[AnyBackupStorage] | None = None


class QueryImageStoreReply(QueryReply):
    """The ImageStores that were found."""

    inventories: list[ImageStoreBackupStorageInventory] | None = None


class QueryCephReply(QueryReply):
    """The Ceph backup storages that were found."""

    inventories: list[CephBackupStorageInventory] | None = None


class DeleteReply(Reply):
    """With `dryRun` what would be done; otherwise nothing."""

    inventory: DeletePreviewInventory | None = None


class CapacityReply(Reply):
    """The sums, in bytes."""

    totalCapacity: int
    availableCapacity: int


class TypesReply(Reply):
    """The types of backup storage that there are."""

    types: list[str]


_ACTIONS = ("/backup-storage/{uuid}/actions",)
_STORAGE = (("uuid", BackupStorageInventory),)

ADD_IMAGE_STORE = Api(
    "AddImageStoreBackupStorage", "POST", ("/backup-storage/image-store",), AddImageStoreParameters, ImageStoreReply,
    "Add a directory of a host as a backup storage.", body_key="params", long=True,
)  # fmt: skip
QUERY_BACKUP_STORAGE = Api(
    "QueryBackupStorage", "GET", ("/backup-storage", "/backup-storage/{uuid}"), QueryParameters,
    QueryBackupStorageReply, "Find backup storages.", queries=BackupStorageInventory,
)  # fmt: skip
QUERY_IMAGE_STORE = Api(
    "QueryImageStoreBackupStorage", "GET", ("/backup-storage/image-store", "/backup-storage/image-store/{uuid}"),
    QueryParameters, QueryImageStoreReply, "Find ImageStores.", queries=ImageStoreBackupStorageInventory,
)  # fmt: skip
QUERY_CEPH = Api(
    "QueryCephBackupStorage", "GET", ("/backup-storage/ceph", "/backup-storage/ceph/{uuid}"),
    QueryParameters, QueryCephReply, "Find Ceph backup storages.", queries=CephBackupStorageInventory,
)  # fmt: skip
RECONNECT_BACKUP_STORAGE = Api(
    "ReconnectBackupStorage", "PUT", _ACTIONS, OneResource, BackupStorageReply,
    "Connect to the hosts of a backup storage afresh.", body_key="reconnectBackupStorage", long=True,
    must_exist=_STORAGE,
)  # fmt: skip
RECONNECT_IMAGE_STORE = Api(
    "ReconnectImageStoreBackupStorage", "PUT", ("/backup-storage/image-store/{uuid}/actions",), OneResource,
    ImageStoreReply, "Connect to the host of an ImageStore afresh.", body_key="reconnectImageStoreBackupStorage",
    long=True, must_exist=(("uuid", ImageStoreBackupStorageInventory),),
)  # fmt: skip
CHANGE_BACKUP_STORAGE_STATE = Api(
    "ChangeBackupStorageState", "PUT", _ACTIONS, ChangeStateParameters, BackupStorageReply,
    "Enable or disable a backup storage.", body_key="changeBackupStorageState", long=True, must_exist=_STORAGE,
)  # fmt: skip
UPDATE_BACKUP_STORAGE = Api(
    "UpdateBackupStorage", "PUT", _ACTIONS, UpdateParameters, BackupStorageReply,
    "Change the name or the description of a backup storage.", body_key="updateBackupStorage", long=True,
    must_exist=_STORAGE,
)  # fmt: skip
DELETE_BACKUP_STORAGE = Api(
    "DeleteBackupStorage", "DELETE", ("/backup-storage/{uuid}",), DeleteStorageParameters, DeleteReply,
    "Delete a backup storage and clean its hosts; images are kept.", long=True,
)  # fmt: skip
GET_CAPACITY = Api(
    "GetBackupStorageCapacity", "GET", ("/backup-storage/capacities",), CapacityParameters, CapacityReply,
    "Sum up the capacities of backup storages.",
)  # fmt: skip
GET_TYPES = Api(
    "GetBackupStorageTypes", "GET", ("/backup-storage/types",), Parameters, TypesReply,
    "List the types of backup storage.",
)  # fmt: skip

STORAGE_CALLS = (
    ADD_IMAGE_STORE, QUERY_BACKUP_STORAGE, QUERY_IMAGE_STORE, QUERY_CEPH, RECONNECT_BACKUP_STORAGE,
    RECONNECT_IMAGE_STORE, CHANGE_BACKUP_STORAGE_STATE, UPDATE_BACKUP_STORAGE, DELETE_BACKUP_STORAGE, GET_CAPACITY,
    GET_TYPES,
)  # fmt: skip
