"""A host that has moved is reached at its new address, and nowhere else."""

from dataclasses import replace

import pytest

from bs_agent.management.store.database import Database
from bs_agent.management.store.upkeep import rename_host
from tests.beds.stores import LONG, agent, storage, stores

pytestmark = pytest.mark.asyncio


async def test_a_host_that_moved_is_not_looked_for_where_it_was(database: Database) -> None:
    at, beside = agent("old"), agent("beside")
    async with stores(database, LONG) as one:
        await one.put(storage(), [at])
        await one.meet(beside, replace(at, port=7000), replace(at, hostname="second"), at)
        assert await rename_host(database, "old", "new") == (1, 1)
        assert (await one.agents.find([at.uuid]))[at.uuid] == replace(at, hostname="new")
        assert await one.agents.places(at.uuid) == [("new", 7000), ("new", 7765), ("second", 7765)]
        assert await one.agents.places(beside.uuid) == [("beside", 7765)]
        assert await rename_host(database, "new", "second") == (1, 1), "that is itself"
        assert await one.agents.places(at.uuid) == [("second", 7000), ("second", 7765)]


async def test_a_host_does_not_move_to_where_another_one_is_reached(database: Database) -> None:
    at, another = agent("old"), agent("taken")
    async with stores(database, LONG) as one:
        await one.meet(at, another, replace(another, hostname="elsewhere"))
        for taken in ("taken", "elsewhere"):
            assert await rename_host(database, "old", taken) == (0, 0)
        assert await rename_host(database, "nobody", "new") == (0, 0)
        assert await one.agents.places(at.uuid) == [("old", 7765)]
