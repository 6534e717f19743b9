"""The metrics of an agent whose journal hangs: whoever scrapes sees that, instead of nothing."""

import threading
from sqlite3 import Connection

import pytest

from bs_agent.agent import app
from bs_agent.agent import metrics as module
from tests.beds.agent import AgentClient

pytestmark = pytest.mark.asyncio


async def test_a_journal_that_hangs_is_shown_in_time(
    agent: app.Agent, client: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(_connection: Connection) -> dict[str, int]:
        released.wait(60)
        return {}

    assert b"\nbs_agent_journal_available 1.0\n" in (await client.ask("GET", "/metrics")).body
    with monkeypatch.context() as patch:
        patch.setattr(module, "JOURNAL_DEADLINE", 0.1)
        patch.setattr("bs_agent.agent.journal.commands.count_by_state", hang)
        try:
            answer = await client.ask("GET", "/metrics")
        finally:
            released.set()
    assert answer.status == 200
    assert b"\nbs_agent_journal_available 0.0\n" in answer.body
    assert b"bs_agent_commands{" not in answer.body, "how many there are is not known"
    assert b"\nbs_agent_journal_available 1.0\n" in (await client.ask("GET", "/metrics")).body
