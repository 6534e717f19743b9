"""The SQL of queries on zones, tags, accounts, access keys and sessions against a plain evaluation in Python."""

import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from bs_agent.contract.inventory import (
    AccessKeyInventory,
    AccountInventory,
    Inventory,
    OpenSessionInventory,
    SystemTagInventory,
    UserTagInventory,
    ZoneInventory,
)
from bs_agent.contract.query import Query
from bs_agent.management.store.database import Database
from bs_agent.management.store.fields import RESOURCES
from bs_agent.management.store.queries import find
from bs_agent.management.store.tables import access_key, account, resource, session, tag, zone
from tests.management.reference import Row, page
from tests.management.store.test_queries import MOMENTS, NAMES, TAGS, queries

pytestmark = pytest.mark.asyncio

LATER = 4_000_000_000
AROUND = (
    ZoneInventory,
    SystemTagInventory,
    UserTagInventory,
    AccountInventory,
    AccessKeyInventory,
    OpenSessionInventory,
)


class Around(dict[type[Inventory], list[Row]]):
    """The rows of each inventory; too many to be printed with every example."""

    def __repr__(self) -> str:
        return "<rows>"


def _uuid(chance: random.Random) -> str:
    return f"{chance.getrandbits(128):032x}"


def _made(chance: random.Random, **values: Any) -> Row:
    return {"uuid": _uuid(chance), "createDate": chance.choice(MOMENTS), "lastOpDate": chance.choice(MOMENTS)} | values


def _zones(chance: random.Random) -> list[Row]:
    described = [(name, chance.choice([None, *NAMES])) for name in NAMES]
    return [
        _made(chance, name=name, description=text, state="Enabled", type="zstack", isDefault=at == 1)
        for at, (name, text) in enumerate(described)
    ]


def _tags(chance: random.Random, kind: str, resources: list[Row]) -> list[Row]:
    on = [(chance.choice(resources)["uuid"], text) for text in [*TAGS, *NAMES] if text]
    return [_made(chance, type=kind, tag=text, resourceUuid=uuid, resourceType="ZoneVO") for uuid, text in on]


@pytest_asyncio.fixture
async def around(database: Database) -> AsyncIterator[Around]:
    """Fill the database, and return what each query may find, with the tags of each."""
    chance = random.Random(20261124)  # noqa: S311  the same rows each time, no secret
    accounts = [_made(chance, name=name, type="SystemAdmin") for name in NAMES]
    owners = [row["uuid"] for row in accounts[:3]]
    zones = _zones(chance)
    tags = {kind: _tags(chance, kind, zones) for kind in ("System", "User")}
    keys = [
        _made(chance, accountUuid=chance.choice(owners), description=text, AccessKeyID=f"Key{number}{'x' * 10}")
        for number, text in enumerate([None, *NAMES])
    ]
    sessions = [
        {"uuid": _uuid(chance), "accountUuid": chance.choice(owners), "expiredDate": LATER + number, "createDate": 0}
        for number in range(8)
    ]
    expired = {"uuid": _uuid(chance), "accountUuid": owners[0], "expiredDate": 1, "createDate": 0, "hash": "expired"}
    async with database.writing() as connection:
        await connection.execute(insert(account), [row | {"passwordHash": "x"} for row in accounts])
        await connection.execute(insert(resource), [{"uuid": row["uuid"], "type": "ZoneVO"} for row in zones])
        await connection.execute(insert(zone), zones)
        await connection.execute(insert(tag), [*tags["System"], *tags["User"]])
        await connection.execute(insert(access_key), [row | {"keySecret": "x"} for row in keys])
        await connection.execute(insert(session), [*({**row, "hash": row["uuid"]} for row in sessions), expired])
    found = Around(zip(AROUND, (zones, tags["System"], tags["User"], accounts, keys, sessions), strict=True))
    for row in (row for rows in found.values() for row in rows):
        for kind in ("System", "User"):
            texts = [each["tag"] for each in tags[kind] if each["resourceUuid"] == row["uuid"]]
            row[f"__{kind.lower()}Tag__"] = texts
    yield found


@pytest.mark.parametrize("inventory", AROUND, ids=lambda inventory: inventory.__name__)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_sql_finds_what_python_finds(
    database: Database, around: Around, inventory: type[Inventory], data: st.DataObject
) -> None:
    query = data.draw(queries(RESOURCES[inventory]))
    found = await find(database, inventory, query)
    uuids, total = page(around[inventory], query)
    assert [item["uuid"] for item in found.inventories or []] == uuids, str(query)
    assert found.total == total, str(query)


async def test_each_inventory_is_shown_as_it_is_declared(database: Database, around: Around) -> None:
    for inventory in AROUND:
        found = await find(database, inventory, Query())
        assert found.inventories
        for item in found.inventories:
            assert inventory.model_validate(item)
            assert set(item) <= set(inventory.model_fields)


async def test_which_sessions_are_open_is_by_the_databases_clock(
    database: Database, around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite that is the machine's own, which is set ahead here."""
    database.clock = lambda: LATER + 3.5
    monkeypatch.setattr(time, "time", database.clock)
    found = await find(database, OpenSessionInventory, Query(reply_with_count=True))
    last = sorted(row["uuid"] for row in around[OpenSessionInventory] if row["expiredDate"] > LATER + 3.5)
    every = sorted(row["uuid"] for row in around[OpenSessionInventory])
    assert sorted(item["uuid"] for item in found.inventories or []) == (last if database.is_sqlite else every)
    assert found.total == (4 if database.is_sqlite else 8)
