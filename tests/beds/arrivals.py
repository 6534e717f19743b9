"""What a management node on SQLite has written of storages that are just arriving, and how it is killed meanwhile."""

import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from tests.beds.agent import AgentProcess
from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess


def owed(folder: Path) -> list[float]:
    """Return in how many seconds each of the cleanups that the node owes is due."""
    with closing(sqlite3.connect(folder / "management.db")) as database:
        return [date - time.time() for (date,) in database.execute("SELECT dueDate FROM tombstone")]


def let_fall_due(folder: Path) -> None:
    """Let the time pass until all is due."""
    with closing(sqlite3.connect(folder / "management.db")) as database, database:
        database.execute("UPDATE tombstone SET dueDate = 1")


async def kill_during_add(
    node: NodeProcess,
    client: NodeClient,
    path: str,
    body: object,
    *,
    on: AgentProcess,
    is_there: Callable[[], Awaitable[bool]],
) -> None:
    """Add a storage, and kill the node when the storage is on its hosts, but not in the database.

    The node is stopped when the command has arrived `on` an agent, and killed when that has carried it out.
    """
    headers = {"X-Job-UUID": "7" * 32, "Authorization": f"OAuth {client.session}"}
    async with client.http.post(client.url + path, json=body, headers=headers) as answer:
        assert answer.status == 202, await answer.text()

    async def has_arrived() -> bool:
        with closing(sqlite3.connect(node.folder / "management.db")) as database:
            expected = set(database.execute("SELECT backupStorageUuid FROM tombstone"))
        with closing(sqlite3.connect(on.state / "agent.db")) as journal:
            return not expected.isdisjoint(journal.execute("SELECT uuid FROM storages"))

    await until(has_arrived)
    node.signal(signal.SIGSTOP)  # the agent goes on
    await until(is_there)
    node.signal(signal.SIGKILL)
    node.stop()
