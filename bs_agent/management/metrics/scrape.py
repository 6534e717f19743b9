"""What a scrape reads of the fleet: of the database within a deadline, of the polls what this node has in memory.

While the database is away, or slow, the rest is shown, and that it is so.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from bs_agent.contract.errors import ApiError
from bs_agent.daemon.deadlines import within
from bs_agent.management.config import ManagementSettings
from bs_agent.management.metrics import agents
from bs_agent.management.metrics.counts import CountsCollector
from bs_agent.management.metrics.registry import Metrics
from bs_agent.management.metrics.storages import storages
from bs_agent.management.polling.poller import Poller
from bs_agent.management.store.database import Database
from bs_agent.management.store.figures import Counts, counts
from bs_agent.management.store.intake import Intake

DEADLINE, CHECK_DEADLINE = 6.0, 2.0
"""Seconds that the database may take to tell, and beside that to show that it can be written; Prometheus gives up after
ten, and the token is looked up before."""

Check = Callable[[], Coroutine[Any, Any, None]]


class FleetScrape:
    """The source of the metrics of storages, agents and work."""

    def __init__(self, database: Database, owner: str, poller: Poller, check: Check) -> None:
        self._database = database
        self._owner = owner
        self._poller = poller
        self._check = check
        self._counted = CountsCollector()

    def enter(self, metrics: Metrics, intake: Intake, settings: ManagementSettings) -> None:
        """Let this be shown at each scrape."""
        poller = self._poller
        metrics.add(self._counted, *poller.figures.collectors)
        metrics.gauge("bs_management_agents_watched", "Agents that this node polls.", lambda: poller.watching)
        metrics.gauge("bs_management_agents_away", "Watched agents that do not answer.", lambda: poller.away)
        metrics.gauge("bs_management_news_waiting", "News of hosts that wait to be written.", lambda: intake.waiting)
        metrics.gauge(
            "bs_management_poll_interval_seconds", "Seconds between two polls of an agent.", lambda: poller.interval
        )
        limit = settings.cleanup.debt_days * 86400
        metrics.gauge("bs_management_debt_limit_seconds", "After how long a debt is given up.", lambda: limit)
        metrics.add_source(self.read)

    async def read(self) -> list[bytes]:
        """Read all; what the database does not tell in time is left out."""
        watches = list(self._poller.watches)
        told, self._counted.is_writable = await asyncio.gather(self._told(agents.seen(watches)), self._is_writable())
        self._counted.counts, pieces = told
        return pieces + await agents.agents(watches, self._poller.max_failures)

    async def _told(self, seen: agents.Seen) -> tuple[Counts | None, list[bytes]]:
        with suppress(ApiError, TimeoutError):
            return await within(DEADLINE, self._tell(seen))
        return None, []

    async def _tell(self, seen: agents.Seen) -> tuple[Counts, list[bytes]]:
        pieces = await storages(self._database, seen)
        found = await counts(self._database, self._owner)
        self._counted.clock_offset = found.now - time.time()
        return found, pieces

    async def _is_writable(self) -> bool:
        with suppress(ApiError, TimeoutError):
            await within(CHECK_DEADLINE, self._check())
            return True
        return False
