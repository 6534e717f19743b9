"""The agents that a node watches: none is shown as known when nobody has watched it, however the node came by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bs_agent.management.config import PollSettings
from bs_agent.management.polling.watches import Watch, Watches
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.watched import claim
from tests.beds.stores import LONG, Stores, agent, nodes, shift_clock, stores

pytestmark = pytest.mark.asyncio

HOUR = 3600


class Seen:
    """What is told of the watches of one node."""

    def __init__(self, of: Stores, folder: Path) -> None:
        self.keyring = Keyring.open(folder)
        self.watches = Watches(of.database, self.keyring, PollSettings(), of.node)
        self.unwatched: dict[str, float] = {}
        self.watches.added = self.watches.look = lambda _: None
        self.watches.unwatched = self._unwatched

    def _unwatched(self, watch: Watch, seconds: float) -> None:
        self.unwatched[watch.uuid] = seconds


@asynccontextmanager
async def silent(database: Database, folder: Path) -> AsyncIterator[tuple[Stores, Seen, list[str]]]:
    """Be a node that starts an hour after the one before has fallen silent, with two agents."""
    token = Keyring.open(folder).encrypt("token")
    agents = [replace(agent(), tokenSecret=token) for _ in range(2)]
    async with nodes(database, 1) as (before,):
        await before.meet(*agents)
        await claim(database, before.node.uuid)
        await before.lives(0)
        shift_clock(database, HOUR)
        async with stores(database, LONG) as now:
            yield now, Seen(now, folder), [one.uuid for one in agents]


async def test_a_node_that_starts_knows_what_nobody_has_watched(database: Database, tmp_path: Path) -> None:
    async with silent(database, tmp_path) as (_, seen, uuids):
        await seen.watches.sweep()
        assert seen.unwatched.keys() == set(uuids)


async def test_agents_that_come_with_another_are_told_of_too(database: Database, tmp_path: Path) -> None:
    async with silent(database, tmp_path) as (_, seen, uuids):
        await seen.watches.refresh(uuids[:1])
        await seen.watches.sweep()
        assert seen.unwatched.keys() == set(uuids)
        assert min(seen.unwatched.values()) > HOUR - 60
        seen.unwatched.clear()
        await seen.watches.sweep()
        assert seen.unwatched == {}


async def test_agents_are_told_of_though_the_database_went_away_in_between(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    async with silent(database, tmp_path) as (_, seen, uuids):
        with monkeypatch.context() as patch:
            patch.setattr(seen.watches, "_follow", lambda *_, **__: away())
            with pytest.raises(DatabaseUnavailable):
                await seen.watches.sweep()
        await seen.watches.sweep()
        assert seen.unwatched.keys() == set(uuids)


async def test_a_node_that_lives_again_tells_of_what_it_could_not_watch(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with silent(database, tmp_path) as (now, seen, uuids):
        await seen.watches.sweep()
        seen.unwatched.clear()
        clock = asyncio.get_running_loop().time()
        seen.watches.drop_all()  # the lease was lost, and nobody else took it
        assert len(seen.watches) == 0
        await now.lives()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock + HOUR)
        await seen.watches.sweep()
        monkeypatch.undo()
        assert seen.unwatched.keys() == set(uuids)
        assert min(seen.unwatched.values()) > HOUR - 60
        seen.unwatched.clear()
        await seen.watches.sweep()
        assert seen.unwatched == {}
