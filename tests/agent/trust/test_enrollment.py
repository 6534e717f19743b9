"""Whose tokens hold: also while the journal cannot be read."""

from collections.abc import Callable
from contextlib import closing

import pytest

from bs_agent.agent import app
from bs_agent.agent.journal import database
from bs_agent.agent.journal.journal import Journal, unavailable
from bs_agent.daemon.configuration import ConfigError
from tests.agent.asking import refusal
from tests.agent.conftest import enrolled

pytestmark = pytest.mark.asyncio


async def test_a_token_that_may_have_been_taken_away_is_not_honoured(
    agent: app.Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent is told that tokens were taken away when it cannot read which."""

    async def fail(_: Journal, __: Callable[..., object]) -> None:
        raise unavailable("no disk")

    async with enrolled(agent, "removed") as removed, enrolled(agent, "kept") as kept:
        for client in (removed, kept):
            assert (await client.ask("GET", "/v1/report")).status == 200
        with closing(database.connect(agent.kept.database)) as journal:
            journal.execute("DELETE FROM enrollments WHERE label = 'removed'")
        with monkeypatch.context() as broken:
            broken.setattr(Journal, "read", fail)
            with pytest.raises(ConfigError, match="no disk"):
                await app.take_up(agent)
            for client in (removed, kept):
                answer = await client.ask("GET", "/v1/report")
                assert (answer.status, refusal(answer)) == (503, "BS.JournalUnavailable")
        assert (await removed.ask("GET", "/v1/report")).status == 401
        assert (await kept.ask("GET", "/v1/report")).status == 200
