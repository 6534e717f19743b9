"""The calls on backup storages."""

from bs_agent.contract import calls_storage as calls
from bs_agent.contract.declaration import OneResource, Parameters
from bs_agent.contract.errors import InvalidArgument
from bs_agent.contract.inventory import BACKUP_STORAGE_KINDS, BackupStorageInventory
from bs_agent.management.access.sessions import Caller
from bs_agent.management.api.calls import UseCase
from bs_agent.management.api.tags import TagCalls
from bs_agent.management.jobs.jobs import Payload
from bs_agent.management.operations.acts import Acts
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import not_found, shown
from bs_agent.management.store.storages import StorageStore
from bs_agent.management.store.tags import Tagged


class StorageCalls:
    """Adds, reconnects, changes, deletes and sums up backup storages."""

    def __init__(self, acts: Acts, database: Database, tags: TagCalls) -> None:
        self._acts = acts
        self._database = database
        self._storages = StorageStore(database)
        self._tags = tags

    def rows(self) -> dict[str, UseCase]:
        """Return the use case of each call."""
        return {
            calls.ADD_IMAGE_STORE.name: self.add_image_store,
            calls.RECONNECT_BACKUP_STORAGE.name: self.reconnect,
            calls.RECONNECT_IMAGE_STORE.name: self.reconnect,
            calls.CHANGE_BACKUP_STORAGE_STATE.name: self.change_state,
            calls.UPDATE_BACKUP_STORAGE.name: self.update,
            calls.DELETE_BACKUP_STORAGE.name: self.delete,
            calls.GET_CAPACITY.name: self.capacity,
            calls.GET_TYPES.name: self.types,
        }

    async def add_image_store(self, parameters: calls.AddImageStoreParameters, _: Caller) -> Payload:
        """Add a directory of a host."""
        return await self._one(await self._acts.add_image_store(parameters))

    async def reconnect(self, parameters: OneResource, _: Caller) -> Payload:
        """Connect to the hosts afresh."""
        await self._acts.reconnect(parameters.uuid, parameters.systemTags)
        return await self._changed(parameters.uuid, parameters)

    async def change_state(self, parameters: calls.ChangeStateParameters, _: Caller) -> Payload:
        """Enable or disable a storage; it is polled all the same."""
        state = {"enable": "Enabled", "disable": "Disabled"}[parameters.stateEvent]
        return await self._change(parameters, {"state": state})

    async def update(self, parameters: calls.UpdateParameters, _: Caller) -> Payload:
        """Change the name or the description."""
        return await self._change(parameters, parameters.model_dump(include={"name", "description"}, exclude_none=True))

    async def delete(self, parameters: calls.DeleteStorageParameters, _: Caller) -> Payload:
        """Delete a storage and clean its hosts, or only tell what that would do."""
        if parameters.dryRun:
            preview = await self._acts.preview(parameters.uuid, parameters.systemTags)
            return {"inventory": preview.model_dump(mode="json", exclude_none=True)}
        await self._acts.delete(parameters.uuid, parameters.deleteMode, parameters.systemTags)
        return {}

    async def capacity(self, parameters: calls.CapacityParameters, _: Caller) -> Payload:
        """Sum up capacities."""
        if not (parameters.all or parameters.zoneUuids or parameters.backupStorageUuids):
            raise InvalidArgument(
                "zoneUuids, backupStorageUuids must have at least one be none-empty list, or all is set to true"
            )
        found = await self._storages.capacity(parameters.backupStorageUuids, parameters.zoneUuids, every=parameters.all)
        return {"totalCapacity": found.total, "availableCapacity": found.available}

    async def types(self, _: Parameters, __: Caller) -> Payload:
        """List the types of backup storage."""
        return {"types": list(BACKUP_STORAGE_KINDS)}

    async def _change(self, parameters: OneResource, values: dict[str, str]) -> Payload:
        if not await self._storages.change(parameters.uuid, values):
            raise not_found(BackupStorageInventory, parameters.uuid)
        return await self._changed(parameters.uuid, parameters)

    async def _changed(self, uuid: str, parameters: Parameters) -> Payload:
        await self._tags.keep(Tagged("BackupStorageVO", uuid), parameters)
        return await self._one(uuid)

    async def _one(self, uuid: str) -> Payload:
        return {"inventory": await shown(self._database, BackupStorageInventory, uuid)}
