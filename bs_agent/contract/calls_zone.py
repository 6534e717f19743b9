"""The calls on zones, and on which backup storages belong to them."""

from pydantic import Field

from bs_agent.contract.calls_storage import BackupStorageReply, DeleteParameters
from bs_agent.contract.declaration import (
    Api,
    Description,
    Name,
    Parameters,
    QueryParameters,
    QueryReply,
    Reply,
)
from bs_agent.contract.inventory import BackupStorageInventory, ZoneInventory
from bs_agent.contract.uuids import NewUuid, Uuid


class CreateZoneParameters(Parameters):
    """A new zone."""

    name: Name
    description: Description | None = None
    isDefault: bool = Field(default=False, description="Whether this is the default zone; there is at most one.")
    resourceUuid: NewUuid | None = None


class ZoneStorageParameters(Parameters):
    """A zone and a backup storage."""

    zoneUuid: Uuid = Field(description="The UUID of the zone.")
    backupStorageUuid: Uuid = Field(description="The UUID of the backup storage.")


class ZoneReply(Reply):
    """One zone."""

    inventory: ZoneInventory


class QueryZoneReply(QueryReply):
    """The zones that were found."""

    inventories: list[ZoneInventory] | None = None


_PAIR = ("/zones/{zoneUuid}/backup-storage/{backupStorageUuid}",)
_BOTH = (("zoneUuid", ZoneInventory), ("backupStorageUuid", BackupStorageInventory))

CREATE_ZONE = Api(
    "CreateZone", "POST", ("/zones",), CreateZoneParameters, ZoneReply, "Create a zone.", body_key="params", long=True,
)  # fmt: skip
QUERY_ZONE = Api(
    "QueryZone", "GET", ("/zones", "/zones/{uuid}"), QueryParameters, QueryZoneReply, "Find zones.",
    queries=ZoneInventory,
)  # fmt: skip
DELETE_ZONE = Api(
    "DeleteZone", "DELETE", ("/zones/{uuid}",), DeleteParameters, Reply,
    "Delete a zone; its backup storages are detached and stay.", long=True,
)  # fmt: skip
ATTACH_STORAGE = Api(
    "AttachBackupStorageToZone", "POST", _PAIR, ZoneStorageParameters, BackupStorageReply,
    "Attach a backup storage to a zone.", body_key="params", long=True, must_exist=_BOTH,
)  # fmt: skip
DETACH_STORAGE = Api(
    "DetachBackupStorageFromZone", "DELETE", _PAIR, ZoneStorageParameters, BackupStorageReply,
    "Detach a backup storage from a zone.", long=True, must_exist=_BOTH,
)  # fmt: skip

ZONE_CALLS = (CREATE_ZONE, QUERY_ZONE, DELETE_ZONE, ATTACH_STORAGE, DETACH_STORAGE)
