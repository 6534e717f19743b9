"""Polls the agents: one due time each, spread over the interval, a bounded number at once.

What a poll or a push says goes through `_take`. An unchanged report (304) costs neither a decode nor a write. A host
that is not Connected is connected afresh as soon as its agent has nothing to say against it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any

from bs_agent.contract.errors import ApiError, Overloaded, reason_of
from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import HostReport
from bs_agent.management.config import PollSettings
from bs_agent.management.hosts.agent_client import Agents, Told
from bs_agent.management.model.health import Health, Link, Retry, judge, next_due, two_machines
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.operations.debts import Debts
from bs_agent.management.operations.turns import Operations
from bs_agent.management.polling.figures import PollFigures
from bs_agent.management.polling.heard import Heard
from bs_agent.management.polling.watches import LONGEST_SWEEP, Watch, Watches
from bs_agent.management.store.agents import AgentStore
from bs_agent.management.store.intake import Intake
from bs_agent.management.store.watched import LOOK, WatchedHost

log = logging.getLogger(__name__)

AT_ONCE, AWAY_AT_ONCE = 4096, 512
"""How many agents are asked at the same time, and how many of those that did not answer the last time.

So many that who keeps a poll waiting keeps no other from being sent. What they cost is bounded by the rate of new
connections.
"""
WHOLE = 3600.0
"""Seconds after which an agent is asked for its whole report though nothing has changed: so old may a date become."""
_TICK = 5.0
"""Seconds after which a node looks for agents that nobody polls, and for those that others were told of."""
_RESTORES_AT_ONCE = 64
_TOLD_EVERY = 60.0

Restore = Callable[[str, str, Status], Awaitable[None]]


class Poller:
    """Polls what this node watches. `run` keeps the watches in step; everything else follows from timers."""

    def __init__(
        self,
        watches: Watches,
        agents: Agents,
        *,
        store: AgentStore,
        owner: str,
        intake: Intake,
        operations: Operations,
        debts: Debts,
        restore: Restore,
        heard: Heard,
        settings: PollSettings,
    ) -> None:
        self._agents = agents
        self._intake = intake
        intake.again = self._ask_again
        self._operations = operations
        self._store = store
        self._owner = owner
        self._debts = debts
        self._restore = restore
        self._heard = heard
        self._settings = settings
        self._watches = watches
        watches.added, watches.unwatched, watches.look = self._schedule, self._unobserved, self._begin_poll
        self.figures = PollFigures()
        self._asked = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Agents that are away wait in a lane of their own: they must not delay those that answer.
        self._lane, self._slow_lane = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AWAY_AT_ONCE)
        self._restore_lane = asyncio.Semaphore(_RESTORES_AT_ONCE)
        self._swept_at: float | None = None
        self._told_at: float | None = None

    @property
    def progressing(self) -> bool:
        """Whether the sweeps still come round (in vain, while the database is away)."""
        return self._swept_at is None or asyncio.get_running_loop().time() - self._swept_at < 10 * LONGEST_SWEEP

    @property
    def watches(self) -> Watches:
        """The agents that this node polls."""
        return self._watches

    @property
    def interval(self) -> float:
        """How many seconds there are between two polls of an agent."""
        return self._settings.interval

    @property
    def max_failures(self) -> int:
        """How many polls in a row an agent may miss until its hosts are Disconnected."""
        return self._settings.max_failures

    @property
    def watching(self) -> int:
        """How many agents this node polls."""
        return len(self._watches)

    @property
    def away(self) -> int:
        """How many of them have missed so many polls that their hosts are Disconnected."""
        return sum(watch.link.is_down(self._settings.max_failures) for watch in self._watches)

    def configure(self, settings: PollSettings) -> None:
        """Poll by other settings from now on."""
        self._settings = self._watches.settings = settings
        for watch in self._watches:
            self._schedule(watch)

    async def run(self) -> None:
        """Keep the watches in step as long as the process lives; at the end nothing is left under way."""
        loop = asyncio.get_running_loop()
        next_sweep = loop.time()
        try:
            while True:
                self._asked.clear()
                is_due = loop.time() >= next_sweep
                try:
                    if is_due:
                        await self._watches.sweep()
                        self._start("house", self._keep_house())
                        self._start("heard", self._heard.write(self._settings.max_failures))
                    else:
                        await self._watches.look_where_told()
                except ApiError as error:
                    log.warning("cannot read which agents to poll: %s", error.details)
                except Exception:  # edge: polling must go on
                    log.exception("the sweep failed")
                self._swept_at = loop.time()
                if is_due:
                    next_sweep = self._swept_at + min(_TICK, self._settings.interval / 2)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._asked.wait(), max(0.0, next_sweep - loop.time()))
        finally:
            self._watches.drop_all()
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def receive(self, agent_uuid: str, report: HostReport) -> bool:
        """Take a report that an agent has sent by itself; False when another node polls that agent.

        What another machine says than the one that was polled is looked at where the agent is reached.
        """
        watch = self._watches.find(agent_uuid)
        if watch is None:
            return False
        watch.pushed_at = asyncio.get_running_loop().time()
        if watch.boots.seen[-1:] in ((), (report.bootId,)) and not watch.boots.are_two:
            self._take(watch, report, "")
        else:
            self._begin_poll(watch)
        return True

    def hear(self, topic: str) -> None:
        """Look at once when another node was told of an agent that this one polls."""
        if topic.startswith(LOOK) and self._watches.find(topic.removeprefix(LOOK)):
            self._asked.set()

    async def _keep_house(self) -> None:
        await self._debts.keep_house()
        await self._operations.keep_house()

    def _unobserved(self, watch: Watch, seconds: float) -> None:
        """Show nothing as known of hosts that nobody has polled for so long that they would be Disconnected."""
        if seconds < self._settings.max_failures * self._settings.interval:
            return
        details = f"no management node has asked the host for {seconds:.0f} s"
        for host in watch.seen.hosts:
            if not self._operations.is_busy(host.storage_uuid):  # that observes it
                self._set(watch, host, Health("Connecting", Reason(code=ReasonCode.UNOBSERVED, details=details)))

    def _schedule(self, watch: Watch) -> None:
        if watch.timer:
            watch.timer.cancel()
        loop = asyncio.get_running_loop()
        watch.heard_at = watch.heard_at or loop.time()
        watch.due = next_due(watch.uuid, self._settings.interval, loop.time())
        watch.timer = loop.call_at(watch.due, self._begin_poll, watch)

    def _begin_poll(self, watch: Watch) -> None:
        watch.asked = True  # also when it is asked just now: what it answers may be older
        self._start(watch.uuid, self._poll(watch))

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the rest, unless the same is still under way."""
        if name in self._tasks:
            work.close()
            return
        task = self._tasks[name] = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", name, exc_info=error)

    async def _poll(self, watch: Watch) -> None:
        try:
            while watch.asked and watch in self._watches:
                watch.asked = False
                await self._ask(watch)
        finally:
            if now := self._watches.find(watch.uuid):  # another one, if it was let go of and taken up meanwhile
                self._schedule(now)

    async def _ask(self, watch: Watch) -> None:
        now = asyncio.get_running_loop().time
        try:
            async with self._slow_lane if watch.link.misses else self._lane:
                began = now()
                if began >= watch.due:  # else it is asked out of turn
                    self.figures.lateness.observe(began - watch.due)
                due = began >= watch.whole_due
                told = await self._agents.report(watch.target, watch.etag if watch.is_well and not due else "")
                self.figures.answer(now() - began, changed=told.report is not None)
        except Overloaded as problem:
            self._not_asked(watch, problem)
        except ApiError as problem:
            if watch in self._watches:
                self._missed(watch, reason_of(problem))
        else:
            if watch in self._watches:
                self._answered(watch, told)

    def _not_asked(self, watch: Watch, problem: Overloaded) -> None:
        """Hold nothing against an agent that this machine could not ask; in the end it is known no more."""
        self.figures.not_asked()
        now = asyncio.get_running_loop().time()
        if self._told_at is None or now - self._told_at >= _TOLD_EVERY:
            self._told_at = now
            log.error("agents are not polled: %s", problem.details)
        if watch in self._watches:
            self._unobserved(watch, now - watch.heard_at)

    def _missed(self, watch: Watch, reason: Reason) -> None:
        self.figures.miss(reason.code)
        watch.heard_at = asyncio.get_running_loop().time()
        watch.link = watch.link.missed(reason)
        self._heard.note(watch)
        if reason.code in _ELSEWHERE:
            self._watches.go_elsewhere(watch)
        if watch.link.misses == 1:
            log.warning("a poll was missed: %s: %s", reason.code, reason.details)
        if not watch.link.is_down(self._settings.max_failures):
            return
        for host in watch.seen.hosts:
            if self._operations.is_busy(host.storage_uuid):
                continue
            just_now = watch.link.misses == self._settings.max_failures
            if just_now or watch.health[host.mon_uuid].status != "Disconnected":
                self._set(watch, host, Health("Disconnected", reason))

    def _answered(self, watch: Watch, told: Told) -> None:
        watch.heard_at = asyncio.get_running_loop().time()
        watch.shown.answered(watch.heard_at, told.date, told.until)
        if watch.link.misses:
            log.info("%s answers again after %d missed polls", watch.target.name, watch.link.misses)
            watch.link = Link()
        watch.boots = watch.boots.heard(told.report.bootId if told.report else "")
        self._heard.note(watch)
        if watch.boots.are_two:
            self._refuse_clone(watch)
            return
        if learnt := _learnt(watch.record, watch.seen.record, told):
            self._start(f"learn {watch.uuid}", self._learn(watch, learnt))
        if told.report:
            self._take(watch, told.report, told.etag)
        if watch.seen.owed:
            self._attempt(watch, _OWED, lambda: self._debts.pay(watch.seen.record))

    def _refuse_clone(self, watch: Watch) -> None:
        details = two_machines(watch.target.name)
        watch.etag = ""
        for host in watch.seen.hosts:
            if not self._operations.is_busy(host.storage_uuid):
                self._set(watch, host, Health("Disconnected", Reason(code=ReasonCode.AGENT_CLONED, details=details)))

    async def _learn(self, watch: Watch, learnt: dict[str, Any]) -> None:
        """Write at once what tells one agent from another: its certificates, its boot, where it is reached."""
        try:
            if not await self._store.update(watch.uuid, self._owner, learnt):
                log.warning("%s: what it says of itself is not taken: %s", watch.target.name, ", ".join(learnt))
            await self._watches.refresh([watch.uuid])
        except ApiError as problem:
            log.warning("%s: what it says of itself is not written yet: %s", watch.target.name, problem.details)

    def _take(self, watch: Watch, report: HostReport, etag: str) -> None:
        watch.shown.take(report)
        reports = {storage.uuid: storage for storage in report.storages}
        watch.etag, watch.whole_due = etag, asyncio.get_running_loop().time() + WHOLE * random.uniform(0.5, 1.0)  # noqa: S311  spreads load
        for host in watch.seen.hosts:
            if self._operations.is_busy(host.storage_uuid):
                watch.etag = ""  # the next poll brings it all again
                continue
            told = reports.get(host.storage_uuid)
            judged, known = judge(told), watch.health[host.mon_uuid]
            if told and judged.sees_storage:
                self._intake.capacity(host.storage_uuid, host.mon_uuid, told)
            if _is_unobserved(known) and told:
                self._set(watch, host, judged)
            elif told is None or judged.status == "Connected" != known.status:
                under_way = self._attempt_restore(watch, host)
                if told is None and not under_way and judged != known:
                    self._set(watch, host, judged)
            elif judged != known:
                self._set(watch, host, judged)

    def _ask_again(self, mon_uuids: Collection[str]) -> None:
        """Have news that could not be written, because an operation is under way, brought again by the next poll."""
        for watch in self._watches:
            if any(host.mon_uuid in mon_uuids for host in watch.seen.hosts):
                watch.etag = ""

    def _set(self, watch: Watch, host: WatchedHost, health: Health) -> None:
        watch.health[host.mon_uuid] = health
        self._intake.health(host.storage_uuid, host.mon_uuid, health)

    def _attempt_restore(self, watch: Watch, host: WatchedHost) -> bool:
        was = watch.health[host.mon_uuid].status

        async def restore() -> None:
            async with self._restore_lane:
                await self._restore(host.storage_uuid, host.mon_uuid, was)

        return self._attempt(watch, host.mon_uuid, restore)

    def _attempt(self, watch: Watch, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Do something for an agent that answers, unless it has failed too lately; tell whether it is under way."""
        if watch.retries.get(what, Retry()).not_before > asyncio.get_running_loop().time():
            return False
        self._start(f"{what} of {watch.uuid}", self._attempted(watch, what, work))
        return True

    async def _attempted(self, watch: Watch, what: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ApiError as problem:
            if reason_of(problem).code == ReasonCode.STORAGE_BUSY:
                return  # somebody is at it; the next answer tells what is left to do
            before = watch.retries.get(what, Retry())
            if not before.attempts:
                log.warning("%s is back, but: %s", watch.target.name, problem.details)
            now = asyncio.get_running_loop().time()
            after = watch.retries[what] = before.failed(now, self._settings.interval, random.random())  # noqa: S311  spreads load
            if what == _OWED:
                with suppress(ApiError):  # it only says when
                    await self._debts.put_off(watch.uuid, after.not_before - now)
        else:
            watch.retries.pop(what, None)
        await self._watches.refresh([watch.uuid])


_OWED = "owed"
_ELSEWHERE = frozenset(
    {ReasonCode.AGENT_UNREACHABLE, ReasonCode.AGENT_TIMEOUT, ReasonCode.CERTIFICATE_CHANGED, ReasonCode.NO_ROUTE}
)


def _is_unobserved(health: Health) -> bool:
    return health.reason is not None and health.reason.code == ReasonCode.UNOBSERVED


def _learnt(reached: AgentRecord, stored: AgentRecord, told: Told) -> dict[str, Any]:
    """Return what an answer shows of an agent that is not stored of it yet, by column."""
    shown: dict[str, Any] = {"hostname": reached.hostname, "port": reached.port, "fingerprint": told.shown}
    if told.report:
        shown |= {"bootId": told.report.bootId or None, "nextFingerprint": told.report.nextFingerprint or None}
    elif told.shown != stored.fingerprint:
        shown["nextFingerprint"] = None
    return {name: value for name, value in shown.items() if getattr(stored, name) != value}
