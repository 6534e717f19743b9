"""The SDK's actions on zones, and on which backup storages belong to them."""

from bs_agent.client.actions.action import Action, QueryAction
from bs_agent.contract import calls_zone as calls
from bs_agent.contract.calls_storage import BackupStorageReply
from bs_agent.contract.declaration import DeleteMode, Reply


class CreateZoneAction(Action[calls.ZoneReply]):
    """Create a zone."""

    api = calls.CREATE_ZONE
    name: str
    description: str | None
    isDefault: bool
    resourceUuid: str | None


class QueryZoneAction(QueryAction[calls.QueryZoneReply]):
    """Find zones."""

    api = calls.QUERY_ZONE


class DeleteZoneAction(Action[Reply]):
    """Delete a zone; its backup storages are detached and stay."""

    api = calls.DELETE_ZONE
    uuid: str
    deleteMode: DeleteMode


class AttachBackupStorageToZoneAction(Action[BackupStorageReply]):
    """Attach a backup storage to a zone."""

    api = calls.ATTACH_STORAGE
    zoneUuid: str
    backupStorageUuid: str


class DetachBackupStorageFromZoneAction(Action[BackupStorageReply]):
    """Detach a backup storage from a zone."""

    api = calls.DETACH_STORAGE
    zoneUuid: str
    backupStorageUuid: str
