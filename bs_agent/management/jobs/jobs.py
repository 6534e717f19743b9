"""Calls that take long run as jobs: on disk before they start, so that a client can always learn how one ended.

A node holds its running jobs while it lives. A job whose node lives no more ends in an error that says so.
Whoever named a web hook is told of the end there; the hook is stored with the job.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from prometheus_client import Counter
from pydantic_core import to_json

from bs_agent.contract.errors import (
    ApiError,
    InternalError,
    OperationFailed,
    OperationTimeout,
    Overloaded,
    RequestError,
)
from bs_agent.daemon.lifecycle import background
from bs_agent.management.config import JobSettings
from bs_agent.management.jobs.hooks import Hooks
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.jobs import DONE, FAILED, RUNNING, JobStore, StoredJob, WebHook
from bs_agent.management.store.leases import Node

log = logging.getLogger(__name__)

Payload = dict[str, Any]

_HOUSEKEEPING = 5.0
_MOST_KEPT = 10_000
_LAST_TRY = 10.0
_CUT_SHORT = (
    "the management node was stopped, or cut off from the database, while the job ran; "
    "look at the resource, then try again"
)


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller wants of a job: its uuid (empty: any), where its end is told, and its time limit in seconds."""

    uuid: str = ""
    hook: WebHook | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job that runs in this process; the task ends with the job as it is stored."""

    uuid: str
    task: asyncio.Task[StoredJob]


class Jobs:
    """Starts jobs, waits for them and tells how they ended."""

    def __init__(self, store: JobStore, node: Node, settings: JobSettings, hooks: Hooks) -> None:
        self._store = store
        self._node = node
        self._hooks = hooks
        self._settings = settings
        self._judges_after = 0.0
        self._running: dict[str, Job] = {}
        self._at_work: set[str] = set()
        self._unwritten: dict[str, StoredJob] = {}
        self._starting: list[str] = []
        self._is_stopping = False
        self.ended = Counter(
            "bs_management_jobs_ended", "Jobs that have ended, by call and outcome.", ["api", "outcome"], registry=None
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, node: Node, settings: JobSettings, hooks: Hooks) -> AsyncIterator["Jobs"]:
        """Run jobs while the context is open; those that still run at its end are cut short, and say so."""
        jobs = cls(JobStore(database, node.uuid), node, settings, hooks)
        node.on_loss(jobs._lose)
        try:
            async with background(jobs._keep_house(), "jobs"):
                yield jobs
        finally:
            await jobs._stop()

    @property
    def running(self) -> int:
        """How many jobs run in this process."""
        return len(self._running)

    async def start(
        self,
        order: Order,
        api_name: str,
        account_uuid: str,
        work: Callable[[], Awaitable[Payload]],
        resource_uuid: str | None = None,
    ) -> Job:
        """Start `work` as a job; it is given up after the order's time, or after what the configuration says.

        `resource_uuid` names what it is about; of a creation, its result does.

        Raises:
            RequestError: the uuid was used before.
            Overloaded: as many jobs run, or as many hooks wait, as are allowed.
        """
        under_way = len(self._running.keys() | self._unwritten.keys()) + len(self._starting)
        if under_way >= self._settings.concurrent:
            raise Overloaded(f"{under_way} jobs are running")
        uuid = order.uuid or uuid4().hex
        self._starting.append(uuid)
        try:
            new = StoredJob(uuid, api_name, RUNNING, None, resource_uuid)
            await self._add(order, new, account_uuid)
            limit = min(order.seconds or self._settings.timeout, self._settings.timeout)
            job = Job(uuid, asyncio.create_task(self._run(new, work, limit), name=f"{api_name} {uuid}"))
            self._running[uuid] = job
            self._at_work.add(uuid)
        finally:
            self._starting.remove(uuid)  # one of them: a uuid that comes twice at once is in it twice
        job.task.add_done_callback(lambda _: self._forget(uuid))
        return job

    async def reject(
        self, order: Order, api_name: str, account_uuid: str, error: ApiError, resource_uuid: str | None = None
    ) -> str:
        """Store a job that fails without having run; returns its uuid. The account is "" when nobody is logged in.

        Raises:
            RequestError: the uuid was used before.
            Overloaded: as many hooks wait as are allowed.
        """
        uuid = order.uuid or uuid4().hex
        new = StoredJob(uuid, api_name, FAILED, _failure(error), resource_uuid, error.shown().code)
        await self._add(order, new, account_uuid)
        self.ended.labels(api_name, "refused").inc()
        return uuid

    async def wait(self, job: Job) -> StoredJob:
        """Wait for the job's end.

        Raises:
            OperationTimeout: it takes longer than a request may wait; the job goes on.
            OperationFailed: the node was stopped, or lost its lease, before the job had begun.
        """
        done, _ = await asyncio.wait([job.task], timeout=self._settings.wait)
        if not done:
            raise OperationTimeout(
                f"still running after {self._settings.wait:g} s; its result will be at /zstack/v1/api-jobs/{job.uuid}"
            )
        if job.task.cancelled():  # before it could begin
            raise OperationFailed(_CUT_SHORT)
        return job.task.result()

    async def find(self, uuid: str) -> StoredJob | None:
        """Return the job as it is stored."""
        return await self._store.find(uuid)

    async def _add(self, order: Order, new: StoredJob, account_uuid: str) -> None:
        if order.hook:
            await self._hooks.check_room(order.hook)
        if not await self._store.add(new, account_uuid, hook_to=order.hook):
            raise RequestError(f"Duplicate job uuid[{new.uuid}]")

    def _forget(self, uuid: str) -> None:
        del self._running[uuid]
        self._at_work.discard(uuid)

    def _lose(self) -> None:
        """End what runs, as the others take this node for lost and tell callers so; what had ended is kept."""
        self.cut_short()
        self._judge_later()

    def _judge_later(self) -> None:
        """Give the other nodes time to renew their leases: what kept this node from it may have kept them, too."""
        self._judges_after = asyncio.get_running_loop().time() + self._node.seconds

    def cut_short(self) -> None:
        """End what runs; who waits for it is told so."""
        for uuid in self._at_work:
            if not self._running[uuid].task.cancelling():  # once is enough: it may be taking back what it has begun
                self._running[uuid].task.cancel()

    async def _stop(self) -> None:
        """Cut short what runs, and write how it has ended; there is no later."""
        self._is_stopping = True
        tasks = [job.task for job in self._running.values()]
        self.cut_short()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(_LAST_TRY):
                await self._write_all()
        for lost in self._unwritten.values():
            log.error(
                "the result of job %s (%s) could not be stored: it was %s", lost.uuid, lost.api_name, lost.state.lower()
            )

    def _is_known(self, uuid: str) -> bool:
        return uuid in self._running or uuid in self._unwritten or uuid in self._starting

    async def _run(self, new: StoredJob, work: Callable[[], Awaitable[Payload]], seconds: float) -> StoredJob:
        uuid = new.uuid
        try:
            ended = await _work(new, work, seconds)
        finally:
            self._at_work.discard(uuid)
        self.ended.labels(new.api_name, ended.state).inc()
        self._unwritten[uuid] = ended
        if not self._is_stopping:
            try:
                ended = await self._write(ended)
            except DatabaseUnavailable as error:
                log.warning("the result of job %s is not stored yet: %s", uuid, error.details)
        self._hooks.wake()
        return ended

    async def _write(self, ended: StoredJob) -> StoredJob:
        """Store how a job has ended, and return what is stored; it is kept while the database is away."""
        del self._unwritten[ended.uuid]
        try:
            is_written = await self._store.finish(ended)
            return ended if is_written else await self._store.find(ended.uuid) or ended
        except (DatabaseUnavailable, asyncio.CancelledError):
            self._unwritten[ended.uuid] = ended
            raise

    async def _write_all(self) -> None:
        for ended in list(self._unwritten.values()):
            await self._write(ended)

    async def _keep_house(self) -> None:
        is_away = False
        while True:
            try:
                await self._write_all()
                await self._give_up_lost()
                await self._store.prune(self._settings.keep, _MOST_KEPT)
            except DatabaseUnavailable as error:
                self._judge_later()
                if not is_away:
                    log.warning("jobs: %s; their ends are written when it answers again", error.details)
                is_away = True
            except Exception:  # edge: the house is kept as long as the node lives
                log.exception("jobs: the upkeep failed")
            else:
                is_away = False
            await asyncio.sleep(_HOUSEKEEPING)

    async def _give_up_lost(self) -> None:
        if asyncio.get_running_loop().time() < self._judges_after:
            return
        failure = _failure(OperationFailed(_CUT_SHORT))
        if lost := await self._store.give_up(failure, OperationFailed.code, self._is_known):
            log.warning("%d jobs were cut short by the end of their management node", lost)
            self._hooks.wake()


def _failure(error: ApiError) -> str:
    return '{"error":' + error.shown().model_dump_json(exclude_none=True) + "}"


async def _work(job: StoredJob, work: Callable[[], Awaitable[Payload]], seconds: float) -> StoredJob:
    """Do the work of a job, and return it as it has ended."""
    try:
        async with asyncio.timeout(seconds) as limit:
            payload = await work()
            about = (payload.get("inventory") or {}).get("uuid") or job.resource_uuid
            return replace(job, state=DONE, result=to_json(payload).decode(), resource_uuid=about)
    except ApiError as error:
        fault = error
    except asyncio.CancelledError:
        fault = OperationFailed(_CUT_SHORT)
    except Exception as error:  # edge: whatever else went wrong in a use case
        if isinstance(error, TimeoutError) and limit.expired():
            fault = OperationTimeout(f"{job.api_name} timeout after {seconds:g}s")
        else:
            log.exception("job %s (%s) failed", job.uuid, job.api_name)
            fault = InternalError("an unexpected fault; the log has the rest")
    return replace(job, state=FAILED, result=_failure(fault), error_code=fault.shown().code)
