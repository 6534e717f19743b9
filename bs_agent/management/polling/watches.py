"""The agents that this node watches, kept in step with their rows, which other nodes write too."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from bs_agent.management.config import PollSettings
from bs_agent.management.hosts.agent_client import KEEPALIVE, Target
from bs_agent.management.hosts.trust import target_of
from bs_agent.management.model.health import Health, Link, Retry
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import WatchedAgent, claim, watched

LONGEST_SWEEP = 30.0
_LEASE = 3 * LONGEST_SWEEP


@dataclass(slots=True, eq=False)
class Watch:
    """One agent: what its rows said last, and what only this process knows."""

    seen: WatchedAgent
    target: Target
    health: dict[str, Health]
    etag: str = ""
    link: Link = field(default_factory=Link)
    retries: dict[str, Retry] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None

    @property
    def uuid(self) -> str:
        """The agent's uuid."""
        return self.seen.record.uuid

    @property
    def is_well(self) -> bool:
        """Whether nothing waits for this agent's whole report."""
        return not self.seen.owed and all(health.status == "Connected" for health in self.health.values())


class Watches:
    """The watched agents by uuid; `added` is called with each new one."""

    added: Callable[[Watch], None]

    def __init__(self, database: Database, keyring: Keyring, settings: PollSettings) -> None:
        self.settings = settings
        self._database = database
        self._keyring = keyring
        self._node = uuid4().hex
        self._by_uuid: dict[str, Watch] = {}
        self._kept = 0

    def __len__(self) -> int:
        return len(self._by_uuid)

    def __iter__(self) -> Iterator[Watch]:
        return iter(list(self._by_uuid.values()))

    def __contains__(self, watch: Watch) -> bool:
        return self._by_uuid.get(watch.uuid) is watch

    async def sweep(self) -> None:
        """Take up the agents that are to be watched by this node, and let go of the others."""
        await self._follow(set(await claim(self._database, self._node, _LEASE)), everything=True)

    async def refresh(self, uuids: Iterable[str | None]) -> None:
        """Read the rows of some agents again, because they have just been changed."""
        await self._follow({uuid for uuid in uuids if uuid}, everything=False)

    async def find(self, uuid: str) -> Watch | None:
        """Return an agent's watch; for an agent that another node watches, one made for the moment."""
        if known := self._by_uuid.get(uuid):
            return known
        async for seen in watched(self._database, [uuid]):
            return Watch(seen, target_of(seen.record, self._keyring), _health(seen))
        return None

    def drop(self, watch: Watch) -> None:
        """Let go of an agent."""
        if watch in self:
            del self._by_uuid[watch.uuid]
            self._kept -= watch.target.keep
        if watch.timer:
            watch.timer.cancel()

    async def _follow(self, uuids: set[str], *, everything: bool) -> None:
        gone = (self._by_uuid.keys() if everything else self._by_uuid.keys() & uuids) - uuids
        found: set[str] = set()
        async for seen in watched(self._database, uuids):
            found.add(seen.record.uuid)
            self._take_up(seen)
        for uuid in gone | (uuids - found):
            if uuid in self._by_uuid:
                self.drop(self._by_uuid[uuid])

    def _take_up(self, seen: WatchedAgent) -> None:
        watch = self._by_uuid.get(seen.record.uuid)
        if watch is None:
            watch = self._by_uuid[seen.record.uuid] = Watch(seen, self._target(seen), _health(seen))
            self.added(watch)
            return
        if watch.seen.record != seen.record:
            self._kept -= watch.target.keep
            watch.target, watch.link = self._target(seen), Link()
        watch.seen = seen
        # Compared even if the rows are as they were seen last: they may have changed twice since.
        health = _health(seen)
        if watch.health != health:
            watch.health, watch.etag = health, ""

    def _target(self, seen: WatchedAgent) -> Target:
        # Not the most recently used ones: agents are polled in turn, so each would be thrown out before its next poll.
        keep = self._kept < self.settings.keep_connections and self.settings.interval < KEEPALIVE
        self._kept += keep
        return target_of(seen.record, self._keyring, keep=keep)


def _health(seen: WatchedAgent) -> dict[str, Health]:
    return {host.mon_uuid: host.health for host in seen.hosts}
