"""The agents that a node watches: none is shown as known when nobody has watched it, however the node came by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bs_agent.daemon import descriptors
from bs_agent.management.config import PollSettings
from bs_agent.management.polling import watches
from bs_agent.management.polling.watches import Watch, Watches
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.watched import claim
from tests.beds.stores import LONG, Stores, agent, nodes, shift_clock, stores

HOUR = 3600


@pytest.mark.parametrize(
    ("files", "kept"), [(65_536, 57_344), (20_000, 11_808), (16_384, 8192), (4096, 2048), (1024, 512)]
)
def test_connections_to_agents_leave_files_to_all_else(files: int, kept: int) -> None:
    assert watches.room(files) == kept
    assert watches.room(watches.files_for(kept)) == kept
    assert watches.room(watches.files_for(kept) - 2) < kept


def test_the_unit_may_open_what_a_large_site_needs() -> None:
    unit = (Path(__file__).parents[3] / "systemd/bs-management.service").read_text()
    (files,) = [int(line.split("=")[1]) for line in unit.splitlines() if line.startswith("LimitNOFILE=")]
    assert watches.room(files) >= 50_000


@pytest.mark.asyncio
async def test_connections_are_kept_to_all_agents_or_it_is_said(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with silent(database, tmp_path) as (_, seen, _uuids):
        monkeypatch.setattr(descriptors, "limit", lambda: 2)
        await seen.watches.sweep()
        assert sorted(watch.target.keep for watch in seen.watches) == [False, True]
        said = (
            "connections are kept to 1 of 2 agents only, to others each poll makes a new one: this process may open 2 "
        )
        assert [said in record.getMessage() for record in caplog.records] == [True]
        seen.watches.drop_all()
        monkeypatch.setattr(descriptors, "limit", lambda: 4)
        await seen.watches.sweep()
        assert [watch.target.keep for watch in seen.watches] == [True, True]
        assert len(caplog.records) == 1


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


@pytest.mark.asyncio
async def test_a_node_that_starts_knows_what_nobody_has_watched(database: Database, tmp_path: Path) -> None:
    async with silent(database, tmp_path) as (_, seen, uuids):
        await seen.watches.sweep()
        assert seen.unwatched.keys() == set(uuids)


@pytest.mark.asyncio
async def test_agents_that_come_with_another_are_told_of_too(database: Database, tmp_path: Path) -> None:
    async with silent(database, tmp_path) as (_, seen, uuids):
        await seen.watches.refresh(uuids[:1])
        await seen.watches.sweep()
        assert seen.unwatched.keys() == set(uuids)
        assert min(seen.unwatched.values()) > HOUR - 60
        seen.unwatched.clear()
        await seen.watches.sweep()
        assert seen.unwatched == {}


@pytest.mark.asyncio
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


@pytest.mark.asyncio
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
