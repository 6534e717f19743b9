"""Polls the agents: one due time each, spread over the interval, a bounded number at once.

What a poll or a push says goes through `_take`. An unchanged report (304) costs neither a decode nor a write. A host
that is not Connected is connected afresh as soon as its agent has nothing to say against it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bs_agent.contract.errors import ApiError, StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import HostReport
from bs_agent.management.config import PollSettings
from bs_agent.management.hosts.agent_client import Agents
from bs_agent.management.model.health import Health, Link, Retry, judge, next_due
from bs_agent.management.operations.debts import Owing
from bs_agent.management.operations.turns import Operations
from bs_agent.management.polling.watches import LONGEST_SWEEP, Watch, Watches
from bs_agent.management.store.intake import Intake
from bs_agent.management.store.leases import WatchedHost

log = logging.getLogger(__name__)

AT_ONCE = 256
_RESTORES_AT_ONCE = 64

Restore = Callable[[str, str], Awaitable[None]]


class Poller:
    """Polls what this node watches. `run` keeps the watches in step; everything else follows from timers."""

    def __init__(
        self,
        watches: Watches,
        agents: Agents,
        *,
        intake: Intake,
        operations: Operations,
        owing: Owing,
        restore: Restore,
        settings: PollSettings,
    ) -> None:
        self._agents = agents
        self._intake = intake
        self._operations = operations
        self._owing = owing
        self._restore = restore
        self._settings = settings
        self._watches = watches
        watches.added = self._schedule
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Agents that are away wait in a lane of their own: they must not delay those that answer.
        self._lane, self._slow_lane = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        self._restore_lane = asyncio.Semaphore(_RESTORES_AT_ONCE)
        self._swept_at: float | None = None

    @property
    def progressing(self) -> bool:
        """Whether the sweeps still come round (in vain, while the database is away)."""
        return self._swept_at is None or asyncio.get_running_loop().time() - self._swept_at < 10 * LONGEST_SWEEP

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
        try:
            while True:
                try:
                    await self._watches.sweep()
                    self._start("expire", self._owing.expire())
                except ApiError as error:
                    log.warning("cannot read which agents to poll: %s", error.details)
                except Exception:  # edge: polling must go on
                    log.exception("the sweep failed")
                self._swept_at = loop.time()
                await asyncio.sleep(min(LONGEST_SWEEP, self._settings.interval / 2))
        finally:
            for watch in self._watches:
                self._watches.drop(watch)
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def receive(self, agent_uuid: str, report: HostReport) -> None:
        """Take a report that an agent has sent by itself."""
        if watch := await self._watches.find(agent_uuid):
            self._take(watch, report, "")

    def _schedule(self, watch: Watch) -> None:
        if watch.timer:
            watch.timer.cancel()
        loop = asyncio.get_running_loop()
        due = next_due(watch.uuid, self._settings.interval, loop.time())
        watch.timer = loop.call_at(due, self._begin_poll, watch)

    def _begin_poll(self, watch: Watch) -> None:
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
            async with self._slow_lane if watch.link.misses else self._lane:
                report, etag = await self._agents.report(watch.target, watch.etag if watch.is_well else "")
        except ApiError as problem:
            self._missed(watch, _reason(problem))
        else:
            self._answered(watch, report, etag)
        finally:
            if watch in self._watches:
                self._schedule(watch)

    def _missed(self, watch: Watch, reason: Reason) -> None:
        watch.link = watch.link.missed(reason)
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

    def _answered(self, watch: Watch, report: HostReport | None, etag: str) -> None:
        if watch.link.misses:
            log.info("%s answers again after %d missed polls", watch.target.name, watch.link.misses)
            watch.link = Link()
        if report:
            self._take(watch, report, etag)
        if watch.seen.owed:
            self._attempt(watch, "owed", lambda: self._owing.pay(watch.seen.record))

    def _take(self, watch: Watch, report: HostReport, etag: str) -> None:
        reports = {storage.uuid: storage for storage in report.storages}
        watch.etag = etag
        for host in watch.seen.hosts:
            if self._operations.is_busy(host.storage_uuid):
                watch.etag = ""  # the next poll brings it all again
                continue
            told = reports.get(host.storage_uuid)
            judged, known = judge(told), watch.health[host.mon_uuid]
            if told and judged.sees_storage:
                self._intake.capacity(host.storage_uuid, told)
            if told is None or judged.status == "Connected" != known.status:
                under_way = self._attempt_restore(watch, host)
                if told is None and not under_way and judged != known:
                    self._set(watch, host, judged)
            elif judged != known:
                self._set(watch, host, judged)

    def _set(self, watch: Watch, host: WatchedHost, health: Health) -> None:
        watch.health[host.mon_uuid] = health
        self._intake.health(host.storage_uuid, host.mon_uuid, health)

    def _attempt_restore(self, watch: Watch, host: WatchedHost) -> bool:
        async def restore() -> None:
            async with self._restore_lane:
                await self._restore(host.storage_uuid, host.mon_uuid)

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
            before = watch.retries.get(what, Retry())
            if not before.attempts:
                log.warning("%s is back, but: %s", watch.target.name, problem.details)
            now = asyncio.get_running_loop().time()
            watch.retries[what] = before.failed(now, self._settings.interval, random.random())  # noqa: S311  spreads load
        else:
            watch.retries.pop(what, None)
        await self._watches.refresh([watch.uuid])


def _reason(problem: ApiError) -> Reason:
    if isinstance(problem, StorageProblem):
        return problem.reason
    return Reason(code=ReasonCode.AGENT_FAULT, details=problem.details)
