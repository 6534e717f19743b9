"""The SQL of jobs. A running job is held by a lease of its node; when the lease runs out, nobody works on it."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import hook, job

RUNNING, DONE, FAILED = "running", "done", "failed"

# A web hook waits so long for its caller to have been told of the job; then it goes all the same.
_UNTOLD = 30.0


@dataclass(frozen=True, slots=True)
class WebHook:
    """Where the end of a job is told; `with_schema` when the caller wants to know the classes of the inventories."""

    url: str
    with_schema: bool


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job; `result` is the JSON of its answer once it is done or failed."""

    uuid: str
    api_name: str
    state: str
    result: str | None


class JobStore:
    """Reads and writes jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, new: StoredJob, account_uuid: str, owner: str, lease: float, now: int, *, hook_to: WebHook | None = None
    ) -> bool:
        """Store the job and its web hook; False when its uuid was used before."""
        finished = None if new.state == RUNNING else now
        row = {"uuid": new.uuid, "apiName": new.api_name, "state": new.state, "result": new.result}
        held = {"accountUuid": account_uuid, "leaseOwner": owner, "leaseDate": lease, "finishedDate": finished}
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(job).values(**row, **held, createDate=now, lastOpDate=now))
                if hook_to:
                    told = {"jobUuid": new.uuid, "url": hook_to.url, "withSchema": hook_to.with_schema}
                    due = {"tries": 0, "dueDate": now + _UNTOLD, "leaseDate": 0}
                    await connection.execute(insert(hook).values(**told, **due))
        except IntegrityError:
            return False
        return True

    async def find(self, uuid: str) -> StoredJob | None:
        """Return the job of this uuid."""
        wanted = select(job.c.uuid, job.c.apiName, job.c.state, job.c.result).where(job.c.uuid == uuid)
        async with self._database.reading() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        return StoredJob(*row) if row else None

    async def finish(self, uuid: str, state: str, result: str, now: int) -> None:
        """Store the result of a running job."""
        running = update(job).where(job.c.uuid == uuid, job.c.state == RUNNING)
        async with self._database.writing() as connection:
            await connection.execute(running.values(state=state, result=result, finishedDate=now, lastOpDate=now))

    async def extend(self, uuids: Collection[str], lease: float) -> None:
        """Hold the jobs until `lease`."""
        async with self._database.writing() as connection:
            await connection.execute(update(job).where(job.c.uuid.in_(list(uuids))).values(leaseDate=lease))

    async def give_up(self, result: str, now: int) -> int:
        """Let the running jobs whose lease has run out fail with `result`; returns how many there were."""
        lost = update(job).where(job.c.state == RUNNING, job.c.leaseDate < now)
        async with self._database.writing() as connection:
            done = await connection.execute(lost.values(state=FAILED, result=result, finishedDate=now, lastOpDate=now))
        return done.rowcount

    async def release_all(self) -> None:
        """Take the lease from every job: on SQLite, a node that starts is the only one."""
        async with self._database.writing() as connection:
            await connection.execute(update(job).where(job.c.state == RUNNING).values(leaseDate=0))

    async def prune(self, before: int, rejected: int) -> None:
        """Forget the jobs that finished before, and all but the newest `rejected` of those that nobody was let run."""
        refused = job.c.accountUuid == ""
        newest = select(job.c.uuid).where(refused).order_by(job.c.createDate.desc(), job.c.uuid).limit(rejected)
        async with self._database.writing() as connection:
            await connection.execute(delete(job).where(job.c.finishedDate < before))
            await connection.execute(delete(job).where(refused, job.c.uuid.not_in(newest)))
