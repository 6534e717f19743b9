"""The SDK: one action for each public API.

    from bs_agent.client.sdk import QueryBackupStorageAction, configure

    configure(hostname="127.0.0.1", port=8080)
    action = QueryBackupStorageAction(conditions=["status=Connected"])
    action.sessionId = "0359113913834277bc815b446a6eff25"
    res = action.call()                 # or: await action.call_async()
    if res.error is None: print(res.value.inventories)

Capacities are bytes, times of the client are seconds. Needs nothing but aiohttp and pydantic.
"""

from typing import Any

from bs_agent.client.actions import Action, QueryAction, Result, configure
from bs_agent.client.failures import CallFailed
from bs_agent.client.transport import Client, Connection, Progress
from bs_agent.contract.api import (
    APIS,
    BackupStorageReply,
    DeleteMode,
    ImageStoreReply,
    QueryBackupStorageReply,
    Reply,
    SessionReply,
)

__all__ = [
    "ACTIONS",
    "Action",
    "AddImageStoreBackupStorageAction",
    "CallFailed",
    "Client",
    "Connection",
    "DeleteBackupStorageAction",
    "LogInByAccountAction",
    "LogOutAction",
    "Progress",
    "QueryAction",
    "QueryBackupStorageAction",
    "ReconnectBackupStorageAction",
    "Result",
    "configure",
]


class LogInByAccountAction(Action[SessionReply]):
    """Open a session; a password that is no SHA-512 yet is hashed before it is sent."""

    api = APIS["LogInByAccount"]
    hashed = frozenset({"password"})
    accountName: str
    password: str


class LogOutAction(Action[Reply]):
    """End a session; an unknown one too."""

    api = APIS["LogOut"]
    sessionUuid: str


class AddImageStoreBackupStorageAction(Action[ImageStoreReply]):
    """Add a directory of a host as a backup storage."""

    api = APIS["AddImageStoreBackupStorage"]
    name: str
    description: str
    hostname: str
    username: str
    password: str
    sshPort: int
    url: str
    servicePort: int | None
    importImages: bool
    resourceUuid: str | None


class QueryBackupStorageAction(QueryAction[QueryBackupStorageReply]):
    """Find backup storages."""

    api = APIS["QueryBackupStorage"]


class ReconnectBackupStorageAction(Action[BackupStorageReply]):
    """Connect to the hosts of a backup storage afresh."""

    api = APIS["ReconnectBackupStorage"]
    uuid: str


class DeleteBackupStorageAction(Action[Reply]):
    """Delete a backup storage and clean its hosts; images are kept."""

    api = APIS["DeleteBackupStorage"]
    uuid: str
    deleteMode: DeleteMode


ACTIONS: dict[str, type[Action[Any]]] = {
    found.api.name: found
    for found in list(vars().values())
    if isinstance(found, type) and issubclass(found, Action) and "api" in vars(found)
}
"""The actions by the names of their APIs."""
