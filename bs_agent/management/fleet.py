"""The fleet's side of the management node: its parts, put together, and the calls on them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bs_agent.contract.api import AddImageStoreParameters, DeleteMode
from bs_agent.contract.calls_ceph import AddCephParameters, AddMonParameters, RemoveMonParameters, UpdateMonParameters
from bs_agent.daemon.lifecycle import background, enter_guarded
from bs_agent.management.config import ManagementSettings
from bs_agent.management.hosts.agent_client import Agents
from bs_agent.management.hosts.enroll import Enrolling
from bs_agent.management.operations.add_ceph import AddingCeph
from bs_agent.management.operations.add_image_store import Adding
from bs_agent.management.operations.arrive import Arriving
from bs_agent.management.operations.change_mons import ChangingMons
from bs_agent.management.operations.connect import Connecting
from bs_agent.management.operations.debts import Owing
from bs_agent.management.operations.delete import Deleting
from bs_agent.management.operations.reconnect import Reconnecting
from bs_agent.management.operations.turns import Operations, Turns
from bs_agent.management.operations.update_mon import UpdatingMon
from bs_agent.management.polling.poller import Poller
from bs_agent.management.polling.receive import Pushes, advertised
from bs_agent.management.polling.watches import Watches
from bs_agent.management.secrets import Keyring
from bs_agent.management.store import fleet as store
from bs_agent.management.store.database import Database
from bs_agent.management.store.intake import Intake


@dataclass(frozen=True)
class FleetService:
    """What the public API and the daemon's shell call."""

    poller: Poller
    pushes: Pushes
    _agents: Agents
    _enrolling: Enrolling
    _owing: Owing
    _adding: Adding
    _reconnecting: Reconnecting
    _deleting: Deleting
    _adding_ceph: AddingCeph
    _mons: ChangingMons
    _updating_mon: UpdatingMon

    async def add_image_store(self, parameters: AddImageStoreParameters) -> str:
        """Add a directory of a host; return the uuid of the new storage."""
        return await self._adding.add_image_store(parameters)

    async def add_ceph(self, parameters: AddCephParameters) -> str:
        """Add a pool of a Ceph cluster; return the uuid of the new storage."""
        return await self._adding_ceph.add_ceph(parameters)

    async def add_mons(self, parameters: AddMonParameters) -> None:
        """Add mon hosts to a Ceph storage."""
        await self._mons.add(parameters)

    async def remove_mons(self, parameters: RemoveMonParameters) -> None:
        """Take mon hosts from a Ceph storage."""
        await self._mons.remove(parameters)

    async def update_mon(self, parameters: UpdateMonParameters) -> str:
        """Change how a mon host is reached; return the uuid of its storage."""
        return await self._updating_mon.update(parameters)

    async def reconnect(self, uuid: str, system_tags: Sequence[str] = ()) -> None:
        """Connect to the hosts of a storage afresh."""
        await self._reconnecting.reconnect(uuid, system_tags)

    async def delete(self, uuid: str, mode: DeleteMode, system_tags: Sequence[str] = ()) -> None:
        """Delete a storage and clean its hosts; an unknown one is deleted already."""
        await self._deleting.delete(uuid, mode, system_tags)

    def configure(self, settings: ManagementSettings) -> None:
        """Go on with other settings: polling, SSH and clean-up follow at once."""
        self.poller.configure(settings.poll)
        self._agents.timeout, self._agents.command_timeout = settings.poll.timeout, settings.poll.command_timeout
        self._agents.report_to = advertised(settings.server)
        self._enrolling.settings = settings.ssh
        self._owing.settings = settings.cleanup


@asynccontextmanager
async def open_fleet(database: Database, keyring: Keyring, settings: ManagementSettings) -> AsyncIterator[FleetService]:
    """Watch the fleet, and serve calls on it, while the context is open."""
    async with AsyncExitStack() as stack:
        agents = await enter_guarded(stack, Agents.open(settings.poll.timeout, settings.poll.command_timeout))
        agents.report_to = advertised(settings.server)
        fleet, intake, turns = store.Fleet(database), Intake(database), Turns()
        operations = Operations()
        enrolling = Enrolling(settings.ssh, agents)
        owing = Owing(fleet, agents, keyring, turns, settings.cleanup)
        connecting = Connecting(fleet, agents, enrolling, keyring, owing)
        watches = Watches(database, keyring, settings.poll)
        reconnecting = Reconnecting(fleet, connecting, intake, operations, watches.refresh)
        deleting = Deleting(
            fleet, agents, keyring, owing=owing, intake=intake, operations=operations, refresh=watches.refresh
        )  # fmt: skip
        poller = Poller(
            watches, agents, intake=intake, operations=operations, owing=owing, restore=reconnecting.restore,
            settings=settings.poll,
        )  # fmt: skip
        arriving = Arriving(fleet, agents, enrolling, keyring, turns=turns, owing=owing)
        adding = Adding(fleet, arriving, keyring, watches.refresh)
        adding_ceph = AddingCeph(fleet, arriving, keyring, watches.refresh)
        mons = ChangingMons(
            fleet, arriving, keyring, owing=owing, intake=intake, operations=operations, refresh=watches.refresh
        )  # fmt: skip
        updating_mon = UpdatingMon(
            fleet, agents, enrolling, keyring, owing=owing, intake=intake, operations=operations, turns=turns,
            refresh=watches.refresh,
        )  # fmt: skip
        await enter_guarded(stack, background(intake.run(), "intake"))
        stack.push_async_callback(operations.close)
        await enter_guarded(stack, background(poller.run(), "poller"))
        pushes = Pushes(fleet, keyring, poller.receive)
        yield FleetService(
            poller, pushes, agents, enrolling, owing, adding, reconnecting, deleting, adding_ceph, mons, updating_mon
        )
