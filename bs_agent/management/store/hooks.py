"""The SQL of web hooks: an outbox beside the jobs. A row is written with its job and goes when it was delivered.

A node holds what it is sending; when it lives no more, another one sends it again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, case, delete, func, or_, select, update

from bs_agent.management.store.database import Database
from bs_agent.management.store.jobs import RUNNING, StoredJob
from bs_agent.management.store.leases import goes_on, is_free
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.tables import hook, job

LONGEST_PAUSE = 300.0
"""Seconds between two tries, at the most."""


@dataclass(frozen=True, slots=True)
class DueHook:
    """A web hook to be sent now, and the job whose end it tells."""

    url: str
    receiver: str
    with_schema: bool
    tries: int
    job: StoredJob


@each_repeated
class HookStore:
    """Reads and writes web hooks, as the node `owner` sees them; all dates are by the database's clock."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def count(self, receiver: str) -> tuple[int, int]:
        """Return how many wait, and how many of them for one receiver; those of running jobs among them."""
        mine = func.count().filter(hook.c.receiver == receiver)
        async with self._database.reading() as connection:
            total, its = (await connection.execute(select(func.count(), mine).select_from(hook))).one()
        return total, its

    async def claim(self, most: int, share: int, under_way: Mapping[str, str]) -> list[DueHook]:
        """Take hooks that are due, to be sent by this node: at most so many, and of each receiver no more than `share`.

        `under_way` are the jobs whose hooks it is sending, and their receivers. A receiver that waits with few is
        served before the later ones of one that waits with many. A node whose lease is lost gets none.
        """
        async with self._database.writing() as connection:
            now = await self._database.now(connection)
            waiting = (*self._waiting(now, share, under_way), _is_due(now), goes_on(self._owner, now))
            chosen = _fairly(waiting, most, share, under_way)
            # What another node is just taking is skipped, not waited for.
            taken = select(hook.c.jobUuid).where(hook.c.jobUuid.in_(chosen), self._is_free(now, under_way))
            taken = taken.with_for_update(of=hook, skip_locked=True)
            take = update(hook).where(hook.c.jobUuid.in_(select(taken.cte("taken").c.jobUuid)))
            done = await connection.execute(take.values(leaseOwner=self._owner).returning(hook.c.jobUuid))
            uuids = list(done.scalars())
            rows = await connection.execute(_DUE.where(hook.c.jobUuid.in_(uuids))) if uuids else ()
            return [DueHook(*row[:4], StoredJob(*row[4:])) for row in rows]

    async def pause(self, share: int, under_way: Mapping[str, str]) -> float | None:
        """Return the seconds until the next hook that could be sent is due; None when none waits."""
        async with self._database.reading() as connection:
            now = await self._database.now(connection)
            waiting = select(func.min(hook.c.dueDate)).select_from(hook.join(job))
            waiting = waiting.where(*self._waiting(now, share, under_way))
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

    def _is_free(self, now: float, under_way: Mapping[str, str]) -> ColumnElement[bool]:
        """Tell of hooks that nobody sends; this node does not, either, if it does not know of it."""
        unknown = and_(hook.c.leaseOwner == self._owner, hook.c.jobUuid.not_in(list(under_way)))
        return or_(is_free(hook.c.leaseOwner, now), unknown)

    def _waiting(self, now: float, share: int, under_way: Mapping[str, str]) -> tuple[ColumnElement[bool], ...]:
        """Tell of the hooks of ended jobs that this node could send now."""
        full = [receiver for receiver, number in Counter(under_way.values()).items() if number >= share]
        return job.c.state != RUNNING, self._is_free(now, under_way), hook.c.receiver.not_in(full)


def _is_due(now: float) -> ColumnElement[bool]:
    # A date further ahead than any pause was written while the database's clock was wrong.
    return or_(hook.c.dueDate <= now, hook.c.dueDate > now + LONGEST_PAUSE)


def _fairly(
    waiting: Sequence[ColumnElement[bool]], most: int, share: int, under_way: Mapping[str, str]
) -> Select[tuple[str]]:
    """Choose among the hooks that wait: one of each receiver, then a second one of each, up to what each may have."""
    place = func.row_number().over(partition_by=hook.c.receiver, order_by=hook.c.dueDate).label("place")
    ranked = select(hook.c.jobUuid, hook.c.receiver, hook.c.dueDate, place).join(job).where(*waiting).subquery()
    rank: ColumnElement[int] = ranked.c.place
    if under_way:
        rank = rank + case(dict(Counter(under_way.values())), value=ranked.c.receiver, else_=0)
    return select(ranked.c.jobUuid).where(rank <= share).order_by(rank, ranked.c.dueDate).limit(most)


_OF_JOB = (job.c.uuid, job.c.apiName, job.c.state, job.c.result)
_DUE = select(hook.c.url, hook.c.receiver, hook.c.withSchema, hook.c.tries, *_OF_JOB).join(job)
