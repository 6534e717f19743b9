"""Values for examples in the documentation of the API, by the names of parameters and fields.

A test holds them to the declarations: each example is a call, or an inventory, that is valid.
"""

from typing import Any

from bs_agent.contract.inventory import CephBackupStorageInventory, Inventory
from bs_agent.contract.report import CEPH, IMAGESTORE

_STORAGE = "1ab3b836a88342e1bbc1b1a17d092f0f"
_CEPH = "eed424abee694bcda5a5e414a61ea3d3"
_TAG = "9c2e0d1f3a4b4c5d8e6f7a8b9c0d1e2f"
_KEY = "5d6e7f8a9b0c4d1e2f3a4b5c6d7e8f9a"
_ZONE = "b42b5bd4cb4d4f5d8cb04f92ab6a4b2f"
_MON = "2f7a9b0a9c3d4a51a3cbf1c8f5a4b6d7"
_ACCOUNT = "36c27e8ff05c4780bf6d2fa65700f22e"
_SESSION = "4c1d2e5f8a7b4d3c9e0f1a2b3c4d5e6f"
_AGENT = "9d3c1b7a5e2f4a6b8c0d1e2f3a4b5c6d"
_JOB = "7e1f2a3b4c5d4e6f8a9b0c1d2e3f4a5b"
_CREATED, _CHANGED = "Apr 11, 2018 2:50:54 PM", "Dec 13, 2019 7:32:49 PM"

VALUES: dict[str, Any] = {
    "AccessKeyID": "7GJ3kQ2xV9bNcR5tYw8Z",
    "AccessKeySecret": "pX4mL7sD1fHq9zC6vB3nK8jG5wT2yR0uEoIaPlMx",
    "accountName": "admin",
    "accountUuid": _ACCOUNT,
    "all": True,
    "apiName": "ReconnectBackupStorage",
    "attachedZoneUuids": [_ZONE],
    "availableCapacity": 4931431059456,
    "backupStorageUuid": _STORAGE,
    "backupStorageUuids": [_STORAGE],
    "capacityDate": _CHANGED,
    "capacityStale": False,
    "createDate": _CREATED,
    "deleteMode": "Permissive",
    "dryRun": True,
    "description": "images of the first zone",
    "endDate": _CHANGED,
    "errorCode": "SYS.1006",
    "expiredDate": _CHANGED,
    "fsid": "7ff218d9-f525-435f-8a40-3618d1772a64",
    "hostname": "172.20.1.115",
    "isDefault": False,
    "lastOpDate": _CHANGED,
    "limit": 20,
    "monAddr": "172.20.1.116",
    "monHostnames": ["172.20.1.117"],
    "monPort": 6789,
    "monUrls": ["root:password@172.20.1.116:22/?monPort=6789", "172.20.1.117"],
    "monUuid": _MON,
    "name": "image-store",
    "period": "month",
    "password": "correct horse battery staple",
    "poolAvailableCapacity": 99166912512,
    "poolDiskUtilization": 0.333,
    "poolMaxAvail": 94208566886,
    "poolName": "bak-t-images",
    "poolReplicatedSize": 3,
    "poolSecurityPolicy": "Copy",
    "poolStored": 1073741824,
    "poolUsedCapacity": 3221225472,
    "resourceType": "BackupStorageVO",
    "resourceUuid": _STORAGE,
    "sessionUuid": _SESSION,
    "sshPassword": "*****",
    "sshPort": 22,
    "sshUsername": "root",
    "state": "Enabled",
    "stateEvent": "disable",
    "status": "Connected",
    "tag": "rack::7",
    "totalCapacity": 9992857976832,
    "urgency": 50,
    "url": "/zstack_imagestore",
    "username": "root",
    "userUuid": _ACCOUNT,
    "uuid": _STORAGE,
    "zoneUuid": _ZONE,
    "zoneUuids": [_ZONE],
}

HASHED = (
    "b109f3bbbc244eb82441917ed06d618b9008dd09b3befd1b5e07394c706a8bb9"
    "80b1d7785e5976ec049b46df5f1326af5a2ea6d103fd07c95385ffab0cacbc86"
)
"""What an account's password travels as: the SHA-512 of `password`."""

_OF_CALL: dict[str, dict[str, Any]] = {
    "LogInByAccount": {"password": HASHED},
    "UpdateAccount": {"password": HASHED},
    "AddCephBackupStorage": {"monUrls": ["root:password@172.20.1.116:22/?monPort=6789", "172.20.1.117"]},
    "AddMonToCephBackupStorage": {"monUrls": ["172.20.1.118"]},
    "UpdateBackupStorage": {"name": "image-store", "description": "images of the first zone"},
    "CreateAccessKey": {"description": "the key of the backup job"},
}
"""Values that a name has in one call alone; of a call without needed parameters, those that it is shown with."""

_IN_PATH = {
    "accounts": _ACCOUNT,
    "zones": _ZONE,
    "ceph": _CEPH,
    "tags": _TAG,
    "system-tags": _TAG,
    "user-tags": _TAG,
    "accesskeys": _KEY,
    "open-sessions": _ACCOUNT,
    "jobs": _JOB,
}
"""The `uuid` that stands behind these words of a path; behind others it is a storage's."""

QUERY: dict[str, Any] = {
    "q": ["status=Connected"],
    "limit": 20,
    "start": 0,
    "count": False,
    "replyWithCount": True,
    "sort": "-createDate",
    "fields": ["name", "uuid"],
    "groupBy": "state",
}

_OF_INVENTORY: dict[str, dict[str, Any]] = {
    "DeletePreviewInventory": {"permissive": "Deleted", "enforcing": "Deleted"},
    "HostCleanupInventory": {
        "answers": True,
        "hostOnly": False,
        "steps": [{"action": "remove", "target": "/zstack_imagestore/.bs-agent.json"}],
        "permissive": "Cleaned",
        "enforcing": "Cleaned",
    },
    "AgentInventory": {
        "uuid": _AGENT,
        "port": 7765,
        "hostnames": ["172.20.1.115", "images-1.example"],
        "version": "0.9.0",
        "fingerprint": "3b8f0c5d2e6a9147" * 4,
        "missedPolls": 0,
        "lastPollDate": _CHANGED,
        "clockSkew": 0.2,
        "leaving": False,
        "backupStorageUuids": [_STORAGE],
    },
    "CapacityPoint": {"date": _CHANGED},
    "DebtInventory": {
        "uuid": _JOB,
        "type": "Cleanup",
        "agentUuid": _AGENT,
        "backupStorageName": "image-store",
        "hostOnly": False,
        "lastReason": {"code": "DirectoryHung", "details": "statvfs did not answer within 10 s"},
        "lastTryDate": _CHANGED,
    },
    "EventInventory": {
        "uuid": "019d8a2f4c1b0a7f3e5d6c7b8a9f0e1d",
        "type": "StatusChanged",
        "resourceName": "image-store",
        "oldValue": "Connected",
        "newValue": "Disconnected",
        "code": "AgentUnreachable",
        "details": "172.20.1.115:7765: Connection refused",
    },
    "JobInventory": {"uuid": _JOB, "state": "Failed"},
}
"""Values that a name has in one inventory alone."""

_TYPES = {
    "CephBackupStorageInventory": CEPH,
    "BackupStorageInventory": IMAGESTORE,
    "ImageStoreBackupStorageInventory": IMAGESTORE,
    "ZoneInventory": "zstack",
    "SystemTagInventory": "System",
    "UserTagInventory": "User",
    "AccountInventory": "SystemAdmin",
}


def inventory_example(kind: type[Inventory]) -> dict[str, Any]:
    """Return an example of an inventory, as an answer shows it."""
    example = {name: VALUES[name] for name in kind.model_fields if name in VALUES}
    if kind.__name__ in _TYPES:
        example["type"] = _TYPES[kind.__name__]
    if kind is CephBackupStorageInventory:
        example["url"] = "not used"
    example |= _OF_INVENTORY.get(kind.__name__, {})
    for name, below in kind.expands.items():
        if name in kind.model_fields:
            example[name] = [inventory_example(below)]
    return example


def parameters_example(call: str, names: list[str], required: list[str]) -> dict[str, Any]:
    """Return example parameters of a call: those that are required, or all that there are when none is."""
    own = _OF_CALL.get(call, {})
    if own and not required:
        return own
    return {name: own.get(name, VALUES.get(name)) for name in required or names if name in own or name in VALUES}


def path_example(path: str, name: str) -> Any:  # noqa: ANN401 RUF100  JSON
    """Return an example of a variable of a path."""
    before = path.partition(f"/{{{name}}}")[0].rpartition("/")[2]
    return _IN_PATH.get(before, VALUES[name]) if name == "uuid" else VALUES.get(name)
