"""The calls on Ceph backup storages and their mons."""

from bs_agent.contract import calls_ceph as calls
from bs_agent.contract.declaration import Parameters
from bs_agent.contract.inventory import CephBackupStorageInventory
from bs_agent.management.access.sessions import Caller
from bs_agent.management.api.calls import UseCase
from bs_agent.management.api.tags import TagCalls
from bs_agent.management.jobs.jobs import Payload
from bs_agent.management.operations.acts import Acts
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import shown
from bs_agent.management.store.tags import Tagged


class CephCalls:
    """Adds Ceph storages, and adds, removes and updates their mon hosts."""

    def __init__(self, acts: Acts, database: Database, tags: TagCalls) -> None:
        self._acts = acts
        self._database = database
        self._tags = tags

    def rows(self) -> dict[str, UseCase]:
        """Return the use case of each call."""
        return {
            calls.ADD_CEPH.name: self.add,
            calls.ADD_MON.name: self.add_mons,
            calls.REMOVE_MON.name: self.remove_mons,
            calls.UPDATE_MON.name: self.update_mon,
        }

    async def add(self, parameters: calls.AddCephParameters, _: Caller) -> Payload:
        """Add a pool of a cluster."""
        uuid = await self._acts.add_ceph(parameters)
        return {"inventory": await shown(self._database, CephBackupStorageInventory, uuid)}

    async def add_mons(self, parameters: calls.AddMonParameters, _: Caller) -> Payload:
        """Add mon hosts."""
        await self._acts.add_mons(parameters)
        return await self._changed(parameters.uuid, parameters)

    async def remove_mons(self, parameters: calls.RemoveMonParameters, _: Caller) -> Payload:
        """Take mon hosts away."""
        await self._acts.remove_mons(parameters)
        return await self._changed(parameters.uuid, parameters)

    async def update_mon(self, parameters: calls.UpdateMonParameters, _: Caller) -> Payload:
        """Change how a mon host is reached."""
        return await self._changed(await self._acts.update_mon(parameters), parameters)

    async def _changed(self, uuid: str, parameters: Parameters) -> Payload:
        await self._tags.keep(Tagged("BackupStorageVO", uuid), parameters)
        return {"inventory": await shown(self._database, CephBackupStorageInventory, uuid)}
