"""The SDK's actions on backup storages of every kind. Capacities are bytes."""

from typing import Literal

from bs_agent.client.actions.action import Action, QueryAction
from bs_agent.contract import calls_storage as calls
from bs_agent.contract.declaration import DeleteMode


class AddImageStoreBackupStorageAction(Action[calls.ImageStoreReply]):
    """Add a directory of a host as a backup storage."""

    api = calls.ADD_IMAGE_STORE
    name: str
    description: str | None
    hostname: str
    username: str
    password: str
    sshPort: int
    url: str
    servicePort: int | None
    importImages: bool
    resourceUuid: str | None


class QueryBackupStorageAction(QueryAction[calls.QueryBackupStorageReply]):
    """Find backup storages."""

    api = calls.QUERY_BACKUP_STORAGE


class QueryImageStoreBackupStorageAction(QueryAction[calls.QueryImageStoreReply]):
    """Find ImageStores."""

    api = calls.QUERY_IMAGE_STORE


class QueryCephBackupStorageAction(QueryAction[calls.QueryCephReply]):
    """Find Ceph backup storages."""

    api = calls.QUERY_CEPH


class ReconnectBackupStorageAction(Action[calls.BackupStorageReply]):
    """Connect to the hosts of a backup storage afresh."""

    api = calls.RECONNECT_BACKUP_STORAGE
    uuid: str


class ReconnectImageStoreBackupStorageAction(Action[calls.ImageStoreReply]):
    """Connect to the host of an ImageStore afresh."""

    api = calls.RECONNECT_IMAGE_STORE
    uuid: str


class ChangeBackupStorageStateAction(Action[calls.BackupStorageReply]):
    """Enable or disable a backup storage."""

    api = calls.CHANGE_BACKUP_STORAGE_STATE
    uuid: str
    stateEvent: Literal["enable", "disable"]


class UpdateBackupStorageAction(Action[calls.BackupStorageReply]):
    """Change the name or the description of a backup storage."""

    api = calls.UPDATE_BACKUP_STORAGE
    uuid: str
    name: str | None
    description: str | None


class DeleteBackupStorageAction(Action[calls.DeleteReply]):
    """Delete a backup storage and clean its hosts; images are kept. With `dryRun` only tell what that would do."""

    api = calls.DELETE_BACKUP_STORAGE
    uuid: str
    deleteMode: DeleteMode
    dryRun: bool


class GetBackupStorageCapacityAction(Action[calls.CapacityReply]):
    """Sum up the capacities of backup storages, in bytes."""

    api = calls.GET_CAPACITY
    zoneUuids: list[str]
    backupStorageUuids: list[str]
    all: bool


class GetBackupStorageTypesAction(Action[calls.TypesReply]):
    """List the types of backup storage."""

    api = calls.GET_TYPES
