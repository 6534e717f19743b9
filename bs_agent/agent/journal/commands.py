"""The commands on disk: one row each, kept until its retention ends, so that asking twice has one effect."""

import sqlite3
import time
from collections.abc import Collection, Iterable

from bs_agent.contract.errors import CommandConflict, StorageProblem, TooManyRequests
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import Command, CommandState, Step

RETENTION = 7 * 86400.0
MAX_OPEN = 32
MAX_KEPT = 10_000


def accept(
    connection: sqlite3.Connection, uuid: str, storage: str, steps: list[Step], *, host_only: bool = False
) -> Command:
    """Keep a new command, or return the one that is stored under its uuid.

    Raises:
        CommandConflict: the uuid was used for another storage, or to clean more or less of it.
        StorageProblem: another command of this storage is open.
        TooManyRequests: there are as many commands as are allowed.
    """
    if stored := find(connection, uuid, storage, host_only=host_only):
        return stored
    if connection.execute("SELECT 1 FROM commands WHERE storage = ? AND finished_at IS NULL", (storage,)).fetchone():
        raise StorageProblem.of(ReasonCode.STORAGE_BUSY, f"a cleanup of backup storage {storage} is under way")
    (open_count, count) = connection.execute("SELECT count(*) - count(finished_at), count(*) FROM commands").fetchone()
    if open_count >= MAX_OPEN or count >= MAX_KEPT:
        raise TooManyRequests(f"{open_count} commands are open and {count} are kept; the oldest are forgotten in time")
    command = Command(
        uuid=uuid,
        storageUuid=storage,
        hostOnly=host_only,
        state=CommandState.ACCEPTED,
        steps=steps,
        createdAt=round(time.time(), 3),
    )
    connection.execute(
        "INSERT INTO commands (uuid, storage, content) VALUES (?, ?, ?)", (uuid, storage, command.model_dump_json())
    )
    return command


def find(
    connection: sqlite3.Connection, uuid: str, storage: str | None = None, *, host_only: bool | None = None
) -> Command | None:
    """Return the command, or None.

    Raises:
        CommandConflict: it is not what was asked: about another storage, or to clean more or less of it.
    """
    row = connection.execute("SELECT content FROM commands WHERE uuid = ?", (uuid,)).fetchone()
    if row is None:
        return None
    command = Command.model_validate_json(row[0])
    if storage not in (None, command.storageUuid) or host_only not in (None, command.hostOnly):
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


def purge(connection: sqlite3.Connection, now: float, recent: Collection[str] = ()) -> None:
    """Forget the commands that finished longer ago than their retention, but for those known to be `recent`."""
    old = connection.execute("SELECT uuid FROM commands WHERE finished_at < ?", (now - RETENTION,)).fetchall()
    connection.executemany("DELETE FROM commands WHERE uuid = ?", [row for row in old if row[0] not in recent])


def count_by_state(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the kept commands by state."""
    return dict(connection.execute("SELECT json_extract(content, '$.state'), count(*) FROM commands GROUP BY 1"))
