"""Capacities are kept a minute, an hour and a day: what was, what was lost, what goes; and the call that shows it."""

import time
from typing import Any

import pytest
from sqlalchemy import func, select

from bs_agent.contract.errors import ResourceNotFound
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.management.model.capacity import Measured
from bs_agent.management.model.health import Health
from bs_agent.management.model.history import DAY, HOUR, MINUTE, Point
from bs_agent.management.store.changes import CapacityChange, HostChange, apply
from bs_agent.management.store.database import Database
from bs_agent.management.store.history import prune_history, read_history
from bs_agent.management.store.operations import storage_key
from bs_agent.management.store.past_tables import capacity_history
from tests.beds.stores import LONG, Stores, agent, set_clock, storage, stores

pytestmark = pytest.mark.asyncio

NOW = 1_700_000_000 - 1_700_000_000 % DAY + 12 * HOUR
WELL = Health("Connected", None, fresh=True)
AWAY = Health("Disconnected", Reason(code=ReasonCode.AGENT_UNREACHABLE, details="no route"))


class Watched:
    """A storage whose host says what a test wants, when it wants."""

    def __init__(self, on: Stores) -> None:
        self.on = on
        self.uuid = self.mon = ""

    async def put(self, date: int) -> None:
        new = storage()
        await self.at(date)
        (host,) = await self.on.put(new, [agent()], {"totalCapacity": 10, "availableCapacity": 9}, capacityFresh=True)
        self.uuid, self.mon = new.uuid, host.monUuid

    async def at(self, date: int) -> None:
        set_clock(self.on.database, date + 0.5)  # what is said takes a moment
        await self.on.lives()

    async def says(self, date: int, available: int) -> None:
        await self.at(date)
        said = Measured({"totalCapacity": 10, "availableCapacity": available}, "capacityDate", 0.0, fresh=True)
        change = CapacityChange(self.mon, self.uuid, [said], time.monotonic())
        await apply(self.on.database, self.on.fence, [change])

    async def is_(self, date: int, health: Health) -> None:
        await self.at(date)
        await apply(self.on.database, self.on.fence, [HostChange(self.mon, self.uuid, health)])

    async def shown(self, period: str) -> dict[int, int]:
        """Return what was available, by the slot before the present one."""
        async with self.on.database.reading() as connection:
            now = int(await self.on.database.now(connection))
        resolution, points, _ = await read_history(self.on.database, self.uuid, period)
        return {(point.slot - now // resolution * resolution) // resolution: point.available for point in points}


async def rows(database: Database) -> dict[int, int]:
    """Return how many rows there are, by resolution."""
    count = select(capacity_history.c.resolution, func.count()).group_by(capacity_history.c.resolution)
    async with database.reading() as connection:
        return {row.resolution: row[1] for row in await connection.execute(count)}


async def test_a_minute_has_its_last_value_and_an_hour_its_least(database: Database) -> None:
    async with stores(database, LONG) as one:
        watched = Watched(one)
        await watched.put(NOW)
        for date, available in ((NOW + 10, 3), (NOW + 50, 7), (NOW + 5 * MINUTE, 6)):
            await watched.says(date, available)
        assert await watched.shown("hour") == {-5: 7, -4: 7, -3: 7, -2: 7, -1: 7, 0: 6}, "unchanged it holds"
        assert await watched.shown("month") == await watched.shown("years") == {0: 3}
        assert await rows(database) == {MINUTE: 2, HOUR: 1, DAY: 1}
        with pytest.raises(ResourceNotFound):
            await read_history(database, "0" * 32, "day")


async def test_what_is_lost_is_a_gap_and_what_comes_back_as_it_was_is_none(database: Database) -> None:
    async with stores(database, LONG) as one:
        watched = Watched(one)
        await watched.put(NOW)
        await watched.is_(NOW + 2 * MINUTE + 10, AWAY)
        await watched.at(NOW + 5 * MINUTE)
        assert await watched.shown("hour") == {-5: 9, -4: 9, -3: 9}
        await watched.is_(NOW + 6 * MINUTE, WELL)
        await watched.at(NOW + 8 * MINUTE)
        assert await watched.shown("hour") == {-8: 9, -7: 9, -6: 9, -2: 9, -1: 9, 0: 9}
        before = await rows(database)
        await watched.is_(NOW + 9 * MINUTE, WELL)
        assert await rows(database) == before, "what is no change costs nothing"


async def test_rows_have_an_end_and_go_with_their_storage(database: Database) -> None:
    async with stores(database, LONG) as one:
        watched = Watched(one)
        await watched.put(NOW)
        for days in (1, 40, 800):
            await watched.says(NOW + days * DAY, 5)
        await prune_history(database)
        assert await rows(database) == {MINUTE: 1, HOUR: 1, DAY: 1}
        set_clock(database, NOW)
        await prune_history(database)
        assert await rows(database) == {}, "what lies ahead was written by a wrong clock"
        await one.lives()
        await watched.says(NOW + 5, 6)
        async with one.turn(storage_key(watched.uuid), "delete") as held:
            await one.storages.remove(held, watched.uuid, [])
        assert await rows(database) == {}


async def test_many_storages_are_two_statements(database: Database) -> None:
    async with stores(database, LONG) as one:
        every = [Watched(one) for _ in range(30)]
        for watched in every:
            await watched.put(NOW)
        said = [Measured({"totalCapacity": 10, "availableCapacity": 4}, "capacityDate", 0.0, fresh=True)]
        await every[0].at(NOW + HOUR)
        news = [CapacityChange(one.mon, one.uuid, said, time.monotonic()) for one in every]
        await apply(database, one.fence, news)
    assert await rows(database) == {MINUTE: 60, HOUR: 60, DAY: 30}


async def test_a_point_is_what_the_columns_are() -> None:
    names = [column.name for column in capacity_history.c][2:]
    wanted: list[Any] = ["slot", "totalCapacity", "availableCapacity", "poolStored", "poolUsedCapacity", "poolMaxAvail"]
    assert names == [*wanted, "lostDate"]
    assert len(Point._fields) == len(names)
