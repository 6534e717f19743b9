"""The calls on zones, and on which backup storages belong to them."""

from bs_agent.contract import calls_zone as calls
from bs_agent.contract.calls_storage import DeleteParameters
from bs_agent.contract.inventory import BackupStorageInventory, ZoneInventory
from bs_agent.management.access.sessions import Caller
from bs_agent.management.api.calls import UseCase
from bs_agent.management.api.tags import TagCalls
from bs_agent.management.jobs.jobs import Payload
from bs_agent.management.model.host_tags import stored_tags
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import not_found, shown
from bs_agent.management.store.tags import Tagged
from bs_agent.management.store.zones import ZoneStore


class ZoneCalls:
    """Makes and deletes zones, attaches backup storages to them and detaches them."""

    def __init__(self, database: Database, tags: TagCalls) -> None:
        self._database = database
        self._zones = ZoneStore(database)
        self._tags = tags

    def rows(self) -> dict[str, UseCase]:
        """Return the use case of each call."""
        return {
            calls.CREATE_ZONE.name: self.create,
            calls.DELETE_ZONE.name: self.delete,
            calls.ATTACH_STORAGE.name: self.attach,
            calls.DETACH_STORAGE.name: self.detach,
        }

    async def create(self, parameters: calls.CreateZoneParameters, _: Caller) -> Payload:
        """Create a zone."""
        uuid = await self._zones.add(
            parameters.name,
            parameters.description,
            is_default=parameters.isDefault,
            uuid=parameters.resourceUuid,
            system_tags=stored_tags(parameters.systemTags),
            user_tags=parameters.userTags,
        )
        return {"inventory": await shown(self._database, ZoneInventory, uuid)}

    async def delete(self, parameters: DeleteParameters, _: Caller) -> Payload:
        """Delete a zone; an unknown one is deleted already."""
        await self._zones.delete(parameters.uuid)
        return {}

    async def attach(self, parameters: calls.ZoneStorageParameters, _: Caller) -> Payload:
        """Attach a backup storage to a zone."""
        if missing := await self._zones.attach(parameters.zoneUuid, parameters.backupStorageUuid):
            field = "zoneUuid" if missing is ZoneInventory else "backupStorageUuid"
            raise not_found(missing, getattr(parameters, field), field)
        return await self._storage(parameters)

    async def detach(self, parameters: calls.ZoneStorageParameters, _: Caller) -> Payload:
        """Detach a backup storage from a zone."""
        await self._zones.detach(parameters.zoneUuid, parameters.backupStorageUuid)
        return await self._storage(parameters)

    async def _storage(self, parameters: calls.ZoneStorageParameters) -> Payload:
        await self._tags.keep(Tagged("BackupStorageVO", parameters.backupStorageUuid), parameters)
        return {"inventory": await shown(self._database, BackupStorageInventory, parameters.backupStorageUuid)}
