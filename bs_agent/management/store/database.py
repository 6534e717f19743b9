"""The database: SQLite in WAL by default, or PostgreSQL. Short transactions; one writer at a time on SQLite."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Float, cast, event, func, literal, select
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bs_agent.contract.errors import InternalError
from bs_agent.management.store.wakes import Wakes

_BUSY_SECONDS = 10
_LONGEST_COMMAND = 30
"""Seconds in which a statement is answered, or the database is taken for away."""
_LONGEST_PAUSE = 10
"""Seconds for which a transaction may stand still: a node that was stopped in one gives its locks back."""
_AWAY = ("08", "25P03", "40", "53", "55", "57", "58")
"""Where an SQLSTATE begins so: connection, a transaction that stood still, some that get into each other's way,
resources, locks, an operator's intervention, system (PostgreSQL's appendix A)."""


_READ_ONLY = "25006"
"""The SQLSTATE of a server that takes no writes any more: another one does."""
_GIVEN_UP = ("40001", "40P01")
"""Those of a transaction that the database gave up because of another one: it may be done again as it was."""
_COME_BACK = 5


class DatabaseUnavailable(InternalError):
    """The database cannot be reached, or is locked by another process for too long."""

    retry_after = _COME_BACK


class TransactionGivenUp(DatabaseUnavailable):
    """The database has given up a transaction, of which nothing was done: the same would go now."""


class Database:
    """Hands out connections for reading and for writing. `clock` is the one of SQLite: this machine's own."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self.engine = engine
        self.name = name  # where it is, without its password
        self.clock: Callable[[], float] = time.time
        self.wakes = Wakes(engine)
        self._topics: dict[int, list[str]] = {}
        self._writer = asyncio.Lock()

    @classmethod
    def connect(cls, url: str) -> "Database":
        """Return the database at `url` (`sqlite:///...` or `postgresql://...`); nothing is opened yet.

        Raises:
            OSError: the file of a new SQLite database cannot be made.
        """
        if not url.startswith("postgresql://"):
            parsed = make_url(url)
            if parsed.database:
                _make_private(Path(parsed.database))
            engine = create_async_engine(
                parsed.set(drivername="sqlite+aiosqlite"),
                connect_args={"timeout": _BUSY_SECONDS},
                pool_size=4,
                hide_parameters=True,  # a statement that is logged must not show passwords
            )
            event.listen(engine.sync_engine, "connect", _set_up_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
            return cls(engine, url)
        from bs_agent.management.store.servers import Servers, check, without_password  # noqa: PLC0415  brings the driver

        paused = {"idle_in_transaction_session_timeout": f"{_LONGEST_PAUSE}s"}
        servers = Servers(url, _BUSY_SECONDS, command_timeout=_LONGEST_COMMAND, server_settings=paused)
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=servers.connect,
            pool_size=8,
            pool_timeout=_BUSY_SECONDS,
            hide_parameters=True,
        )
        event.listen(engine.sync_engine, "checkout", check)
        event.listen(engine.sync_engine, "handle_error", _leave_if_read_only)
        return cls(engine, without_password(url))

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite: one process, one writer."""
        return self.engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that reads."""
        with _translated():
            async with self.engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes; it is committed at the end, or rolled back by an exception."""
        with _translated():
            async with self._writing() as connection:
                topics = self._topics[id(connection)] = []
                try:
                    yield connection
                finally:
                    del self._topics[id(connection)]
        for topic in topics:
            self.wakes.fire(topic)

    async def wake(self, connection: AsyncConnection, topic: str) -> None:
        """Wake whoever waits for a topic, on every node, once this writing transaction is committed."""
        self._topics[id(connection)].append(topic)
        await self.wakes.call(connection, topic)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        if not self.is_sqlite:
            async with self.engine.begin() as connection:
                yield connection
            return
        # A transaction that begins by reading cannot become a writer while another one writes: take the lock first.
        async with self._writer, self.engine.connect() as plain:
            connection = await plain.execution_options(writes=True)
            async with connection.begin():
                yield connection

    async def now(self, connection: AsyncConnection) -> float:
        """Return the database's clock in Unix seconds; all dates that nodes compare are by it."""
        if self.is_sqlite:
            return self.clock()
        return (await connection.execute(select(self.moment()))).scalar_one()

    def moment(self) -> ColumnElement[float]:
        """Return the same clock as part of a statement, for one that shall cost no second way to the database."""
        return literal(self.clock()) if self.is_sqlite else cast(func.extract("epoch", func.clock_timestamp()), Float)

    async def ping(self) -> None:
        """Ask the database for anything."""
        async with self.reading() as connection:
            await connection.execute(select(1))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if _is_given_up(error):
            raise TransactionGivenUp(f"the database has given up the transaction: {error.orig}") from error
        if not _is_away(error):
            raise
        raise DatabaseUnavailable(f"the database does not answer: {error.orig}") from error
    except (PoolTimeout, OSError) as error:
        raise DatabaseUnavailable(f"the database does not answer: {str(error) or 'no answer in time'}") from error


def _is_away(error: DBAPIError) -> bool:
    """Tell an absent database from a wrong statement: a PostgreSQL that starts or stops gives a plain DBAPIError."""
    lost = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return lost or _state(error).startswith(_AWAY)


def _is_given_up(error: DBAPIError) -> bool:
    """Tell whether a transaction may be done again: of others, or of a change of the tables, it was in the way."""
    outdated = type(error.orig).__name__ == "InvalidCachedStatementError"  # a table is not as it was when prepared for
    return outdated or _state(error) in _GIVEN_UP


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _leave_if_read_only(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _make_private(file: Path) -> None:
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 RUF100  a DBAPI connection has no type
    connection.isolation_level = None  # `_begin_sqlite` begins transactions, not the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:  # noqa: ANN401 RUF100  sync side of an async connection
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
