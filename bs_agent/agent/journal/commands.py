"""The commands on disk: one row each, kept until many more have come, so that asking twice has one effect."""

import sqlite3
import time
from collections.abc import Iterable

from pydantic import ValidationError

from bs_agent.agent.journal import numbers
from bs_agent.contract.errors import CommandConflict, StorageProblem, TooManyRequests, explain
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import Command, CommandState, Step

MAX_OPEN = 32
MAX_FINISHED = 10_000
"""How many commands are kept once they have come to their end; the oldest are forgotten first."""

_FORGET_THE_OLDEST = """
    DELETE FROM commands WHERE rowid IN (
        SELECT rowid FROM commands WHERE finished_at IS NOT NULL ORDER BY rowid DESC LIMIT -1 OFFSET ?
    )
"""


def accept(
    connection: sqlite3.Connection,
    uuid: str,
    storage: str,
    steps: list[Step],
    *,
    host_only: bool = False,
    number: int = 0,
) -> Command:
    """Keep a new command, or return the one that is stored under its uuid.

    Raises:
        CommandConflict: the uuid was used for another storage, or to clean more or less of it.
        CommandOutdated: a newer operation on the storage is known.
        StorageProblem: another command of this storage is open.
        TooManyRequests: there are as many open commands as are allowed.
    """
    if stored := find(connection, uuid, storage, host_only=host_only):
        return stored
    numbers.check(connection, storage, number)
    if connection.execute("SELECT 1 FROM commands WHERE storage = ? AND finished_at IS NULL", (storage,)).fetchone():
        raise StorageProblem.of(ReasonCode.STORAGE_BUSY, f"a cleanup of backup storage {storage} is under way")
    (open_count,) = connection.execute("SELECT count(*) FROM commands WHERE finished_at IS NULL").fetchone()
    if open_count >= MAX_OPEN:
        raise TooManyRequests(f"{open_count} commands are open, no more are allowed")
    connection.execute(_FORGET_THE_OLDEST, (MAX_FINISHED,))
    command = Command(
        uuid=uuid,
        storageUuid=storage,
        number=number,
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
        StorageProblem: it is not as it was written.
    """
    row = connection.execute("SELECT content FROM commands WHERE uuid = ?", (uuid,)).fetchone()
    if row is None:
        return None
    command = _read(uuid, row[0])
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
    """Return the commands that are not final, the oldest first.

    Raises:
        StorageProblem: one of them is not as it was written.
    """
    rows = connection.execute("SELECT uuid, content FROM commands WHERE finished_at IS NULL ORDER BY rowid")
    return [_read(uuid, content) for uuid, content in rows]


def count_by_state(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the kept commands by state."""
    return dict(connection.execute("SELECT json_extract(content, '$.state'), count(*) FROM commands GROUP BY 1"))


def _read(uuid: object, content: object) -> Command:
    try:
        return Command.model_validate_json(content if isinstance(content, str | bytes) else "")
    except ValidationError as error:
        details = f"command {uuid} in the journal is not as it was written: {explain(error)}"
        raise StorageProblem.of(ReasonCode.JOURNAL_UNAVAILABLE, details) from None
