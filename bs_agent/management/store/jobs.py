"""The SQL of jobs. A running job is held by its node; when that lives no more, nobody works on it."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from bs_agent.management.store.columns import comparable
from bs_agent.management.store.database import Database
from bs_agent.management.store.leases import is_free
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.tables import hook, job

RUNNING, DONE, FAILED = "Running", "Done", "Failed"
_RUNS = comparable(job.c.state) == RUNNING.lower()  # as its index has it

# A web hook waits so long for its caller to have been told of the job; then it goes all the same.
_UNTOLD = 30.0


@dataclass(frozen=True, slots=True)
class WebHook:
    """Where the end of a job is told, `receiver` being the scheme, host and port of the URL.

    `with_schema` is whether the caller wants to know the classes of the inventories.
    """

    url: str
    receiver: str
    with_schema: bool


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job; `result` is the JSON of its answer once it is done or failed, `error_code` the code of its error then."""

    uuid: str
    api_name: str
    state: str
    result: str | None
    resource_uuid: str | None = None
    error_code: str | None = None


@each_repeated
class JobStore:
    """Reads and writes jobs, as the node `owner` sees them; all dates are by the database's clock."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def add(self, new: StoredJob, account_uuid: str, *, hook_to: WebHook | None = None) -> bool:
        """Store a job of this node and its web hook; False when its uuid was used before."""
        row = {"uuid": new.uuid, "apiName": new.api_name, "state": new.state, "result": new.result}
        row |= {"accountUuid": account_uuid, "leaseOwner": self._owner}
        row |= {"resourceUuid": new.resource_uuid, "errorCode": new.error_code}
        try:
            async with self._database.writing() as connection:
                now = await self._database.now(connection)
                finished = None if new.state == RUNNING else int(now)
                dates = {"createDate": int(now), "lastOpDate": int(now), "endDate": finished}
                await connection.execute(insert(job).values(**row, **dates))
                if hook_to:
                    where = {"url": hook_to.url, "receiver": hook_to.receiver, "withSchema": hook_to.with_schema}
                    told = insert(hook).values(jobUuid=new.uuid, **where, tries=0, dueDate=now + _UNTOLD)
                    await connection.execute(told)
        except IntegrityError:
            return False
        return True

    async def find(self, uuid: str) -> StoredJob | None:
        """Return the job of this uuid."""
        wanted = select(job.c.uuid, job.c.apiName, job.c.state, job.c.result).where(job.c.uuid == uuid)
        async with self._database.reading() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        return StoredJob(*row) if row else None

    async def finish(self, ended: StoredJob) -> bool:
        """Store how a running job of this node has ended; False when another node has ended it, or it is forgotten."""
        mine = (job.c.uuid == ended.uuid, _RUNS, job.c.leaseOwner == self._owner)
        async with self._database.writing() as connection:
            now = int(await self._database.now(connection))
            values = {"state": ended.state, "result": ended.result, "endDate": now, "lastOpDate": now}
            values |= {"resourceUuid": ended.resource_uuid, "errorCode": ended.error_code}
            done = await connection.execute(update(job).where(*mine).values(**values))
        return done.rowcount > 0

    async def give_up(self, result: str, error_code: str, is_known: Callable[[str], bool]) -> int:
        """Let the running jobs that nobody works on fail with `result`; returns how many there were.

        They are those of nodes that live no more, and those of this node that it does not know: their beginning was
        written, but its answer was lost. `is_known` is asked after they were read, so it must know of a job before
        that is written.
        """
        async with self._database.writing() as connection:
            now = await self._database.now(connection)
            held = or_(is_free(job.c.leaseOwner, now), job.c.leaseOwner == self._owner)
            rows = await connection.execute(select(job.c.uuid, job.c.leaseOwner).where(_RUNS, held))
            lost = [uuid for uuid, owner in rows if owner != self._owner or not is_known(uuid)]
            if not lost:
                return 0
            values = {"state": FAILED, "result": result, "endDate": int(now), "lastOpDate": int(now)}
            values["errorCode"] = error_code
            given_up = update(job).where(job.c.uuid.in_(lost), _RUNS)
            return (await connection.execute(given_up.values(**values))).rowcount

    async def prune(self, keep: float, most: int) -> None:
        """Forget the jobs that ended so many seconds ago, and all but the newest `most` ended ones of each account.

        Jobs that nobody was let run are those of the account "". One whose web hook waits is kept for that.
        """
        ended = (~_RUNS, ~exists().where(hook.c.jobUuid == job.c.uuid))
        count = func.count()
        many = select(job.c.accountUuid, count).group_by(job.c.accountUuid).having(count > most)
        async with self._database.writing() as connection:
            now = await self._database.now(connection)
            # A date far ahead was written while the database's clock was wrong: it says nothing.
            old = ~job.c.endDate.between(now - keep, now + keep)
            await connection.execute(delete(job).where(*ended, old))
            for account in list((await connection.execute(many)).scalars()):
                mine = (*ended, job.c.accountUuid == account)
                beyond = select(job.c.uuid).where(*mine).order_by(job.c.createDate.desc(), job.c.uuid).offset(most)
                await connection.execute(delete(job).where(job.c.uuid.in_(beyond)))
