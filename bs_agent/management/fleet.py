"""The fleet's side of the management node: its parts, put together, and the calls on them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bs_agent.contract.api import AddImageStoreParameters, DeleteMode
from bs_agent.daemon.lifecycle import background, enter_guarded
from bs_agent.management.add import Adding
from bs_agent.management.agents import Agents
from bs_agent.management.arrive import Arriving
from bs_agent.management.cleanup import Owing
from bs_agent.management.config import ManagementSettings
from bs_agent.management.connect import Connecting
from bs_agent.management.delete import Deleting
from bs_agent.management.enroll import Enrolling
from bs_agent.management.intake import Intake
from bs_agent.management.operations import Operations, Turns
from bs_agent.management.poller import Poller
from bs_agent.management.push import Pushes, advertised
from bs_agent.management.reconnect import Reconnecting
from bs_agent.management.secrets import Keyring
from bs_agent.management.store import fleet as store
from bs_agent.management.store.database import Database
from bs_agent.management.watch import Watches


@dataclass(frozen=True)
class FleetService:
    """What the public API and the daemon's shell call."""

    poller: Poller
    pushes: Pushes
    _agents: Agents
    _enrolling: Enrolling
    _adding: Adding
    _reconnecting: Reconnecting
    _deleting: Deleting

    async def add_image_store(self, parameters: AddImageStoreParameters) -> str:
        """Add a directory of a host; return the uuid of the new storage."""
        return await self._adding.add_image_store(parameters)

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
        self._deleting.settings = settings.cleanup


@asynccontextmanager
async def open_fleet(database: Database, keyring: Keyring, settings: ManagementSettings) -> AsyncIterator[FleetService]:
    """Watch the fleet, and serve calls on it, while the context is open."""
    async with AsyncExitStack() as stack:
        agents = await enter_guarded(stack, Agents.open(settings.poll.timeout, settings.poll.command_timeout))
        agents.report_to = advertised(settings.server)
        fleet, intake, turns = store.Fleet(database), Intake(database), Turns()
        operations = Operations()
        enrolling = Enrolling(settings.ssh, agents)
        connecting = Connecting(fleet, agents, enrolling, keyring)
        owing = Owing(fleet, agents, keyring, turns)
        watches = Watches(database, keyring, settings.poll)
        reconnecting = Reconnecting(fleet, connecting, intake, operations, watches.refresh)
        deleting = Deleting(
            fleet, agents, keyring, owing=owing, intake=intake, operations=operations, refresh=watches.refresh,
            settings=settings.cleanup,
        )  # fmt: skip
        poller = Poller(
            watches, agents, intake=intake, operations=operations, owing=owing, restore=reconnecting.restore,
            settings=settings.poll,
        )  # fmt: skip
        adding = Adding(fleet, Arriving(fleet, agents, enrolling, keyring, turns), keyring, watches.refresh)
        await enter_guarded(stack, background(intake.run(), "intake"))
        stack.push_async_callback(operations.close)
        await enter_guarded(stack, background(poller.run(), "poller"))
        pushes = Pushes(fleet, keyring, poller.receive)
        yield FleetService(poller, pushes, agents, enrolling, adding, reconnecting, deleting)
