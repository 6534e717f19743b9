"""The agents that this node watches, kept in step with their rows, which other nodes write too."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason
from bs_agent.daemon import descriptors
from bs_agent.management.config import PollSettings
from bs_agent.management.hosts.agent_client import Target
from bs_agent.management.hosts.trust import target_of
from bs_agent.management.model.health import Boots, Health, Link, Retry
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.polling.figures import Shown
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import Node
from bs_agent.management.store.watched import WatchedAgent, asked_to_look, claim, watched

log = logging.getLogger(__name__)

LONGEST_SWEEP = 30.0
"""Seconds after which the rows of all watched agents are read again."""
RESERVE = 8192
"""Files that connections to agents leave to all else: callers of the API, pushes, connections in the making."""


def room(files: int) -> int:
    """Return how many connections to agents may be kept open by a process that may open so many files."""
    return files - min(RESERVE, files // 2)


def files_for(agents: int) -> int:
    """Return how many files a process must be allowed to open in order to keep a connection to so many agents."""
    return agents + min(RESERVE, agents)


class Noted(NamedTuple):
    """How the polls of an agent go, as it is written of it."""

    status: Status
    reason: Reason | None
    misses: int
    skew: float | None
    pushed_at: float | None
    version: str | None
    certificate_end: int | None


@dataclass(slots=True, eq=False)
class Watch:
    """One agent: what its rows said last, and what only this process knows.

    `record` is the agent as it is polled: where its row says that it is reached, or at another of its places when
    nothing answers there. `asked` says that it is to be polled, and was not yet. `heard_at` is when it answered
    last, or missed a poll, `pushed_at` when it last sent a report by itself, and `due` when it is to be polled next, by
    the event loop's clock. `shown` is what only who watches the node wants to know; `noted` is what was written last of
    how its polls go.
    """

    seen: WatchedAgent
    record: AgentRecord
    target: Target
    health: dict[str, Health]
    asked: bool = False
    etag: str = ""
    heard_at: float = 0.0
    due: float = 0.0
    pushed_at: float | None = None
    noted: Noted | None = None
    whole_due: float = 0.0
    link: Link = field(default_factory=Link)
    boots: Boots = field(default_factory=Boots)
    retries: dict[str, Retry] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    shown: Shown = field(default_factory=Shown)

    @property
    def uuid(self) -> str:
        """The agent's uuid."""
        return self.seen.record.uuid

    @property
    def is_well(self) -> bool:
        """Whether nothing waits for this agent's whole report."""
        return not self.seen.owed and all(health.status == "Connected" for health in self.health.values())


class Watches:
    """The watched agents by uuid.

    `added` is called with each new one, `unwatched` with one that nobody had watched for so many seconds, `look` with
    one that another node was told of.
    """

    added: Callable[[Watch], None]
    unwatched: Callable[[Watch, float], None]
    look: Callable[[Watch], None]

    def __init__(self, database: Database, keyring: Keyring, settings: PollSettings, node: Node) -> None:
        self.settings = settings
        self._database = database
        self._keyring = keyring
        self._node = node
        self._by_uuid: dict[str, Watch] = {}
        self._is_told = False
        self._read_at: float | None = None
        # For how long nobody had watched those of which this is still to be told, and since when those let go of.
        self._unwatched: dict[str, float] = {}
        self._let_go: dict[str, float] = {}
        node.on_loss(self.drop_all)

    def __len__(self) -> int:
        return len(self._by_uuid)

    def __iter__(self) -> Iterator[Watch]:
        return iter(list(self._by_uuid.values()))

    def __contains__(self, watch: Watch) -> bool:
        return self._by_uuid.get(watch.uuid) is watch

    async def sweep(self) -> None:
        """Take up the agents that are to be watched by this node, and let go of the others.

        All rows are read now and then, and when the agents are others.
        """
        claimed = await self._claim()
        now = asyncio.get_running_loop().time()
        pause = min(LONGEST_SWEEP, self.settings.interval)
        if self._read_at is None or now - self._read_at >= pause or claimed != self._by_uuid.keys():
            await self._follow(claimed, everything=True)
            self._read_at = now
            self._tell()
        for uuid in self._unwatched.keys() & self._by_uuid.keys():
            self.unwatched(self._by_uuid[uuid], self._unwatched.pop(uuid))
        await self.look_where_told()

    async def look_where_told(self) -> None:
        """Look at the agents that other nodes were told of."""
        for uuid in await asked_to_look(self._database, self._node.uuid):
            if uuid in self._by_uuid:
                self.look(self._by_uuid[uuid])

    async def refresh(self, uuids: Iterable[str | None]) -> None:
        """Read the rows of some agents again, because they have just been changed; others watch what we do not."""
        wanted = {uuid for uuid in uuids if uuid}
        if wanted - self._by_uuid.keys():
            wanted &= await self._claim() | self._by_uuid.keys()
        await self._follow(wanted, everything=False)

    def find(self, uuid: str) -> Watch | None:
        """Return an agent's watch, if this node watches it."""
        return self._by_uuid.get(uuid)

    def drop(self, watch: Watch) -> None:
        """Let go of an agent."""
        if watch in self:
            del self._by_uuid[watch.uuid]
        if watch.timer:
            watch.timer.cancel()

    def drop_all(self) -> None:
        """Let go of all agents: other nodes may watch them."""
        self._let_go |= dict.fromkeys(self._by_uuid, asyncio.get_running_loop().time())
        for watch in self:
            self.drop(watch)

    def go_elsewhere(self, watch: Watch) -> None:
        """Poll an agent that does not answer at the next of its places."""
        places = [(watch.seen.record.hostname, watch.seen.record.port), *watch.seen.places]
        here = (watch.record.hostname, watch.record.port)
        hostname, port = places[(places.index(here) + 1) % len(places)] if here in places else places[0]
        if (hostname, port) != here:
            self._point(watch, replace(watch.record, hostname=hostname, port=port))

    async def _claim(self) -> set[str]:
        """Return the agents that this node is to watch, and keep in mind those that nobody has watched until now."""
        claimed = await claim(self._database, self._node.uuid)
        now = asyncio.get_running_loop().time()
        let_go = {uuid: now - since for uuid, since in self._let_go.items()}
        unwatched = let_go | self._unwatched | claimed.unwatched
        self._unwatched = {uuid: seconds for uuid, seconds in unwatched.items() if uuid in claimed.uuids}
        self._let_go.clear()
        return claimed.uuids

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
            target = self._target(seen.record)
            watch = self._by_uuid[seen.record.uuid] = Watch(seen, seen.record, target, _health(seen))
            self.added(watch)
            return
        if watch.seen != seen:
            if _reached(watch.seen.record) != _reached(seen.record):
                watch.link = Link()
                self._point(watch, seen.record)
            watch.seen = seen
        # Compared even if the rows are as they were seen last: they may have changed twice since.
        health = _health(seen)
        if watch.health != health:
            watch.health, watch.etag = health, ""

    def _point(self, watch: Watch, record: AgentRecord) -> None:
        watch.record, watch.target = record, self._target(record)

    def _target(self, record: AgentRecord) -> Target:
        # Not the most recently used ones: agents are polled in turn, so each would be thrown out before its next poll.
        return target_of(record, self._keyring, keep=len(self._by_uuid) < room(descriptors.limit()))

    def _tell(self) -> None:
        """Log when there are more agents than connections that may be kept."""
        agents, files = len(self), descriptors.limit()
        if (is_short := agents > room(files)) and not self._is_told:
            log.warning(
                "connections are kept to %d of %d agents only, to others each poll makes a new one: this process may "
                "open %d files; let it open %d (LimitNOFILE= of the unit, or `ulimit -n`)",
                room(files), agents, files, files_for(agents),
            )  # fmt: skip
        self._is_told = is_short


def _reached(record: AgentRecord) -> AgentRecord:
    """Return what matters for reaching an agent."""
    return replace(record, bootId=None, version=None, certificateEndDate=None)


def _health(seen: WatchedAgent) -> dict[str, Health]:
    return {host.mon_uuid: host.health for host in seen.hosts}
