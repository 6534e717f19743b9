"""Which use case serves which API: one row for each call of the contract that is no query."""

from collections.abc import Sequence
from typing import Any, Protocol

from bs_agent.contract.api import APIS
from bs_agent.contract.calls_account import LOG_IN, LOG_OUT, LogInParameters, SessionParameters
from bs_agent.contract.calls_storage import (
    ADD_IMAGE_STORE,
    DELETE_BACKUP_STORAGE,
    RECONNECT_BACKUP_STORAGE,
    AddImageStoreParameters,
    DeleteParameters,
)
from bs_agent.contract.dates import format_seconds
from bs_agent.contract.declaration import DeleteMode, OneResource, Parameters
from bs_agent.contract.errors import OperationFailed, ResourceNotFound
from bs_agent.contract.inventory import BackupStorageInventory, Inventory
from bs_agent.management.auth import Auth, Caller
from bs_agent.management.http import UseCase
from bs_agent.management.jobs import Payload
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import find_one


class Fleet(Protocol):
    """What is done to backup storages and their hosts."""

    async def add_image_store(self, parameters: AddImageStoreParameters) -> str:
        """Add a directory of a host; returns the uuid of the new storage."""

    async def reconnect(self, uuid: str, system_tags: Sequence[str] = ()) -> None:
        """Connect to the hosts of a storage afresh."""

    async def delete(self, uuid: str, mode: DeleteMode, system_tags: Sequence[str] = ()) -> None:
        """Delete a storage and clean its hosts; an unknown one is deleted already."""


def use_cases(auth: Auth, fleet: Fleet, database: Database) -> dict[str, UseCase]:
    """Return the use case of every API by its name."""
    sessions = SessionCalls(auth)
    storages = BackupStorageCalls(fleet, database)
    return {name: _later for name, api in APIS.items() if not api.queries} | {
        LOG_IN.name: sessions.log_in,
        LOG_OUT.name: sessions.log_out,
        ADD_IMAGE_STORE.name: storages.add_image_store,
        RECONNECT_BACKUP_STORAGE.name: storages.reconnect,
        DELETE_BACKUP_STORAGE.name: storages.delete,
    }


async def _later(_: Parameters, __: Caller) -> Payload:
    raise OperationFailed("this version does not serve this call yet")


class SessionCalls:
    """The calls on sessions."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def log_in(self, parameters: LogInParameters, caller: Caller) -> Payload:
        """Open a session."""
        password = parameters.password.get_secret_value()
        opened = await self._auth.log_in(parameters.accountName, password, caller.address)
        return {
            "inventory": {
                "uuid": opened.secret,
                "accountUuid": opened.account_uuid,
                "userUuid": opened.account_uuid,
                "expiredDate": format_seconds(opened.expires),
                "createDate": format_seconds(opened.created),
            }
        }

    async def log_out(self, parameters: SessionParameters, _: Caller) -> Payload:
        """End a session."""
        await self._auth.log_out(parameters.sessionUuid)
        return {}


class BackupStorageCalls:
    """The calls on backup storages."""

    def __init__(self, fleet: Fleet, database: Database) -> None:
        self._fleet = fleet
        self._database = database

    async def add_image_store(self, parameters: AddImageStoreParameters, _: Caller) -> Payload:
        """Add a directory of a host."""
        return await self._one(await self._fleet.add_image_store(parameters))

    async def reconnect(self, parameters: OneResource, _: Caller) -> Payload:
        """Connect to the hosts afresh."""
        await self._fleet.reconnect(parameters.uuid, parameters.systemTags)
        return await self._one(parameters.uuid)

    async def delete(self, parameters: DeleteParameters, _: Caller) -> Payload:
        """Delete a storage and clean its hosts."""
        await self._fleet.delete(parameters.uuid, parameters.deleteMode, parameters.systemTags)
        return {}

    async def _one(self, uuid: str) -> Payload:
        return {"inventory": await inventory(self._database, BackupStorageInventory, uuid)}


async def inventory(database: Database, kind: type[Inventory], uuid: str) -> dict[str, Any]:
    """Return one inventory as the API shows it.

    Raises:
        ResourceNotFound: there is none of this uuid.
    """
    found = await find_one(database, kind, uuid)
    if not found.inventories:
        raise not_found(kind, uuid)
    return found.inventories[0]


def not_found(kind: type[Inventory], uuid: str) -> ResourceNotFound:
    """Build the error for a uuid that names nothing."""
    resource = kind.__name__.removesuffix("Inventory")
    return ResourceNotFound(f"invalid field[uuid], resource[uuid:{uuid}, type:{resource}VO] not found")
