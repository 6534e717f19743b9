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

from bs_agent.client.actions.accounts import (
    CreateAccessKeyAction,
    DeleteAccessKeyAction,
    LogInByAccountAction,
    LogOutAction,
    QueryAccessKeyAction,
    QueryAccountAction,
    QuerySessionAction,
    RevokeSessionAction,
    UpdateAccountAction,
    ValidateSessionAction,
)
from bs_agent.client.actions.action import Action, QueryAction, Result, configure
from bs_agent.client.actions.agents import QueryAgentAction, QueryDebtAction
from bs_agent.client.actions.ceph import (
    AddCephBackupStorageAction,
    AddMonToCephBackupStorageAction,
    RemoveMonFromCephBackupStorageAction,
    UpdateCephBackupStorageMonAction,
)
from bs_agent.client.actions.past import (
    GetBackupStorageCapacityHistoryAction,
    QueryEventAction,
    QueryJobAction,
)
from bs_agent.client.actions.storages import (
    AddImageStoreBackupStorageAction,
    ChangeBackupStorageStateAction,
    DeleteBackupStorageAction,
    GetBackupStorageCapacityAction,
    GetBackupStorageTypesAction,
    QueryBackupStorageAction,
    QueryCephBackupStorageAction,
    QueryImageStoreBackupStorageAction,
    ReconnectBackupStorageAction,
    ReconnectImageStoreBackupStorageAction,
    UpdateBackupStorageAction,
)
from bs_agent.client.actions.tags import (
    CreateSystemTagAction,
    CreateUserTagAction,
    DeleteTagAction,
    QuerySystemTagAction,
    QueryUserTagAction,
)
from bs_agent.client.actions.zones import (
    AttachBackupStorageToZoneAction,
    CreateZoneAction,
    DeleteZoneAction,
    DetachBackupStorageFromZoneAction,
    QueryZoneAction,
)
from bs_agent.client.wire.failures import CallFailed
from bs_agent.client.wire.signing import AccessKey
from bs_agent.client.wire.transport import Client, Connection, Progress

__all__ = [
    "ACTIONS",
    "AccessKey",
    "Action",
    "AddCephBackupStorageAction",
    "AddImageStoreBackupStorageAction",
    "AddMonToCephBackupStorageAction",
    "AttachBackupStorageToZoneAction",
    "CallFailed",
    "ChangeBackupStorageStateAction",
    "Client",
    "Connection",
    "CreateAccessKeyAction",
    "CreateSystemTagAction",
    "CreateUserTagAction",
    "CreateZoneAction",
    "DeleteAccessKeyAction",
    "DeleteBackupStorageAction",
    "DeleteTagAction",
    "DeleteZoneAction",
    "DetachBackupStorageFromZoneAction",
    "GetBackupStorageCapacityAction",
    "GetBackupStorageCapacityHistoryAction",
    "GetBackupStorageTypesAction",
    "LogInByAccountAction",
    "LogOutAction",
    "Progress",
    "QueryAccessKeyAction",
    "QueryAccountAction",
    "QueryAction",
    "QueryAgentAction",
    "QueryBackupStorageAction",
    "QueryCephBackupStorageAction",
    "QueryDebtAction",
    "QueryEventAction",
    "QueryImageStoreBackupStorageAction",
    "QueryJobAction",
    "QuerySessionAction",
    "QuerySystemTagAction",
    "QueryUserTagAction",
    "QueryZoneAction",
    "ReconnectBackupStorageAction",
    "ReconnectImageStoreBackupStorageAction",
    "RemoveMonFromCephBackupStorageAction",
    "Result",
    "RevokeSessionAction",
    "UpdateAccountAction",
    "UpdateBackupStorageAction",
    "UpdateCephBackupStorageMonAction",
    "ValidateSessionAction",
    "configure",
]

ACTIONS: dict[str, type[Action[Any]]] = {
    found.api.name: found
    for found in list(vars().values())
    if isinstance(found, type) and issubclass(found, Action) and "api" in vars(found)
}
"""The actions by the names of their APIs."""
