"""Storages that are just arriving: what a node on SQLite wrote of them, and nodes and agents that die meanwhile."""

import signal
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import StorageReport
from bs_agent.management.hosts.agent_client import Agents
from tests.beds.agent import AgentProcess
from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess


def owed(folder: Path) -> list[str]:
    """Return the uuids of the storages that a node on SQLite owes to be cleaned."""
    with closing(sqlite3.connect(folder / "management.db")) as database:
        return [uuid for (uuid,) in database.execute("SELECT backupStorageUuid FROM debt") if uuid]


@contextmanager
def dying_with_its_answer(agent: AgentProcess) -> Iterator[None]:
    """Let an agent carry out what a connect command says, and be killed before its answer is heard."""
    connect = Agents.connect

    async def connect_and_die(self: Agents, *words: Any) -> StorageReport:
        report = await connect(self, *words)
        agent.kill()
        raise StorageProblem.of(ReasonCode.AGENT_TIMEOUT, f"the answer is lost: {report.uuid}")

    with mock.patch.object(Agents, "connect", connect_and_die):
        yield


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
            expected = set(database.execute("SELECT backupStorageUuid FROM debt"))
        with closing(sqlite3.connect(on.state / "agent.db")) as journal:
            return not expected.isdisjoint(journal.execute("SELECT uuid FROM storages"))

    await until(has_arrived)
    node.signal(signal.SIGSTOP)  # the agent goes on
    await until(is_there)
    node.signal(signal.SIGKILL)
    node.stop()
