"""The greatest number of an operation that was seen for each storage: what is older has no effect any more.

A number outlives its storage: a connect that was sent before the cleanup and arrives after it brings nothing back.
"""

import sqlite3

from bs_agent.contract.errors import CommandOutdated, StorageProblem
from bs_agent.contract.reasons import ReasonCode

MAX_GONE = 10_000
"""Of how many storages that are not served any more the numbers are kept, those that were used last."""


_FORGET_THE_OLDEST = """
    DELETE FROM numbers WHERE place IN (
        SELECT place FROM numbers WHERE storage NOT IN (SELECT uuid FROM storages) ORDER BY place DESC LIMIT -1 OFFSET ?
    )
"""


def check(connection: sqlite3.Connection, storage: str, number: int) -> int:
    """See that no newer operation on the storage is known; return the number of the newest that is, or 0.

    Raises:
        CommandOutdated: there is a newer one.
        StorageProblem: what is kept is no number.
    """
    row = connection.execute("SELECT number FROM numbers WHERE storage = ?", (storage,)).fetchone()
    seen = row[0] if row else 0
    if not isinstance(seen, int):
        details = f"the number of backup storage {storage} in the journal is not as it was written"
        raise StorageProblem.of(ReasonCode.JOURNAL_UNAVAILABLE, details)
    if number < seen:
        raise CommandOutdated(storage, number, seen)
    return seen


def take(connection: sqlite3.Connection, storage: str, number: int) -> None:
    """Keep the number, so that whatever is older is refused from now on.

    Raises:
        CommandOutdated: this one is older itself.
    """
    seen = check(connection, storage, number)
    if number == seen:
        return
    # A row that is replaced moves to the end: in their order the rows are forgotten.
    connection.execute("INSERT OR REPLACE INTO numbers (storage, number) VALUES (?, ?)", (storage, number))
    if not seen:
        connection.execute(_FORGET_THE_OLDEST, (MAX_GONE,))
