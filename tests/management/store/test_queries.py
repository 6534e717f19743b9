"""The SQL of queries against a plain evaluation in Python of the same conditions over the same rows."""

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from bs_agent.contract.inventory import (
    BackupStorageInventory,
    CephBackupStorageInventory,
    ImageStoreBackupStorageInventory,
    Inventory,
)
from bs_agent.contract.query import Condition, Operator, Query, parse_condition
from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.management.store.database import Database
from bs_agent.management.store.fields import RESOURCES, Kind, Resource
from bs_agent.management.store.queries import find
from bs_agent.management.store.tables import backup_storage, backup_storage_zone, host, resource, tag, zone
from tests.management.reference import Row, page

pytestmark = pytest.mark.asyncio

NAMES = [
    "a",
    "A",
    "ab",
    "aB%",
    "a_b",
    "%",
    "_",
    "a/b",
    "a\\b",
    "it's",
    'say "x"',
    "a=b",
    "Äpfel",
    "äpfel",
    "日本",
    "",
    " a ",
]
NUMBERS = [0, 1, 22, 2022, 10**12, 2**53 + 1, 2**62]
MOMENTS = [0, 1523458254, 1523458255, 1576265569]
TAGS = ["ha::yes", "HA::YES", "rack::7", "rack::77"]


class Rows(list[Row]):
    """The storages in the database; too many to be printed with every example."""

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


def _uuid(chance: random.Random) -> str:
    return UUID(int=chance.getrandbits(128)).hex


def _storage(chance: random.Random, name: str) -> Row:
    kind = chance.choice([IMAGESTORE, CEPH])
    row: Row = {
        "uuid": _uuid(chance),
        "name": name,
        "description": chance.choice([None, *NAMES]),
        "url": chance.choice(["/images", "/Images", "not used"]),
        "type": kind,
        "state": chance.choice(["Enabled", "Disabled"]),
        "status": chance.choice(["Connecting", "Connected", "Disconnected"]),
        "statusReason": None,
        "totalCapacity": chance.choice(NUMBERS),
        "availableCapacity": chance.choice(NUMBERS),
        "capacityDate": chance.choice([None, *MOMENTS]),
        "capacityStale": chance.random() < 0.5,
        "createDate": chance.choice(MOMENTS),
        "lastOpDate": chance.choice(MOMENTS),
        "hostname": chance.choice(["10.0.0.1", "Store-1", "store-1"]) if kind == IMAGESTORE else None,
        "sshPort": chance.choice([22, 2222]) if kind == IMAGESTORE else None,
        "fsid": "d53902bc-ff50-4d08-8769-9d83448478d3" if kind == CEPH else None,
        "poolName": f"{chance.choice(['bak', 'BAK'])}-{_uuid(chance)}" if kind == CEPH else None,
        "poolDiskUtilization": chance.choice([0.333, 0.5, 1.0]) if kind == CEPH else None,
    }
    return row


def _urgency(row: Row) -> int:
    well = {"Connected": 0, "Disconnected": 3}.get(row["status"], 2)
    if not well and (row["capacityStale"] or row["availableCapacity"] < row["totalCapacity"] // 20):
        well = 1
    used, share = row["totalCapacity"] - row["availableCapacity"], row["totalCapacity"] // 100 + 1
    return int(100 * well + (used // share if used >= 0 else -(-used // share)))


def _mon(chance: random.Random, storage: Row) -> Row:
    status = chance.choice(["Connected", "Disconnected"])
    return {
        "monUuid": _uuid(chance),
        "backupStorageUuid": storage["uuid"],
        "hostname": chance.choice(["mon-1", "MON-1", "mon-2"]),
        "monAddr": chance.choice([None, "10.1.0.1"]),
        "monPort": chance.choice([3300, 6789]),
        "sshPort": 22,
        "sshPasswordSecret": "encrypted",
        "status": status,
        "createDate": chance.choice(MOMENTS),
        "lastOpDate": chance.choice(MOMENTS),
    }


@pytest_asyncio.fixture
async def rows(database: Database) -> AsyncIterator[Rows]:
    """Fill the database with storages of all kinds, and return them with what belongs to each."""
    chance = random.Random(20261124)  # noqa: S311  the same rows each time, no secret
    names = {"createDate": 0, "lastOpDate": 0, "state": "Enabled", "type": "zstack", "isDefault": False}
    zones = [{"uuid": _uuid(chance), "name": name, "description": None, **names} for name in ("East", "west", "a_b")]
    storages = [_storage(chance, name) for name in NAMES * 4]
    refs, hosts, tags = [], [], []
    for storage in storages:
        mine = chance.sample(zones, chance.choice([0, 1, 2]))
        refs += [{"backupStorageUuid": storage["uuid"], "zoneUuid": each["uuid"]} for each in mine]
        # An ImageStore has a host too, which is no mon.
        own = [_mon(chance, storage) for _ in range(chance.choice([1, 3]) if storage["type"] == CEPH else 1)]
        hosts += own
        labels = [(kind, chance.choice(TAGS)) for kind in ("system", "user") for _ in range(chance.choice([0, 1, 2]))]
        tags += [
            {
                "uuid": _uuid(chance),
                "type": kind.capitalize(),
                "tag": text,
                "resourceUuid": storage["uuid"],
                "resourceType": "x",
            }
            | {"createDate": 0, "lastOpDate": 0}
            for kind, text in labels
        ]
        storage |= {"zone": mine, "mons": own if storage["type"] == CEPH else []}
        storage |= {"urgency": _urgency(storage)}
        storage |= {"attachedZoneUuids": [each["uuid"] for each in mine]}
        storage |= {f"__{kind}Tag__": [text for of, text in labels if of == kind] for kind in ("system", "user")}
    columns = set(backup_storage.c.keys()) - {"urgency"}
    async with database.writing() as connection:
        await connection.execute(insert(resource), [{"uuid": row["uuid"], "type": "x"} for row in [*zones, *storages]])
        await connection.execute(insert(zone), zones)
        await connection.execute(
            insert(backup_storage), [{key: row[key] for key in row if key in columns} for row in storages]
        )
        await connection.execute(insert(backup_storage_zone), refs)
        await connection.execute(insert(host), hosts)
        await connection.execute(insert(tag), tags)
    yield Rows(storages)


def kinds_of(resource: Resource) -> dict[str, Kind]:
    """Return the names that a condition on a resource may have, with how their values compare."""
    kinds = {name: field.kind for name, field in resource.fields.items()}
    kinds |= {name: elements.fields[name].kind for name, elements in resource.lists.items()}
    return kinds | {
        f"{table}.{name}": field.kind
        for table, elements in resource.expands.items()
        for name, field in elements.fields.items()
        if "uuid" not in name.lower()
    }


OPERATORS = {
    Kind.BOOLEAN: [Operator.EQUAL, Operator.NOT_EQUAL, Operator.IN, Operator.NOT_IN],
    Kind.TEXT: list(Operator),
    Kind.UUID: list(Operator),
    Kind.WRITTEN: list(Operator),
}
NO_TEXT = [operator for operator in Operator if operator not in {Operator.LIKE, Operator.NOT_LIKE}]
TEXTS = [
    *NAMES,
    "a%",
    "%B",
    "_",
    "%a%",
    "enabled",
    "CONNECTED",
    "ceph",
    "store-1",
    "mon-1",
    "east",
    *TAGS,
    "bak%",
    "x,y",
]
VALUES: dict[Kind, st.SearchStrategy[str]] = {
    Kind.TEXT: st.sampled_from(TEXTS) | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5),
    Kind.UUID: st.sampled_from(["0", "%a%", "F%", "8" * 32]),
    Kind.WRITTEN: st.sampled_from(["D53902bc-ff50-4d08-8769-9d83448478d3", "d539%", "0", "F%"]),
    Kind.INTEGER: st.sampled_from([*map(str, NUMBERS), "-1", "2.2E1", "1e30", "99999999999999999999999", " 22 "]),
    Kind.REAL: st.sampled_from(["0.333", "0.5", "1", "-1e9"]),
    Kind.BOOLEAN: st.sampled_from(["true", "FALSE", "1", "0"]),
    Kind.DATE: st.sampled_from(
        ["1970-01-01", "2018-04-11T14:50:54Z", "2018-04-11 14:50:55", "2030-01-01T00:00:00.5+08:00"]
    ),
}


@st.composite
def conditions(draw: st.DrawFn, kinds: dict[str, Kind]) -> Condition:
    name = draw(st.sampled_from(sorted(kinds)))
    operator = draw(st.sampled_from(OPERATORS.get(kinds[name], NO_TEXT)))
    values = draw(st.lists(VALUES[kinds[name]], min_size=1, max_size=3))
    several = operator in {Operator.IN, Operator.NOT_IN} and kinds[name] is not Kind.DATE
    return Condition(name, operator, ",".join(values) if several else values[0])


@st.composite
def queries(draw: st.DrawFn, resource: Resource) -> Query:
    own = sorted(resource.fields)
    return Query(
        conditions=tuple(draw(st.lists(conditions(kinds_of(resource)), max_size=3))),
        limit=draw(st.sampled_from([0, 1, 7, 1000])),
        start=draw(st.sampled_from([0, 0, 1, 50])),
        reply_with_count=True,
        sort=draw(st.sampled_from(["", *own])),
        descending=draw(st.booleans()),
        group_by=draw(st.sampled_from(["", "", "", *own])),
    )


OF_KINDS: dict[type[Inventory], set[str]] = {
    BackupStorageInventory: {IMAGESTORE, CEPH},
    ImageStoreBackupStorageInventory: {IMAGESTORE},
    CephBackupStorageInventory: {CEPH},
}


@pytest.mark.parametrize("inventory", OF_KINDS, ids=lambda inventory: inventory.__name__)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_sql_finds_what_python_finds(
    database: Database, rows: Rows, inventory: type[Inventory], data: st.DataObject
) -> None:
    query = data.draw(queries(RESOURCES[inventory]))
    found = await find(database, inventory, query)
    uuids, total = page([row for row in rows if row["type"] in OF_KINDS[inventory]], query)
    assert [item["uuid"] for item in found.inventories or []] == uuids, str(query)
    assert found.total == total, str(query)


async def test_each_condition_alone_finds_something_else(database: Database, rows: Rows) -> None:
    """Every operator on every field of text finds some rows and leaves some, so the property above is not empty."""
    texts = ["name=A", "name!=a", "name?=%,_", "name!?=a", "name~=a%", "name!~=a%", "name>b", "name<b", "name>=ä"]
    texts += ["name~=a/b", "name~=%/%", "name~=a\\b", "name~=%\\_"]
    others = [
        "description is null",
        "description not null",
        "zone.name=EAST",
        "mons.hostname=mon-1",
        "__userTag__=ha::yes",
    ]
    lists = ["attachedZoneUuids is null", "__systemTag__!~=rack%", "mons.status!=Connected", "capacityStale=true"]
    for text in [*texts, *others, *lists]:
        found = await find(database, BackupStorageInventory, Query(conditions=(parse_condition(text),)))
        assert 0 < len(found.inventories or []) < len(rows), text


async def test_a_query_of_one_kind_returns_that_kind(database: Database, rows: Rows) -> None:
    found = await find(database, CephBackupStorageInventory, Query())
    ceph = {row["uuid"]: row for row in rows if row["type"] == CEPH}
    assert {item["uuid"] for item in found.inventories or []} == set(ceph)
    for item in found.inventories or []:
        mons: list[dict[str, Any]] = item["mons"]
        assert {mon["monUuid"] for mon in mons} == {mon["monUuid"] for mon in ceph[item["uuid"]]["mons"]}
        assert {mon["sshPassword"] for mon in mons} == {"*****"}
        assert sorted(item["attachedZoneUuids"]) == sorted(ceph[item["uuid"]]["attachedZoneUuids"])
