"""Every public API, declared once: name, method, path, parameters, reply.

The server's routes, the SDK's actions, the CLI and the OpenAPI document derive from these declarations. A parameter
whose name stands in the path travels there; the others travel in the body under `body_key`, or in the query string.
"""

from bs_agent.contract.calls_account import ACCOUNT_CALLS, SessionReply
from bs_agent.contract.calls_agent import AGENT_CALLS
from bs_agent.contract.calls_ceph import CEPH_CALLS
from bs_agent.contract.calls_past import PAST_CALLS
from bs_agent.contract.calls_storage import (
    STORAGE_CALLS,
    AddImageStoreParameters,
    BackupStorageReply,
    ImageStoreReply,
    QueryBackupStorageReply,
)
from bs_agent.contract.calls_tag import TAG_CALLS
from bs_agent.contract.calls_zone import ZONE_CALLS
from bs_agent.contract.declaration import PREFIX, Api, DeleteMode, Parameters, QueryParameters, QueryReply, Reply

__all__ = [
    "APIS",
    "PREFIX",
    "AddImageStoreParameters",
    "Api",
    "BackupStorageReply",
    "DeleteMode",
    "ImageStoreReply",
    "Parameters",
    "QueryBackupStorageReply",
    "QueryParameters",
    "QueryReply",
    "Reply",
    "SessionReply",
]

APIS: dict[str, Api] = {
    api.name: api
    for calls in (ACCOUNT_CALLS, STORAGE_CALLS, CEPH_CALLS, ZONE_CALLS, TAG_CALLS, AGENT_CALLS, PAST_CALLS)
    for api in calls
}
