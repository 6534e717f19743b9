"""The commands on disk: one row each, kept until its retention ends, so that asking twice has one effect."""

import sqlite3
import time
from collections.abc import Iterable

from bs_agent.contract.errors import CommandConflict, StorageProblem, TooManyRequests
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import Command, CommandState, Step

RETENTION = 7 * 86400.0
MAX_OPEN = 32
MAX_KEPT = 10_000


def accept(connection: sqlite3.Connection, uuid: str, storage: str, steps: list[Step]) -> Command:
    """Keep a new command, or return the one that is stored under its uuid.

    Raises:
        CommandConflict: the uuid was used for another storage.
        StorageProblem: another command of this storage is open.
        TooManyRequests: there are as many commands as are allowed.
    """
    if stored := find(connection, uuid, storage):
        return stored
    if connection.execute("SELECT 1 FROM commands WHERE storage = ? AND finished_at IS NULL", (storage,)).fetchone():
        raise StorageProblem.of(ReasonCode.STORAGE_BUSY, f"a cleanup of backup storage {storage} is under way")
    (open_count, count) = connection.execute("SELECT count(*) - count(finished_at), count(*) FROM commands").fetchone()
    if open_count >= MAX_OPEN or count >= MAX_KEPT:
        raise TooManyRequests(f"{open_count} commands are open and {count} are kept; the oldest are forgotten in time")
    command = Command(
        uuid=uuid, storageUuid=storage, state=CommandState.ACCEPTED, steps=steps, createdAt=round(time.time(), 3)
    )
    connection.execute(
        "INSERT INTO commands (uuid, storage, content) VALUES (?, ?, ?)", (uuid, storage, command.model_dump_json())
    )
    return command


def find(connection: sqlite3.Connection, uuid: str, storage: str | None = None) -> Command | None:
    """Return the command, or None.

    Raises:
        CommandConflict: it is about another storage than this one.
    """
    row = connection.execute("SELECT content FROM commands WHERE uuid = ?", (uuid,)).fetchone()
    if row is None:
        return None
    command = Command.model_validate_json(row[0])
    if storage not in (None, command.storageUuid):
        raise CommandConflict(uuid)
    return command


def save(connection: sqlite3.Connection, command: Command) -> None:
    """Keep how far the command is."""
    connection.execute(
        "UPDATE commands SET content = ?, finished_at = ? WHERE uuid = ?",
        (command.model_dump_json(), command.finishedAt, command.uuid),
    )


def withdraw(connection: sqlite3.Connection, uuids: Iterable[str]) -> None:
    """Remove commands that were never begun."""
    connection.executemany("DELETE FROM commands WHERE uuid = ? AND finished_at IS NULL", ((uuid,) for uuid in uuids))


def unfinished(connection: sqlite3.Connection) -> list[Command]:
    """Return the commands that are not final, the oldest first."""
    rows = connection.execute("SELECT content FROM commands WHERE finished_at IS NULL ORDER BY rowid")
    return [Command.model_validate_json(content) for (content,) in rows]


def purge(connection: sqlite3.Connection, now: float) -> None:
    """Forget the commands that finished longer ago than their retention."""
    connection.execute("DELETE FROM commands WHERE finished_at < ?", (now - RETENTION,))


def count_by_state(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the kept commands by state."""
    return dict(connection.execute("SELECT json_extract(content, '$.state'), count(*) FROM commands GROUP BY 1"))
