"""Every public API, declared once: name, method, path, parameters, reply.

The server's routes, the SDK's actions, the CLI and the OpenAPI document derive from these declarations. A parameter
whose name stands in the path travels there; the others travel in the body under `body_key`, or in the query string.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from bs_agent.contract.inventory import (
    AnyBackupStorage,
    BackupStorageInventory,
    ImageStoreBackupStorageInventory,
    Inventory,
    SessionInventory,
)

PREFIX = "/zstack/v1"


class Parameters(BaseModel):
    """The parameters of an API; tags go with every one. Unknown ones are ignored: newer clients send more."""

    model_config = ConfigDict(extra="ignore", validate_by_name=True)

    systemTags: list[str] = Field(default_factory=list, description="The system tags.", max_length=100)
    userTags: list[str] = Field(default_factory=list, description="The user tags.", max_length=100)


class Reply(BaseModel):
    """The root of the replies; an empty one is `{}`."""

    model_config = ConfigDict(extra="ignore")


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


Host = Annotated[str, AfterValidator(_check_host), Field(description="Host name or IP address.")]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=255, description="The resource name.")]
Description = Annotated[str, Field(max_length=2048, description="The detailed description of the resource.")]
Directory = Annotated[str, AfterValidator(_check_directory), Field(max_length=2048)]
DeleteMode = Literal["Permissive", "Enforcing"]


class OneResource(Parameters):
    """The parameters of an API on one resource."""

    uuid: str = Field(description="The resource UUID.")


class QueryParameters(Parameters):
    """The parameters of a query; on the wire `conditions` are repeated `q=`, and the sort is one `sort=`."""

    conditions: list[str] = Field(default_factory=list, description="Conditions such as `status=Connected`; all hold.")
    limit: int | None = Field(None, description="The most inventories to return; 1000 without it.")
    start: int | None = Field(None, description="How many matches to skip.")
    count: bool | None = Field(None, description="Return only the number of matches.")
    replyWithCount: bool | None = Field(None, description="Return the number of all matches beside the inventories.")
    sortBy: str | None = Field(None, description="The field to sort by.")
    sortDirection: Literal["asc", "desc"] | None = None
    fields: list[str] | None = Field(None, description="Return only these fields.")
    groupBy: str | None = Field(None, description="Return one inventory for each value of this field.")
    filterName: str | None = None


class LogInParameters(Parameters):
    """Who logs in."""

    accountName: str
    password: SecretStr = Field(description="The lower-case hexadecimal SHA-512 of the password.")


class LogOutParameters(Parameters):
    """Which session ends."""

    sessionUuid: str


class AddImageStoreParameters(Parameters):
    """A directory on a host. Without an SSH log-in the system tag `agentEnrollment::<code>` is needed."""

    name: Name
    description: Description = ""
    hostname: Host
    username: str = Field("", max_length=255, description="SSH user; root, or one who may use sudo without a password.")
    password: SecretStr = Field(SecretStr(""), description="SSH password.")
    sshPort: Port = 22
    url: Directory = Field(description="The absolute path of the directory on the host.")
    servicePort: Port | None = Field(None, description="A TCP port of the host that must answer, if given.")
    importImages: bool = Field(default=False, description="Accepted for compatibility; images are not imported.")
    resourceUuid: str | None = Field(None, pattern=r"^[0-9a-f]{32}$", description="The UUID to give to the resource.")


class DeleteParameters(OneResource):
    """What to delete, and how."""

    deleteMode: DeleteMode = Field(
        "Permissive",
        description="Permissive fails when a host cannot be cleaned; Enforcing cleans it when it comes back.",
    )


class SessionReply(Reply):
    """The session that was opened."""

    inventory: SessionInventory


class BackupStorageReply(Reply):
    """One backup storage."""

    inventory: AnyBackupStorage


class ImageStoreReply(Reply):
    """One ImageStore."""

    inventory: ImageStoreBackupStorageInventory


class QueryReply(Reply):
    """What a query found; `total` only when it was asked for, and then alone with `count`."""

    total: int | None = None


class QueryBackupStorageReply(QueryReply):
    """The backup storages that were found."""

    inventories: list[AnyBackupStorage] | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """One public API. `long` ones may run as a job; `queries` names the inventory that a query API returns."""

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    paths: tuple[str, ...]
    parameters: type[Parameters]
    reply: type[Reply]
    summary: str
    body_key: str = ""
    long: bool = False
    needs_session: bool = True
    queries: type[Inventory] | None = None

    @property
    def path_variables(self) -> list[str]:
        """The parameters that stand in the longest path."""
        return re.findall(r"{(\w+)}", self.paths[-1])


LOG_IN = Api(
    "LogInByAccount", "PUT", ("/accounts/login",), LogInParameters, SessionReply,
    "Open a session.", body_key="logInByAccount", needs_session=False,
)  # fmt: skip
LOG_OUT = Api(
    "LogOut", "DELETE", ("/accounts/sessions/{sessionUuid}",), LogOutParameters, Reply,
    "End a session; an unknown one too.", needs_session=False,
)  # fmt: skip
ADD_IMAGE_STORE = Api(
    "AddImageStoreBackupStorage", "POST", ("/backup-storage/image-store",), AddImageStoreParameters, ImageStoreReply,
    "Add a directory of a host as a backup storage.", body_key="params", long=True,
)  # fmt: skip
QUERY_BACKUP_STORAGE = Api(
    "QueryBackupStorage", "GET", ("/backup-storage", "/backup-storage/{uuid}"), QueryParameters,
    QueryBackupStorageReply, "Find backup storages.", queries=BackupStorageInventory,
)  # fmt: skip
RECONNECT_BACKUP_STORAGE = Api(
    "ReconnectBackupStorage", "PUT", ("/backup-storage/{uuid}/actions",), OneResource, BackupStorageReply,
    "Connect to the hosts of a backup storage afresh.", body_key="reconnectBackupStorage", long=True,
)  # fmt: skip
DELETE_BACKUP_STORAGE = Api(
    "DeleteBackupStorage", "DELETE", ("/backup-storage/{uuid}",), DeleteParameters, Reply,
    "Delete a backup storage and clean its hosts; images are kept.", long=True,
)  # fmt: skip

APIS: dict[str, Api] = {
    api.name: api
    for api in (LOG_IN, LOG_OUT, ADD_IMAGE_STORE, QUERY_BACKUP_STORAGE, RECONNECT_BACKUP_STORAGE, DELETE_BACKUP_STORAGE)
}
