"""The SQL of operations: at most one at a time on each storage and each agent, on whichever node it runs.

A row stays when its operation has ended, so that the next one has a greater number: an agent refuses a command whose
number is less than one that it has seen for that storage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import ErrorCode, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.store.database import Database
from bs_agent.management.store.events import Event, Outcome, began_by, storage_event, write_events
from bs_agent.management.store.leases import goes_on, is_free, living
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.tables import backup_storage, debt, node, operation

_SHOWN = frozenset({"add", "reconnect", "delete", "change"})
"""Kinds of operation on a storage that are somebody's; the others are a node's own, or part of one of these."""
_KEPT = 86400
"""Seconds that the row of an ended operation is kept; the database's clock makes later numbers greater, too."""


@dataclass(frozen=True, slots=True)
class Held:
    """An operation that this node does: its number goes with every command of it."""

    key: str
    uuid: str
    number: int


@dataclass(frozen=True, slots=True)
class Running:
    """An operation that somebody does."""

    uuid: str
    kind: str
    variant: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How an operation has ended: with the error that it was refused with, or well."""

    problem: ErrorCode | None


@each_repeated
class OperationStore:
    """The operations in the database, as the node `owner` sees them. Every method is one transaction."""

    def __init__(self, database: Database, owner: str) -> None:
        self.database = database
        self._owner = owner

    async def take(self, key: str, kind: str, variant: str = "", uuid: str = "") -> Held | Running:
        """Begin an operation on a key, with this uuid if one is given, or return the one that is under way.

        The variant of an add, which nobody joins, is the name of what is to be.
        """
        new = {"uuid": uuid or uuid4().hex, "kind": kind, "variant": variant}
        while True:
            try:
                async with self.database.writing() as connection:
                    return await self._take(connection, key, new)
            except IntegrityError:
                continue  # another node has just written the first row of this key

    async def ended(self, key: str, uuid: str) -> Ended | Running | None:
        """Return how an operation has ended, or the operation while it runs; None when nobody knows any more."""
        columns = (operation.c.kind, operation.c.variant, operation.c.problem)
        async with self.database.reading() as connection:
            now = await self.database.now(connection)
            free = self._is_free(now).label("free")
            mine = (operation.c.key == key, operation.c.uuid == uuid)
            row = (await connection.execute(select(*columns, operation.c.leaseOwner, free).where(*mine))).one_or_none()
        if row is None or (row.free and row.leaseOwner is not None):
            return None  # another one came after it, or its node was lost
        if row.free:
            return Ended(ErrorCode.model_validate(row.problem) if row.problem else None)
        return Running(uuid, row.kind, row.variant)

    async def number(self, key: str) -> int:
        """Return a number that agents do not take for overtaken: that of the latest operation on a key, or the clock's.

        Only for questions: a command wants a turn of its own.
        """
        async with self.database.reading() as connection:
            latest = (await connection.execute(select(operation.c.number).where(operation.c.key == key))).scalar()
            return max(latest or 0, int(await self.database.now(connection) * 1000))

    async def end(self, held: Held, problem: ErrorCode | None) -> None:
        """End an operation; nothing happens when another node has taken it over."""
        values = {
            "leaseOwner": None,
            "problem": problem.model_dump(mode="json", exclude_none=True) if problem else None,
        }
        async with self.database.writing() as connection:
            ended = update(operation).where(*self._mine(held)).values(**values).returning(operation.c.kind)
            kind = (await connection.execute(ended)).scalar()
            if _is_shown(held.key, kind):
                await self._tell_end(connection, held.key, held.uuid, kind, problem)
            await self.database.wake(connection, held.key)

    async def keep_only(self, is_known: Callable[[str], bool], problem: ErrorCode) -> None:
        """End the operations of this node that it does not know, by their uuids: how they ended, nobody knows.

        It was never heard that their beginning was written. `is_known` is asked after they
        were read, so it must know of an operation before that is written.
        """
        async with self.database.reading() as connection:
            mine = select(operation.c.key, operation.c.uuid).where(operation.c.leaseOwner == self._owner)
            rows = (await connection.execute(mine)).all()
        for key, uuid in rows:
            if not is_known(uuid):
                await self.end(Held(key, uuid, 0), problem)

    async def confirm(self, connection: AsyncConnection, held: Held) -> None:
        """See in a writing transaction that the operation is still this node's; nobody takes it before its end.

        Raises:
            StorageProblem: StorageBusy: another node has taken over.
        """
        query = select(operation.c.uuid).where(*self._mine(held)).with_for_update()
        found = (await connection.execute(query)).first()
        now = await self.database.now(connection)
        if not found or not (await connection.execute(select(goes_on(self._owner, now)))).scalar_one():
            raise lost(held.key)

    async def busy(self, connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
        """Return those of the keys on which somebody does an operation; on others nobody begins one before the end.

        The end of this writing transaction, that is. On whose row somebody has a hand just now, that one is busy.
        """
        now = await self.database.now(connection)
        these = operation.c.key.in_(keys)
        locked = select(operation.c.key, self._is_free(now)).where(these).with_for_update(read=True, skip_locked=True)
        free = {key for key, is_free in await connection.execute(locked) if is_free}
        # After that: a row that has come meanwhile is of an operation that has just begun.
        return set((await connection.execute(select(operation.c.key).where(these))).scalars()) - free

    async def prune(self) -> None:
        """Forget operations that ended long ago, but the last one of each storage that is there.

        Its number may have come from a clock that was ahead, and agents refuse smaller ones.
        """
        async with self.database.writing() as connection:
            now = await self.database.now(connection)
            owed = exists().where(debt.c.operationUuid == operation.c.uuid)
            there = exists().where(backup_storage.c.uuid == func.substr(operation.c.key, len(storage_key("")) + 1))
            old = (operation.c.lastOpDate < int(now) - _KEPT, self._is_free(now), ~owed, ~there)
            await connection.execute(delete(operation).where(*old))

    async def _take(self, connection: AsyncConnection, key: str, new: dict[str, str]) -> Held | Running:
        mine = select(operation).where(operation.c.key == key).with_for_update()
        row = (await connection.execute(mine)).one_or_none()
        now = await self.database.now(connection)
        if row is not None:
            # Asked anew: who has waited for the row does not see a node that has just started, and taken it.
            lives = living(now).where(node.c.uuid == row.leaseOwner)
            if row.leaseOwner == self._owner or (await connection.execute(lives)).first():
                return Running(row.uuid, row.kind, row.variant)
            if row.leaseOwner and _is_shown(key, row.kind):
                await self._tell_end(connection, key, row.uuid, row.kind, None, outcome="Lost")
        number = max(int(now * 1000), row.number + 1 if row else 0)
        held = Held(key, new["uuid"], number)
        values = {**new, "number": number, "problem": None, "leaseOwner": self._owner, "lastOpDate": int(now)}
        if row is None:
            await connection.execute(insert(operation).values(key=key, **values))
        else:
            await connection.execute(update(operation).where(operation.c.key == key).values(**values))
        if _is_shown(key, new["kind"]):
            name = new["variant"] if new["kind"] == "add" else await self._name(connection, key)
            about = storage_event(key.removeprefix(storage_key("")), name)
            mode = new["variant"] if new["kind"] == "delete" else None
            began = Event("OperationBegan", about, operation=new["kind"], operation_uuid=held.uuid, details=mode)
            await write_events(connection, now, [began])
        return held

    async def _tell_end(
        self, connection: AsyncConnection, key: str, uuid: str, kind: str, problem: ErrorCode | None,
        *, outcome: Outcome | None = None,
    ) -> None:  # fmt: skip
        """Write that an operation has ended, and how, as the doing of who has begun it."""
        began = await began_by(connection, uuid)
        about = began.resource if began else storage_event(key.removeprefix(storage_key("")), "")
        shown = problem.cause if problem and problem.cause else problem
        event = Event(
            "OperationEnded", about, operation=kind, operation_uuid=uuid,
            outcome=outcome or ("Failed" if problem else "Succeeded"), code=shown.code if shown else None,
            details=shown.details if shown else None, by=began.by if began else None,
        )  # fmt: skip
        await write_events(connection, await self.database.now(connection), [event])

    async def _name(self, connection: AsyncConnection, key: str) -> str:
        mine = backup_storage.c.uuid == key.removeprefix(storage_key(""))
        return (await connection.execute(select(backup_storage.c.name).where(mine))).scalar() or ""

    def _is_free(self, now: float) -> ColumnElement[bool]:
        return is_free(operation.c.leaseOwner, now, self._owner)

    def _mine(self, held: Held) -> tuple[ColumnElement[bool], ...]:
        return operation.c.key == held.key, operation.c.uuid == held.uuid, operation.c.leaseOwner == self._owner


def _is_shown(key: str, kind: str | None) -> bool:
    """Tell whether the beginning and the end of an operation are events."""
    return kind in _SHOWN and key.startswith(storage_key(""))


def lost(key: str) -> StorageProblem:
    """Return the error of an operation that another node has taken over, or may have."""
    details = (
        f"the operation on {key} has lost its lease: another management node goes on with it; look, then try again"
    )
    return StorageProblem.of(ReasonCode.STORAGE_BUSY, details)


def storage_key(uuid: str) -> str:
    """Return the key of the operations on a storage."""
    return f"storage:{uuid}"


def agent_key(uuid: str) -> str:
    """Return the key of the operations on an agent."""
    return f"agent:{uuid}"
