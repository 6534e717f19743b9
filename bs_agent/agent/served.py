"""The backup storages that this agent serves: connected by management nodes, kept on disk, watched by the reporter."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from pydantic import TypeAdapter, ValidationError

from bs_agent.agent.journal import numbers
from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.probing.monitor import GRACE
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.storages.base import Host, Parameters, Storage
from bs_agent.agent.storages.kinds import KINDS, MEMORIES, PLACES
from bs_agent.contract.errors import RequestError, StorageProblem, StorageUnknown, TooManyRequests, explain
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephParameters, CephReport, ImageStoreReport, StorageParameters

MAX_STORAGES = 1000

parameters_adapter: TypeAdapter[Parameters] = TypeAdapter(StorageParameters)


class Row(NamedTuple):
    """A storage as the journal has it."""

    uuid: str
    parameters: Parameters
    remembered: dict[str, Any] | None
    owners: set[str]

    def make(self, host: Host, *, write_probe: bool = True) -> Storage:
        """Bring the storage to life, if so wished without its write probe."""
        parameters = self.parameters
        if isinstance(parameters, CephParameters) and not write_probe:
            parameters = parameters.model_copy(update={"writeProbe": False})
        return KINDS[parameters.type](self.uuid, parameters, self.remembered, host)


@dataclass
class _Entry:
    storage: Storage
    parameters: Parameters
    remembered: dict[str, Any] | None
    owners: set[str]
    number: int = 0
    cleaning: bool = False


class Served:
    """The storages by uuid; each is connected or cleaned by one caller at a time."""

    def __init__(self, host: Host, journal: Journal, reporter: Reporter) -> None:
        self._host = host
        self._journal = journal
        self._reporter = reporter
        self._entries: dict[str, _Entry] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self) -> None:
        """Take up the storages of the journal and watch them."""
        for row in await self._journal.read(read_rows):
            storage = row.make(self._host)
            self._entries[row.uuid] = _Entry(storage, row.parameters, row.remembered, row.owners)
            await self._reporter.watch(storage)

    @property
    def uuids(self) -> Collection[str]:
        """The uuids of all storages."""
        return self._entries.keys()

    def of(self, enrollment: str) -> Collection[str]:
        """Return the uuids of the storages that this enrolment connected."""
        return [uuid for uuid, entry in self._entries.items() if enrollment in entry.owners]

    def find(self, uuid: str, enrollment: str) -> Storage:
        """Return a storage that this enrolment connected, or that is left without an owner.

        Raises:
            StorageUnknown: there is none.
        """
        self.refuse_strangers(uuid, enrollment)
        if uuid not in self._entries:
            raise StorageUnknown(uuid)
        return self._entries[uuid].storage

    def refuse_strangers(self, uuid: str, enrollment: str) -> None:
        """See that the storage does not belong to other enrolments alone.

        Raises:
            StorageUnknown: it does.
        """
        entry = self._entries.get(uuid)
        if entry and entry.owners and enrollment not in entry.owners:
            raise StorageUnknown(uuid)

    def retain_owners(self, enrollments: Collection[str]) -> None:
        """Let storages be without the owners that are not enrolled any more."""
        for entry in self._entries.values():
            entry.owners.intersection_update(enrollments)

    async def overtake(self, uuid: str, number: int) -> None:
        """Let an operation on the storage overtake those with smaller numbers: they stop at their next step.

        Raises:
            StorageProblem: CommandOutdated, when it is overtaken itself; or the journal is unavailable.
        """
        if number:
            await self._journal.write(lambda connection: numbers.take(connection, uuid, number))
        else:
            await self.check_number(uuid, number)

    async def check_number(self, uuid: str, number: int) -> None:
        """See that no operation on the storage has a greater number.

        Raises:
            StorageProblem: CommandOutdated, when one has; or the journal is unavailable.
        """
        await self._journal.read(lambda connection: numbers.check(connection, uuid, number))

    async def connect(
        self, uuid: str, parameters: Parameters, enrollment: str, number: int = 0
    ) -> ImageStoreReport | CephReport:
        """Verify the storage, serve it from now on, and return its fresh report.

        Raises:
            StorageProblem: it is not well, or a newer operation has overtaken this one; a storage that was not served
                before is not served now either.
        """
        await self.overtake(uuid, number)
        async with self.turn(uuid):
            known = self._entries.get(uuid)
            self._check(uuid, known, parameters)
            # First the intent, so that a crash in between leaves nothing on the storage that nobody knows of.
            await self._journal.write(lambda connection: _insert(connection, uuid, parameters, enrollment, number))
            remembered = known.remembered if known else None
            storage = KINDS[parameters.type](uuid, parameters, remembered, self._host)
            owners = (known.owners if known else set()) | {enrollment}
            entry = _Entry(storage, parameters, remembered, owners, number)
            try:
                place = PLACES[parameters.type](parameters, self._host)
                async with _have(self._turns, place, self._host.deadline):
                    await self._settle(uuid, entry, new=known is None)
            except BaseException:
                if known:
                    known.owners.add(enrollment)
                else:
                    with suppress(StorageProblem):
                        await self._journal.write(lambda connection: forget(connection, uuid))
                await storage.close()
                raise
            await self._reporter.watch(storage)
            if known:
                await known.storage.close()
        await self._reporter.refresh([uuid], self._host.deadline + GRACE)
        if uuid not in self._reporter.watched:  # somebody has begun to clean it meanwhile
            raise _busy(f"backup storage {uuid}")
        return self._reporter.storage_report(uuid)

    def turn(self, uuid: str) -> AbstractAsyncContextManager[None]:
        """Have the storage for oneself.

        Raises:
            StorageProblem: somebody else has it for longer than the deadline.
        """
        return _have(self._turns, f"backup storage {uuid}", self._host.deadline)

    def hold(self, uuid: str) -> None:
        """Refuse connects of the storage from now on: it is being cleaned.

        Raises:
            StorageUnknown: it has been cleaned meanwhile.
        """
        if uuid not in self._entries:
            raise StorageUnknown(uuid)
        self._entries[uuid].cleaning = True

    async def begin_cleaning(self, uuid: str) -> Storage:
        """Stop probing the storage, and return it."""
        await self._reporter.unwatch(uuid)
        return self._entries[uuid].storage

    async def end_cleaning(self, uuid: str) -> None:
        """Serve the storage as before: its cleaning did not come to its end."""
        entry = self._entries[uuid]
        entry.cleaning = False
        await self._reporter.watch(entry.storage)

    async def drop(self, uuid: str) -> None:
        """Let go of a storage that is no longer in the journal."""
        await self._entries.pop(uuid).storage.close()

    def _check(self, uuid: str, known: _Entry | None, parameters: Parameters) -> None:
        if parameters.type not in KINDS:
            raise RequestError(f"this agent does not serve storages of type {parameters.type}")
        if known and known.cleaning:
            raise _busy(f"backup storage {uuid}")
        if known and known.parameters.type != parameters.type:
            raise RequestError(f"backup storage {uuid} is of type {known.parameters.type}")
        if not known and len(self._entries) >= MAX_STORAGES:
            raise TooManyRequests(f"this agent serves {MAX_STORAGES} backup storages, no more are allowed")

    async def _settle(self, uuid: str, entry: _Entry, *, new: bool) -> None:
        """Verify the storage, and serve it; while others wait that may want the same directory or pool."""
        others = [
            other.remembered
            for number, other in self._entries.items()
            if number != uuid and other.remembered and other.parameters.type == entry.parameters.type
        ]
        try:
            entry.remembered = await entry.storage.connect(others)
            await self._journal.write(lambda connection: _update(connection, uuid, entry))
        except BaseException:
            if new:
                with suppress(StorageProblem):  # as far as the storage lets us
                    await entry.storage.undo()
            raise
        self._entries[uuid] = entry


@asynccontextmanager
async def _have(turns: WeakValueDictionary[str, asyncio.Lock], what: str, deadline: float) -> AsyncIterator[None]:
    """Have a storage or a place for oneself.

    Raises:
        StorageProblem: somebody else has it for longer than the deadline.
    """
    lock = turns.setdefault(what, asyncio.Lock())
    try:
        async with asyncio.timeout(deadline):
            await lock.acquire()
    except TimeoutError:
        raise _busy(what) from None
    try:
        yield
    finally:
        lock.release()


def forget(connection: sqlite3.Connection, uuid: str) -> None:
    """Remove the storage from the journal."""
    connection.execute("DELETE FROM storages WHERE uuid = ?", (uuid,))


def _busy(what: str) -> StorageProblem:
    return StorageProblem.of(ReasonCode.STORAGE_BUSY, f"another operation on {what} is under way")


def _insert(connection: sqlite3.Connection, uuid: str, parameters: Parameters, enrollment: str, number: int) -> None:
    numbers.check(connection, uuid, number)
    row = (uuid, parameters.model_dump_json())
    connection.execute("INSERT OR IGNORE INTO storages (uuid, parameters) VALUES (?, ?)", row)
    connection.execute("INSERT OR IGNORE INTO owners (storage, enrollment) VALUES (?, ?)", (uuid, enrollment))


def _update(connection: sqlite3.Connection, uuid: str, entry: _Entry) -> None:
    numbers.check(connection, uuid, entry.number)
    row = (entry.parameters.model_dump_json(), json.dumps(entry.remembered), uuid)
    connection.execute("UPDATE storages SET parameters = ?, remembered = ? WHERE uuid = ?", row)


def read_rows(connection: sqlite3.Connection) -> list[Row]:
    """Return all storages of the journal.

    Raises:
        ValueError: one of them is not as it was written.
    """
    owners: dict[str, set[str]] = {}
    for storage, enrollment in connection.execute("SELECT storage, enrollment FROM owners"):
        owners.setdefault(storage, set()).add(enrollment)
    rows = connection.execute("SELECT uuid, parameters, remembered FROM storages ORDER BY rowid")
    return [
        _row(uuid, parameters, remembered, owners.get(uuid, set())) for uuid, parameters, remembered in rows.fetchall()
    ]


def _row(uuid: str, parameters: str, remembered: str | None, owners: set[str]) -> Row:
    try:
        read = parameters_adapter.validate_json(parameters)
        found = json.loads(remembered) if remembered else None
        memory = None if found in (None, {}) else MEMORIES[read.type].model_validate(found).model_dump()
    except ValidationError as error:
        raise ValueError(f"backup storage {uuid}: {explain(error)}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"backup storage {uuid}: {error}") from error
    return Row(uuid, read, memory, owners)
