"""The fleet's side of the management node: its parts, put together, and the calls on them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bs_agent.daemon.lifecycle import background, enter_guarded
from bs_agent.management.config import ManagementSettings
from bs_agent.management.hosts.agent_client import Agents
from bs_agent.management.hosts.enroll import Enrolling
from bs_agent.management.operations.acts import Acts
from bs_agent.management.operations.add_ceph import AddingCeph
from bs_agent.management.operations.add_image_store import AddingImageStore
from bs_agent.management.operations.arrive import Arriving
from bs_agent.management.operations.change_mons import ChangingMons
from bs_agent.management.operations.connect import Connecting
from bs_agent.management.operations.debts import Debts
from bs_agent.management.operations.delete import Deleting
from bs_agent.management.operations.means import Means
from bs_agent.management.operations.meet import Meeting
from bs_agent.management.operations.preview import Previewing
from bs_agent.management.operations.reconnect import Reconnecting
from bs_agent.management.operations.turns import Operations
from bs_agent.management.operations.update_mon import UpdatingMon
from bs_agent.management.polling.heard import Heard
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
class FleetService(Acts):
    """What the public API does to the fleet, and what the daemon's shell asks of it."""

    poller: Poller
    pushes: Pushes
    means: Means

    async def check(self) -> None:
        """See that what is said of hosts can be written.

        Raises:
            InternalError: it cannot, and for how long that has been so.
        """
        await self.means.intake.check()

    def configure(self, settings: ManagementSettings) -> None:
        """Go on with other settings: polling, SSH and clean-up follow at once."""
        self.poller.configure(settings.poll)
        client = self.means.client
        client.timeout, client.command_timeout = settings.poll.timeout, settings.poll.command_timeout
        client.report_to = advertised(settings.server)
        self.means.enrolling.settings = settings.ssh
        self.means.debts.settings = settings.cleanup


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
            restore=reconnecting.restore, heard=Heard(database, node.uuid, watches), settings=settings.poll,
        )  # fmt: skip
        database.wakes.listen(poller.hear)
        await enter_guarded(stack, background(database.wakes.run(), "wake-ups"))
        await enter_guarded(stack, background(intake.run(), "intake"))
        stack.push_async_callback(turns.close)
        await enter_guarded(stack, background(poller.run(), "poller"))
        pushes = Pushes(agents, keyring, poller.receive, lambda uuid: ask_to_look(database, uuid))
        mons = ChangingMons(means, arriving)
        yield FleetService(
            add_image_store=AddingImageStore(means, arriving).add, add_ceph=AddingCeph(means, arriving).add,
            reconnect=reconnecting.reconnect, delete=Deleting(means).delete,
            preview=Previewing(means).preview,
            add_mons=mons.add, remove_mons=mons.remove, update_mon=UpdatingMon(means, meeting).update,
            poller=poller, pushes=pushes, means=means,
        )  # fmt: skip
