"""The SDK's actions on Ceph backup storages and their mons."""

from typing import Literal

from bs_agent.client.actions.action import Action
from bs_agent.contract import calls_ceph as calls
from bs_agent.contract.calls_storage import BackupStorageReply


class AddCephBackupStorageAction(Action[BackupStorageReply]):
    """Add a pool of a Ceph cluster as a backup storage."""

    api = calls.ADD_CEPH
    name: str
    description: str | None
    monUrls: list[str]
    poolName: str | None
    capacityPolicy: Literal["osd_bytes", "max_avail"]
    importImages: bool
    resourceUuid: str | None


class AddMonToCephBackupStorageAction(Action[calls.CephReply]):
    """Add mon hosts to a Ceph backup storage."""

    api = calls.ADD_MON
    uuid: str
    monUrls: list[str]


class RemoveMonFromCephBackupStorageAction(Action[calls.CephReply]):
    """Take mon hosts from a Ceph backup storage; one at least must stay."""

    api = calls.REMOVE_MON
    uuid: str
    monHostnames: list[str]


class UpdateCephBackupStorageMonAction(Action[calls.CephReply]):
    """Change how a mon host is reached; what is left out stays."""

    api = calls.UPDATE_MON
    monUuid: str
    hostname: str | None
    sshUsername: str | None
    sshPassword: str | None
    sshPort: int | None
    monPort: int | None
