"""What has happened: each event is written in the transaction that makes it so, so neither is without the other.

Many events are one statement. Who acts is known by the context in which a call runs; what a node does by itself is
nobody's doing.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, and_, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.bounds import fit
from bs_agent.management.store.columns import comparable
from bs_agent.management.store.database import Database
from bs_agent.management.store.past_tables import event
from bs_agent.management.store.repeated import repeated

if TYPE_CHECKING:  # the commands of a node write events too, and need not load what the API shows
    from bs_agent.contract.inventory import EventType

Outcome = Literal["Succeeded", "Failed", "Lost"]

_LONGEST = {"resourceName": 255, "accountName": 255, "address": 64, "code": 64, "details": 1000}
_PIECE = 1000
_REFUSED = comparable(event.c.type) == "loginrefused"
_numbers = count(secrets.randbelow(0x8000))


class Actor(NamedTuple):
    """Whose doing something is."""

    uuid: str
    name: str


NOBODY = Actor("", "")
_acting: ContextVar[Actor] = ContextVar("acting", default=NOBODY)


class Event(NamedTuple):
    """What has happened, to what; `by` is whose doing it is, if it is not that of the call that runs."""

    type: "EventType"
    resource: tuple[str, str, str] = ("", "", "")
    """Its type, its uuid, its name."""
    old: str | None = None
    new: str | None = None
    operation: str | None = None
    operation_uuid: str | None = None
    outcome: Outcome | None = None
    code: str | None = None
    details: str | None = None
    by: Actor | None = None
    address: str | None = None


@contextmanager
def acting(uuid: str, name: str) -> Iterator[None]:
    """Let what happens in this context, and in tasks that are started in it, be the doing of an account."""
    token = _acting.set(Actor(uuid, name))
    try:
        yield
    finally:
        _acting.reset(token)


def storage_event(uuid: str, name: str) -> tuple[str, str, str]:
    """Return what an event on a backup storage is about."""
    return "BackupStorageVO", uuid, name


async def write_events(connection: AsyncConnection, now: float, events: Iterable[Event]) -> None:
    """Write events, in a transaction that is under way; no event costs nothing."""
    if rows := [_row(now, one) for one in events]:
        await connection.execute(insert(event), rows)


@repeated
async def note(database: Database, events: Sequence[Event]) -> None:
    """Write events that change nothing else."""
    async with database.writing() as connection:
        await write_events(connection, await database.now(connection), events)


async def began_by(connection: AsyncConnection, operation_uuid: str) -> Event | None:
    """Return the beginning of an operation, if it was written: whose doing it is, and how its resource was called."""
    mine = (event.c.operationUuid == operation_uuid, comparable(event.c.type) == "operationbegan")
    columns = (event.c.resourceType, event.c.resourceUuid, event.c.resourceName, event.c.operation)
    query = select(*columns, event.c.accountUuid, event.c.accountName).where(*mine).limit(1)
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    by = Actor(row.accountUuid or "", row.accountName or "")
    resource = (row.resourceType or "", row.resourceUuid or "", row.resourceName or "")
    return Event("OperationBegan", resource, operation=row.operation, operation_uuid=operation_uuid, by=by)


async def prune_events(database: Database, seconds: float, most: int) -> None:
    """Forget the events that are older than so many seconds, and all but the newest `most`, some at a time.

    Of refused log-ins a quarter of that stays: who has no account can make them, and must not push out what else was.
    """
    async with database.reading() as connection:
        now = await database.now(connection)
        # A date far ahead was written while the database's clock was wrong: it says nothing.
        gone: list[ColumnElement[bool]] = [~event.c.createDate.between(int(now - seconds), int(now + seconds))]
        if beyond := await _beyond(connection, most // 4, _REFUSED):
            gone.append(and_(_REFUSED, event.c.uuid <= beyond))
    for old in gone:
        while await _delete(database, old):
            pass
    async with database.reading() as connection:
        beyond = await _beyond(connection, most)
    if beyond:
        while await _delete(database, event.c.uuid <= beyond):
            pass


async def _beyond(connection: AsyncConnection, most: int, *which: ColumnElement[bool]) -> str | None:
    """Return the newest event that is one too many."""
    newest = select(event.c.uuid).where(*which).order_by(event.c.uuid.desc())
    return (await connection.execute(newest.offset(most).limit(1))).scalar()


@repeated
async def _delete(database: Database, old: ColumnElement[bool]) -> bool:
    some = select(event.c.uuid).where(old).limit(_PIECE)
    async with database.writing() as connection:
        return (await connection.execute(delete(event).where(event.c.uuid.in_(some)))).rowcount == _PIECE


def _row(now: float, one: Event) -> dict[str, Any]:
    by = one.by if one.by is not None else _acting.get()
    type_, uuid, name = one.resource
    row = {
        "uuid": _uuid(now),
        "type": one.type,
        "createDate": int(now),
        "resourceUuid": uuid or None,
        "resourceName": name or None,
        "resourceType": type_ or None,
        "accountUuid": by.uuid or None,
        "accountName": by.name or None,
        "address": one.address or None,
        "oldValue": one.old,
        "newValue": one.new,
        "operation": one.operation,
        "operationUuid": one.operation_uuid,
        "outcome": one.outcome,
        "code": one.code,
        "details": one.details or None,
    }
    for column, longest in _LONGEST.items():
        if text := row[column]:
            row[column] = str(fit(text))[:longest]
    return row


def _uuid(now: float) -> str:
    """Return a uuid that is greater than those before: the milliseconds, the count, and some chance."""
    return f"{int(now * 1000):012x}{next(_numbers) & 0xFFFF:04x}{secrets.token_hex(8)}"
