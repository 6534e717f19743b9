"""Calls that take long run as jobs: on disk before they start, so that a client can always learn how one ended.

A node holds its running jobs while it lives. A job whose node lives no more ends in an error that says so.
Whoever named a web hook is told of the end there; the hook is stored with the job.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

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
_MOST_REJECTED = 1000
_TRIES = 6


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

    def __init__(self, store: JobStore, settings: JobSettings, hooks: Hooks) -> None:
        self._store = store
        self._hooks = hooks
        self._settings = settings
        self._running: dict[str, Job] = {}
        self._starting: list[str] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, node: Node, settings: JobSettings, hooks: Hooks) -> AsyncIterator["Jobs"]:
        """Run jobs while the context is open; those that still run at its end are cut short, and say so."""
        jobs = cls(JobStore(database, node.uuid), settings, hooks)
        node.on_loss(jobs._cut_short)
        try:
            async with background(jobs._keep_house(), "jobs"):
                yield jobs
        finally:
            tasks = [job.task for job in jobs._running.values()]
            jobs._cut_short()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def running(self) -> int:
        """How many jobs run in this process."""
        return len(self._running)

    async def start(
        self, order: Order, api_name: str, account_uuid: str, work: Callable[[], Awaitable[Payload]]
    ) -> Job:
        """Start `work` as a job; it is given up after the order's time, or after what the configuration says.

        Raises:
            RequestError: the uuid was used before.
            Overloaded: as many jobs run, or as many hooks wait, as are allowed.
        """
        under_way = len(self._running) + len(self._starting)
        if under_way >= self._settings.concurrent:
            raise Overloaded(f"{under_way} jobs are running")
        uuid = order.uuid or uuid4().hex
        self._starting.append(uuid)
        try:
            await self._add(order, StoredJob(uuid, api_name, RUNNING, None), account_uuid)
            limit = min(order.seconds or self._settings.timeout, self._settings.timeout)
            job = Job(uuid, asyncio.create_task(self._run(uuid, api_name, work, limit), name=f"{api_name} {uuid}"))
            self._running[uuid] = job
        finally:
            self._starting.remove(uuid)
        job.task.add_done_callback(lambda _: self._running.pop(uuid, None))
        return job

    async def reject(self, order: Order, api_name: str, error: ApiError) -> str:
        """Store a job that fails without having run; returns its uuid.

        Raises:
            RequestError: the uuid was used before.
            Overloaded: as many hooks wait as are allowed.
        """
        uuid = order.uuid or uuid4().hex
        await self._add(order, StoredJob(uuid, api_name, FAILED, _failure(error)), "")
        return uuid

    async def wait(self, job: Job) -> StoredJob:
        """Wait for the job's end.

        Raises:
            OperationTimeout: it takes longer than a request may wait; the job goes on.
        """
        done, _ = await asyncio.wait([job.task], timeout=self._settings.wait)
        if not done:
            raise OperationTimeout(
                f"still running after {self._settings.wait:g} s; its result will be at /zstack/v1/api-jobs/{job.uuid}"
            )
        return job.task.result()

    async def find(self, uuid: str) -> StoredJob | None:
        """Return the job as it is stored."""
        return await self._store.find(uuid)

    async def _add(self, order: Order, new: StoredJob, account_uuid: str) -> None:
        if order.hook:
            await self._hooks.check_room()
        if not await self._store.add(new, account_uuid, hook_to=order.hook):
            raise RequestError(f"Duplicate job uuid[{new.uuid}]")

    def _cut_short(self) -> None:
        """End what runs: this node stops, or the others take it for lost and have told the callers so."""
        for job in self._running.values():
            job.task.cancel()

    def _is_known(self, uuid: str) -> bool:
        return uuid in self._running or uuid in self._starting

    async def _run(self, uuid: str, api_name: str, work: Callable[[], Awaitable[Payload]], seconds: float) -> StoredJob:
        try:
            async with asyncio.timeout(seconds):
                ended = StoredJob(uuid, api_name, DONE, to_json(await work()).decode())
        except TimeoutError:
            ended = StoredJob(
                uuid, api_name, FAILED, _failure(OperationTimeout(f"{api_name} timeout after {seconds:g}s"))
            )
        except ApiError as error:
            ended = StoredJob(uuid, api_name, FAILED, _failure(error))
        except asyncio.CancelledError:
            ended = StoredJob(uuid, api_name, FAILED, _failure(_INTERRUPTED))
        except Exception:  # edge: whatever else went wrong in a use case
            log.exception("job %s (%s) failed", uuid, api_name)
            ended = StoredJob(
                uuid, api_name, FAILED, _failure(InternalError("an unexpected fault; the log has the rest"))
            )
        ended = await self._finish(ended)
        self._hooks.wake()
        return ended

    async def _finish(self, ended: StoredJob) -> StoredJob:
        """Store the result, and return what is stored; a database that is away for a moment does not lose it."""
        for attempt in range(_TRIES):
            try:
                if await self._store.finish(ended):
                    return ended
                return await self._store.find(ended.uuid) or ended
            except DatabaseUnavailable as error:
                log.warning("the result of job %s is not stored yet: %s", ended.uuid, error.details)
                await asyncio.sleep(2**attempt)
        log.error("the result of job %s (%s) could not be stored: it was %s", ended.uuid, ended.api_name, ended.state)
        return ended

    async def _keep_house(self) -> None:
        while True:
            try:
                if lost := await self._store.give_up(_failure(_INTERRUPTED), self._is_known):
                    log.warning("%d jobs were cut short by the end of their management node", lost)
                    self._hooks.wake()
                await self._store.prune(self._settings.keep, _MOST_REJECTED)
            except DatabaseUnavailable as error:
                log.warning("jobs: %s", error.details)
            except Exception:  # edge: the house is kept as long as the node lives
                log.exception("jobs: the upkeep failed")
            await asyncio.sleep(_HOUSEKEEPING)


_INTERRUPTED = OperationFailed(
    "the management node was stopped, or cut off from the database, while the job ran; "
    "look at the resource, then try again"
)


def _failure(error: ApiError) -> str:
    return '{"error":' + error.shown().model_dump_json(exclude_none=True) + "}"
