"""The calls on Ceph backup storages and their mons."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from bs_agent.contract.bounds import Port
from bs_agent.contract.calls_storage import BackupStorageReply, Host
from bs_agent.contract.declaration import Api, Description, Name, OneResource, Parameters, Reply
from bs_agent.contract.inventory import (
    BackupStorageInventory,
    CephBackupStorageInventory,
)
from bs_agent.contract.monurl import parse_mon_url
from bs_agent.contract.tags import refuse_secret
from bs_agent.contract.uuids import NewUuid, Uuid

MAX_MONS = 31


def _check_mon_urls(texts: list[str]) -> list[str]:
    urls = [parse_mon_url(text) for text in texts]
    for url in urls:
        refuse_secret(url.username)
        refuse_secret(url.hostname)
    hostnames = [url.hostname for url in urls]
    if twice := sorted({name for name in hostnames if hostnames.count(name) > 1}):
        raise ValueError(f"names a host twice: {', '.join(twice)}")
    return texts


def _check_pool(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must be printable")
    return name


MonUrls = Annotated[
    list[Annotated[str, Field(max_length=2048)]],
    AfterValidator(_check_mon_urls),
    Field(
        min_length=1,
        max_length=MAX_MONS,
        description="The mon hosts, each as `user:password@host:sshPort/?monPort=6789`; all but the host may be left "
        "out. Without a log-in a host needs the system tag `agentEnrollment::<hostname>::<code>`.",
    ),
]
PoolName = Annotated[str, AfterValidator(_check_pool), Field(min_length=1, max_length=255)]


class AddCephParameters(Parameters):
    """A pool of a Ceph cluster, reached through its mon hosts."""

    name: Name
    description: Description | None = None
    monUrls: MonUrls
    poolName: PoolName | None = Field(None, description="An existing pool; without it `bak-t-<uuid>` is created.")
    capacityPolicy: Literal["osd_bytes", "max_avail"] = Field(
        "osd_bytes",
        description="What poolAvailableCapacity is: bytes of the pool's OSDs x disk utilisation, or Ceph's max_avail.",
    )
    importImages: bool = Field(default=False, description="Accepted for compatibility; images are not imported.")
    resourceUuid: NewUuid | None = None


class AddMonParameters(OneResource):
    """More mon hosts for a Ceph backup storage."""

    monUrls: MonUrls


class RemoveMonParameters(OneResource):
    """The mon hosts to take from a Ceph backup storage; one at least must stay."""

    monHostnames: list[Annotated[str, Field(max_length=255)]] = Field(min_length=1, max_length=MAX_MONS)


class UpdateMonParameters(Parameters):
    """What to change of a mon host; what is left out stays."""

    monUuid: Uuid = Field(description="The UUID of the mon.")
    hostname: Host | None = None
    sshUsername: str | None = Field(None, max_length=255)
    sshPassword: SecretStr | None = Field(None, max_length=1024)
    sshPort: Port | None = None
    monPort: Port | None = None


class CephReply(Reply):
    """One Ceph backup storage."""

    inventory: CephBackupStorageInventory


_MONS = ("/backup-storage/ceph/{uuid}/mons",)
_STORAGE = (("uuid", BackupStorageInventory),)

ADD_CEPH = Api(
    "AddCephBackupStorage", "POST", ("/backup-storage/ceph",), AddCephParameters, BackupStorageReply,
    "Add a pool of a Ceph cluster as a backup storage.", body_key="params", long=True,
)  # fmt: skip
ADD_MON = Api(
    "AddMonToCephBackupStorage", "POST", _MONS, AddMonParameters, CephReply,
    "Add mon hosts to a Ceph backup storage.", body_key="params", long=True, must_exist=_STORAGE,
)  # fmt: skip
REMOVE_MON = Api(
    "RemoveMonFromCephBackupStorage", "DELETE", _MONS, RemoveMonParameters, CephReply,
    "Take mon hosts from a Ceph backup storage.", long=True, must_exist=_STORAGE,
)  # fmt: skip
UPDATE_MON = Api(
    "UpdateCephBackupStorageMon", "PUT", ("/backup-storage/ceph/mons/{monUuid}/actions",), UpdateMonParameters,
    CephReply, "Change how a mon host is reached.", body_key="updateCephBackupStorageMon", long=True,
)  # fmt: skip

CEPH_CALLS = (ADD_CEPH, ADD_MON, REMOVE_MON, UPDATE_MON)
