"""The file agent.db: its schema, how it is made, and what is refused instead of being taken for an empty one."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

APPLICATION_ID = 0x62734167  # "bsAg"
BUSY_TIMEOUT = 5.0
COPY_TRIES = 5

# Each entry brings the schema one version further; `user_version` says how many are done.
MIGRATIONS = [
    """
    CREATE TABLE enrollments (
        id TEXT PRIMARY KEY, label TEXT NOT NULL, token_hash BLOB NOT NULL UNIQUE, created_at REAL NOT NULL,
        report_to TEXT,  -- where reports are pushed to, as JSON
        told TEXT        -- the next fingerprint that its management node has stored
    );
    CREATE TABLE storages (uuid TEXT PRIMARY KEY, parameters TEXT NOT NULL, remembered TEXT);
    CREATE TABLE owners (
        storage TEXT NOT NULL REFERENCES storages (uuid) ON DELETE CASCADE,
        enrollment TEXT NOT NULL REFERENCES enrollments (id) ON DELETE CASCADE,
        PRIMARY KEY (storage, enrollment)
    );
    CREATE TABLE commands (
        uuid TEXT PRIMARY KEY, storage TEXT NOT NULL, finished_at REAL, content TEXT NOT NULL
    );
    CREATE INDEX open_commands ON commands (storage) WHERE finished_at IS NULL;
    CREATE INDEX finished_commands ON commands (finished_at);
    CREATE TABLE numbers (place INTEGER PRIMARY KEY, storage TEXT NOT NULL UNIQUE, number INTEGER NOT NULL);
    CREATE TABLE checks (id INTEGER PRIMARY KEY CHECK (id = 1), checked_at REAL NOT NULL);
    """,
]


class DatabaseRefusedError(Exception):
    """The file is there but is not a journal that this version can use; it is left as it is."""


def create(path: Path) -> None:
    """Make the database whole under another name and put it in place; a file that exists is left alone.

    Raises:
        DatabaseRefusedError: the file is missing, but its write-ahead log is there.
    """
    if path.exists():
        return
    log = _log_of(path)
    if log.exists():
        raise DatabaseRefusedError(f"{path} is missing but {log} is there: restore both, or remove both to start anew")
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=0o600)
    connection = sqlite3.connect(beside, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _migrate(connection)
    finally:
        connection.close()
    beside.rename(path)
    _sync_directory(path.parent)


def connect(path: Path) -> sqlite3.Connection:
    """Open the existing database.

    Raises:
        DatabaseRefusedError: it is of another program, of a newer version, or no database at all.
        sqlite3.Error: it cannot be read or written now.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
    )
    try:
        _check_owner(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def looked_at(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the existing database to read it as it is: nothing is written, not even beside it, and nothing migrated.

    Raises:
        DatabaseRefusedError: it is of another program, of a newer version, or no database at all.
        sqlite3.Error: it cannot be read now.
        OSError: the same.
    """
    with TemporaryDirectory(prefix="bs-agent-") as folder:
        # A reader too makes files beside a database that nobody has open, and changes those that a kill has left.
        log = _log_of(path)
        shown = _copied(path, Path(folder)) if log.exists() and log.stat().st_size else path
        uri = f"{shown.absolute().as_uri()}?mode=ro" + "&immutable=1" * (shown is path)
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            _check_owner(connection, path)
            yield connection
        finally:
            connection.close()


def _copied(path: Path, folder: Path) -> Path:
    """Copy the database with its write-ahead log; again, when somebody has written to it meanwhile."""
    log, copy = _log_of(path), folder / path.name
    for _ in range(COPY_TRIES):
        before = _marks(path, log)
        shutil.copyfile(path, copy)
        with suppress(FileNotFoundError):
            shutil.copyfile(log, _log_of(copy))
        if _marks(path, log) == before:
            break
    return copy


def _marks(*files: Path) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for file in files:
        try:
            seen = file.stat()
            found.append((seen.st_size, seen.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return found


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Read the whole file once.

    Raises:
        DatabaseRefusedError: it is damaged.
    """
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        raise DatabaseRefusedError(f"{path} is damaged ({'; '.join(found)[:200]}): {_CURE}")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Commit what happens inside, or nothing of it."""
    connection.execute(begin)
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a failing disk has rolled it back already
            connection.execute("ROLLBACK")
        raise


_CURE = "restore it from a copy, or move it away to start anew (then every management node has to enrol again)"


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise DatabaseRefusedError(f"{path} is damaged ({error}): {_CURE}") from error
        raise
    if application != APPLICATION_ID:
        raise DatabaseRefusedError(f"{path} is not a journal of bs-agent: {_CURE}")
    if version > len(MIGRATIONS):
        raise DatabaseRefusedError(
            f"{path} was written by a newer bs-agent (schema {version}, this one knows {len(MIGRATIONS)}):"
            " install that version again, or restore a copy of the time before"
        )


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == len(MIGRATIONS):
        return
    with transaction(connection):
        # Another process may have migrated while this one waited for the lock.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for script in MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
