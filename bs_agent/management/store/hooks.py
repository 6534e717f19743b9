"""The SQL of web hooks: an outbox beside the jobs. A row is written with its job and goes when it was delivered.

A node holds what it is sending; when it lives no more, another one sends it again.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, func, literal, or_, select, update

from bs_agent.management.store.database import Database
from bs_agent.management.store.jobs import RUNNING, StoredJob
from bs_agent.management.store.leases import is_free, living
from bs_agent.management.store.tables import hook, job

LONGEST_PAUSE = 300.0
"""Seconds between two tries, at the most."""


@dataclass(frozen=True, slots=True)
class DueHook:
    """A web hook to be sent now, and the job whose end it tells."""

    url: str
    with_schema: bool
    tries: int
    job: StoredJob


class HookStore:
    """Reads and writes web hooks, as the node `owner` sees them; all dates are by the database's clock."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def count(self) -> int:
        """Return how many wait, those of running jobs among them."""
        async with self._database.reading() as connection:
            return (await connection.execute(select(func.count()).select_from(hook))).scalar_one()

    async def claim(self, most: int, under_way: Collection[str]) -> list[DueHook]:
        """Take hooks that are due, to be sent by this node, which is sending those of the jobs `under_way`.

        A node whose lease is lost gets none: the others may take them.
        """
        async with self._database.writing() as connection:
            now = await self._database.now(connection)
            due = select(hook.c.jobUuid).join(job).where(*self._waiting(now, under_way), _is_due(now))
            due = due.where(literal(self._owner).in_(living(now)))
            # What another node is just taking is skipped, not waited for.
            due = due.order_by(hook.c.dueDate).limit(most).with_for_update(of=hook, skip_locked=True)
            taken = due.cte("taken")
            take = update(hook).where(hook.c.jobUuid.in_(select(taken.c.jobUuid))).returning(hook.c.jobUuid)
            uuids = list((await connection.execute(take.values(leaseOwner=self._owner))).scalars())
            rows = await connection.execute(_DUE.where(hook.c.jobUuid.in_(uuids))) if uuids else ()
            return [DueHook(url, schema, tries, StoredJob(*found)) for url, schema, tries, *found in rows]

    async def pause(self, under_way: Collection[str]) -> float | None:
        """Return the seconds until the next hook that nobody sends is due; None when none waits."""
        async with self._database.reading() as connection:
            now = await self._database.now(connection)
            waiting = select(func.min(hook.c.dueDate)).select_from(hook.join(job)).where(*self._waiting(now, under_way))
            due = (await connection.execute(waiting)).scalar_one()
        return None if due is None else max(0.0, due - now)

    async def tell(self, job_uuid: str) -> None:
        """Let a hook be due as soon as its job has ended."""
        async with self._database.writing() as connection:
            await connection.execute(update(hook).where(hook.c.jobUuid == job_uuid).values(dueDate=0))

    async def postpone(self, job_uuid: str, tries: int, pause: float) -> None:
        """Let a hook that this node could not deliver be tried again in `pause` seconds."""
        async with self._database.writing() as connection:
            due = await self._database.now(connection) + pause
            failed = update(hook).where(hook.c.jobUuid == job_uuid, hook.c.leaseOwner == self._owner)
            await connection.execute(failed.values(tries=tries, dueDate=due, leaseOwner=None))

    async def drop(self, job_uuid: str) -> None:
        """Forget a hook of this node: it was delivered, or is given up."""
        async with self._database.writing() as connection:
            mine = (hook.c.jobUuid == job_uuid, hook.c.leaseOwner == self._owner)
            await connection.execute(delete(hook).where(*mine))

    async def release(self) -> None:
        """Let go of all hooks that this node holds."""
        async with self._database.writing() as connection:
            await connection.execute(update(hook).where(hook.c.leaseOwner == self._owner).values(leaseOwner=None))

    def _waiting(self, now: float, under_way: Collection[str]) -> tuple[ColumnElement[bool], ...]:
        """Tell of the hooks of ended jobs that nobody sends; this node does not if it does not know of it."""
        unknown = and_(hook.c.leaseOwner == self._owner, hook.c.jobUuid.not_in(list(under_way)))
        return job.c.state != RUNNING, or_(is_free(hook.c.leaseOwner, now), unknown)


def _is_due(now: float) -> ColumnElement[bool]:
    # A date further ahead than any pause was written while the database's clock was wrong.
    return or_(hook.c.dueDate <= now, hook.c.dueDate > now + LONGEST_PAUSE)


_DUE = select(hook.c.url, hook.c.withSchema, hook.c.tries, job.c.uuid, job.c.apiName, job.c.state, job.c.result).join(
    job
)
