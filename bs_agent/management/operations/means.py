"""What every operation works with."""

from dataclasses import dataclass

from bs_agent.management.hosts.agent_client import Agents, Target
from bs_agent.management.hosts.enroll import Enrolling
from bs_agent.management.hosts.trust import target_of
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.operations.debts import Debts
from bs_agent.management.operations.turns import Operations, Refresh
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.agents import AgentStore
from bs_agent.management.store.hosts import HostStore
from bs_agent.management.store.intake import Intake
from bs_agent.management.store.storages import OperatedStore


@dataclass(frozen=True)
class Means:
    """The stores, the ways to the hosts, the turns and the debts; `refresh` makes the poller read agents' rows anew."""

    storages: OperatedStore
    hosts: HostStore
    agents: AgentStore
    client: Agents
    enrolling: Enrolling
    keyring: Keyring
    intake: Intake
    operations: Operations
    debts: Debts
    refresh: Refresh

    def target(self, agent: AgentRecord) -> Target:
        """Return a stored agent as its client wants it."""
        return target_of(agent, self.keyring)
