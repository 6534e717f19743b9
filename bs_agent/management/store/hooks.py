"""The SQL of web hooks: an outbox beside the jobs. A row is written with its job and goes when it was delivered.

A node holds what it is sending by a lease; when that runs out, another one sends it again.
"""

from dataclasses import dataclass

from sqlalchemy import case, delete, func, select, update

from bs_agent.management.store.database import Database
from bs_agent.management.store.jobs import RUNNING, StoredJob
from bs_agent.management.store.tables import hook, job


@dataclass(frozen=True, slots=True)
class DueHook:
    """A web hook to be sent now, and the job whose end it tells."""

    url: str
    with_schema: bool
    tries: int
    job: StoredJob


class HookStore:
    """Reads and writes web hooks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self) -> int:
        """Return how many wait, those of running jobs among them."""
        async with self._database.reading() as connection:
            return (await connection.execute(select(func.count()).select_from(hook))).scalar_one()

    async def claim(self, owner: str, now: float, until: float, most: int) -> list[DueHook]:
        """Take hooks that are due, to be sent by `owner` before `until`."""
        due = select(hook.c.jobUuid).join(job).where(job.c.state != RUNNING, hook.c.dueDate <= now)
        due = due.where(hook.c.leaseDate < now).order_by(hook.c.dueDate).limit(most)
        # What another node is just taking is skipped, not waited for.
        taken = due.with_for_update(of=hook, skip_locked=True).cte("taken")
        take = update(hook).where(hook.c.jobUuid.in_(select(taken.c.jobUuid))).returning(hook.c.jobUuid)
        async with self._database.writing() as connection:
            done = await connection.execute(take.values(leaseOwner=owner, leaseDate=until))
            uuids = list(done.scalars())
            rows = await connection.execute(_DUE.where(hook.c.jobUuid.in_(uuids))) if uuids else ()
            return [DueHook(url, schema, tries, StoredJob(*found)) for url, schema, tries, *found in rows]

    async def next_due(self) -> float | None:
        """Return when the next hook of an ended job is due."""
        moment = case((hook.c.leaseDate > hook.c.dueDate, hook.c.leaseDate), else_=hook.c.dueDate)
        async with self._database.reading() as connection:
            found = await connection.execute(select(func.min(moment)).select_from(hook.join(job)).where(_ENDED))
            due: float | None = found.scalar_one()
            return due

    async def set_due(self, job_uuid: str, due: float) -> None:
        """Let a hook be due at this moment."""
        async with self._database.writing() as connection:
            await connection.execute(update(hook).where(hook.c.jobUuid == job_uuid).values(dueDate=due))

    async def postpone(self, job_uuid: str, tries: int, due: float) -> None:
        """Let a hook that could not be delivered be tried again."""
        async with self._database.writing() as connection:
            failed = update(hook).where(hook.c.jobUuid == job_uuid)
            await connection.execute(failed.values(tries=tries, dueDate=due, leaseDate=0))

    async def drop(self, job_uuid: str) -> None:
        """Forget a hook: it was delivered, or is given up."""
        async with self._database.writing() as connection:
            await connection.execute(delete(hook).where(hook.c.jobUuid == job_uuid))

    async def release(self, owner: str | None) -> None:
        """Take the leases from a node; from all when none is named: on SQLite, a node that starts is the only one."""
        held = update(hook).values(leaseDate=0)
        async with self._database.writing() as connection:
            await connection.execute(held.where(hook.c.leaseOwner == owner) if owner else held)


_ENDED = job.c.state != RUNNING
_DUE = select(hook.c.url, hook.c.withSchema, hook.c.tries, job.c.uuid, job.c.apiName, job.c.state, job.c.result).join(
    job
)
