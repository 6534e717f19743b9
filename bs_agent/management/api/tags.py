"""The calls on tags, and the tags that travel with other calls."""

from bs_agent.contract import calls_tag as calls
from bs_agent.contract.declaration import OneResource, Parameters
from bs_agent.contract.errors import CannotDelete
from bs_agent.contract.inventory import (
    BackupStorageInventory,
    Inventory,
    SystemTagInventory,
    UserTagInventory,
    ZoneInventory,
)
from bs_agent.contract.tags import HOST_KEY
from bs_agent.management.access.sessions import Caller
from bs_agent.management.api.calls import UseCase
from bs_agent.management.jobs.jobs import Payload
from bs_agent.management.model.host_tags import stored_tags
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import not_found, shown
from bs_agent.management.store.resources import ResourceType
from bs_agent.management.store.tags import Tagged, TagStore, TagType

_TYPES: dict[ResourceType, type[Inventory]] = {"BackupStorageVO": BackupStorageInventory, "ZoneVO": ZoneInventory}


class TagCalls:
    """Gives tags to resources and takes them away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tags = TagStore(database)

    def rows(self) -> dict[str, UseCase]:
        """Return the use case of each call."""
        return {
            calls.CREATE_SYSTEM_TAG.name: self.create_system_tag,
            calls.CREATE_USER_TAG.name: self.create_user_tag,
            calls.DELETE_TAG.name: self.delete_tag,
        }

    async def create_system_tag(self, parameters: calls.CreateTagParameters, _: Caller) -> Payload:
        """Give a system tag to a resource."""
        return await self._create(parameters, "System", SystemTagInventory)

    async def create_user_tag(self, parameters: calls.CreateTagParameters, _: Caller) -> Payload:
        """Give a user tag to a resource."""
        return await self._create(parameters, "User", UserTagInventory)

    async def delete_tag(self, parameters: OneResource, _: Caller) -> Payload:
        """Delete a tag; an unknown one is deleted already."""
        kind, text = await self._tags.find(parameters.uuid) or ("", "")
        if kind == "System" and text.startswith(HOST_KEY):
            raise CannotDelete(f"tag[uuid:{parameters.uuid}] shows which host key is pinned; it goes with its storage")
        await self._tags.delete(parameters.uuid)
        return {}

    async def keep(self, resource: Tagged, parameters: Parameters) -> None:
        """Store the tags that a call on a resource has brought; what speaks of that call only is not stored."""
        if kept := stored_tags(parameters.systemTags):
            await self._tags.add(resource, "System", kept)
        if parameters.userTags:
            await self._tags.add(resource, "User", parameters.userTags)

    async def _create(
        self, parameters: calls.CreateTagParameters, kind: TagType, inventory: type[Inventory]
    ) -> Payload:
        resource = Tagged(parameters.resourceType, parameters.resourceUuid)
        added = await self._tags.add(resource, kind, [parameters.tag])
        if added is None:
            raise not_found(_TYPES[resource.type], resource.uuid, "resourceUuid")
        return {"inventory": await shown(self._database, inventory, added[0])}
