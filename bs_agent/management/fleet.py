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
from bs_agent.management.operations.add_image_store import AddingImageStore
from bs_agent.management.operations.arrive import Arriving
from bs_agent.management.operations.change_mons import ChangingMons
from bs_agent.management.operations.connect import Connecting
from bs_agent.management.operations.debts import Debts
from bs_agent.management.operations.delete import Deleting
from bs_agent.management.operations.means import Means
from bs_agent.management.operations.meet import Meeting
from bs_agent.management.operations.reconnect import Reconnecting
from bs_agent.management.operations.turns import Operations
from bs_agent.management.operations.update_mon import UpdatingMon
from bs_agent.management.polling.poller import Poller
from bs_agent.management.polling.receive import Pushes, advertised
from bs_agent.management.polling.watches import Watches
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.agents import AgentStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import DebtStore
from bs_agent.management.store.fence import Fence
from bs_agent.management.store.hosts import HostStore
from bs_agent.management.store.intake import Intake
from bs_agent.management.store.leases import Node
from bs_agent.management.store.operations import OperationStore
from bs_agent.management.store.storages import OperatedStore
from bs_agent.management.store.watched import ask_to_look


@dataclass(frozen=True)
class FleetService:
    """What the public API and the daemon's shell call."""

    poller: Poller
    pushes: Pushes
    _means: Means
    _adding: AddingImageStore
    _reconnecting: Reconnecting
    _deleting: Deleting
    _adding_ceph: AddingCeph
    _mons: ChangingMons
    _updating_mon: UpdatingMon

    async def add_image_store(self, parameters: AddImageStoreParameters) -> str:
        """Add a directory of a host; return the uuid of the new storage."""
        return await self._adding.add(parameters)

    async def add_ceph(self, parameters: AddCephParameters) -> str:
        """Add a pool of a Ceph cluster; return the uuid of the new storage."""
        return await self._adding_ceph.add(parameters)

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
        client = self._means.client
        client.timeout, client.command_timeout = settings.poll.timeout, settings.poll.command_timeout
        client.report_to = advertised(settings.server)
        self._means.enrolling.settings = settings.ssh
        self._means.debts.settings = settings.cleanup


@asynccontextmanager
async def open_fleet(
    database: Database, keyring: Keyring, settings: ManagementSettings, node: Node
) -> AsyncIterator[FleetService]:
    """Watch the fleet, and serve calls on it, while the context is open."""
    async with AsyncExitStack() as stack:
        client = await enter_guarded(stack, Agents.open(settings.poll.timeout, settings.poll.command_timeout))
        client.report_to = advertised(settings.server)
        operations = OperationStore(database, node.uuid)
        intake = Intake(database, Fence(operations, node.uuid))
        turns = Operations(operations, node)
        agents = AgentStore(database, operations)
        debts = Debts(DebtStore(database, operations), agents, client, keyring, turns)
        debts.settings = settings.cleanup
        watches = Watches(database, keyring, settings.poll, node)
        means = Means(
            OperatedStore(database, operations), HostStore(database, operations), agents, client,
            Enrolling(settings.ssh, client), keyring, intake, turns, debts, watches.refresh,
        )  # fmt: skip
        meeting = Meeting(means)
        arriving = Arriving(means, meeting)
        reconnecting = Reconnecting(means, Connecting(means, meeting))
        poller = Poller(
            watches, client, store=agents, owner=node.uuid, intake=intake, operations=turns, debts=debts,
            restore=reconnecting.restore, settings=settings.poll,
        )  # fmt: skip
        database.wakes.listen(poller.hear)
        await enter_guarded(stack, background(database.wakes.run(), "wake-ups"))
        await enter_guarded(stack, background(intake.run(), "intake"))
        stack.push_async_callback(turns.close)
        await enter_guarded(stack, background(poller.run(), "poller"))
        pushes = Pushes(agents, keyring, poller.receive, lambda uuid: ask_to_look(database, uuid))
        yield FleetService(
            poller, pushes, means, AddingImageStore(means, arriving), reconnecting, Deleting(means),
            AddingCeph(means, arriving), ChangingMons(means, arriving), UpdatingMon(means, meeting),
        )  # fmt: skip
