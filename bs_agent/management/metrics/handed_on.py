"""The metrics of an agent, asked for as the polls do: with its token, over a connection that shows what was pinned."""

from bs_agent.management.hosts.agent_client import Agents, Scraped
from bs_agent.management.hosts.trust import target_of
from bs_agent.management.polling.poller import Poller
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.agents import AgentStore


class AgentScrape:
    """Asks agents for what they show to Prometheus."""

    def __init__(self, client: Agents, poller: Poller, store: AgentStore, keyring: Keyring) -> None:
        self._client = client
        self._poller = poller
        self._store = store
        self._keyring = keyring

    async def of(self, uuid: str, accept: str) -> Scraped | None:
        """Return the metrics of an agent; None when there is no such agent.

        Raises:
            StorageProblem: it does not answer as it should.
        """
        if watch := self._poller.watches.find(uuid):
            return await self._client.metrics(watch.target, accept)
        known = (await self._store.find([uuid])).get(uuid)
        return await self._client.metrics(target_of(known, self._keyring), accept) if known else None
