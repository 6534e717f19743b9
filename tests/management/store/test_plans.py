"""How the databases read what calls ask for: by an index, and no table from its beginning to its end."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio
from sqlalchemy import event

from bs_agent.contract.inventory import (
    BackupStorageInventory,
    CephBackupStorageInventory,
    Inventory,
    UserTagInventory,
)
from bs_agent.contract.query import parse_query
from bs_agent.management.store.accounts import AccountStore
from bs_agent.management.store.agents import AgentStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import DebtStore
from bs_agent.management.store.hosts import HostStore
from bs_agent.management.store.operations import OperationStore
from bs_agent.management.store.queries import find
from bs_agent.management.store.storages import OperatedStore, StorageStore
from bs_agent.management.store.upkeep import learn
from bs_agent.management.store.watched import asked_to_look, watched
from tests.beds.inventory import ZONE, agent_of, fill, storages

pytestmark = pytest.mark.asyncio

COUNT = 2000
ROWS = storages(COUNT)
ONE = ROWS[7]
TABLES = "backup_storage|backup_storage_zone|host|tag|agent|agent_address|operation|debt|session|account"

BY_ITS_INDEX = [
    f"q=uuid={ONE['uuid']}", "q=name=store-77", "q=name~=store-77%", "q=name?=store-1,store-2", "q=status=Disconnected",
    "q=state=Disabled", "q=type=Ceph", "q=hostname=host-7", "q=username=nobody", "q=sshPort=23", "q=url=/nowhere",
    "q=url~=/nowhere%", "q=description=nothing", "q=description is null", f"q=fsid={ROWS[10]['fsid']}",
    "q=poolName=none", "q=capacityStale=true", "q=urgency=350", "q=poolReplicatedSize=9", "q=poolSecurityPolicy=Copy",
    "q=poolDiskUtilization=0.5", "q=totalCapacity=5", "q=availableCapacity=5", "q=capacityDate=2001-01-01T00:00:00Z",
    "q=createDate=2001-01-01T00:00:00Z", "q=lastOpDate=2001-01-01T00:00:00Z", "q=poolStored=1", "q=poolMaxAvail=1",
    f"q=attachedZoneUuids={ZONE}", "q=zone.name=zone-3", "q=__userTag__=rack::7", "q=__userTag__~=rack::7%",
    "q=__systemTag__=none", "q=mons.hostname=mon-70-1", "q=mons.status=Disconnected", "q=mons.monAddr=10.0.0.1",
    f"q=mons.monUuid={211:032x}", "q=name=store-77&count=true", "q=status=Disconnected&count=true",
]  # fmt: skip
OF_ANOTHER_KIND = ("hostname", "username", "sshPort")
RANGES = [
    *("availableCapacity<5", "urgency>390", "totalCapacity<5", "createDate>2030-01-01T00:00:00Z"),
    *("lastOpDate<1971-01-01T00:00:00Z", "poolStored>5"),
]
IN_ORDER = [
    "", "sort=-uuid", "sort=name", "sort=-name", "sort=createDate", "sort=-createDate", "sort=lastOpDate",
    "sort=availableCapacity", "sort=-totalCapacity", "sort=hostname", "sort=-hostname", "sort=status", "sort=type",
    "sort=-urgency", "sort=fsid", "sort=-poolName", "sort=capacityDate", "q=status=Connected",
    "q=availableCapacity>5&sort=availableCapacity",
]  # fmt: skip


class Statement(NamedTuple):
    """What was sent to the database."""

    sql: str
    values: Any


@pytest_asyncio.fixture
async def filled(database: Database) -> Database:
    await fill(database, ROWS)
    await learn(database, -1)
    return database


@contextmanager
def heard(database: Database) -> Iterator[list[Statement]]:
    """Listen to what is asked of the database."""
    said: list[Statement] = []

    def note(_connection: object, _cursor: object, sql: str, values: object, *_: object) -> None:
        if sql.startswith("SELECT"):
            said.append(Statement(sql, values))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def plan(database: Database, statement: Statement) -> str:
    """Return how the database would read it; PostgreSQL, which reads small tables whole, when it can avoid that."""
    async with database.reading() as connection:
        if not database.is_sqlite:
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        rows = await connection.exec_driver_sql(f"{explain} {statement.sql}", statement.values)
        return "\n".join(str(row[-1]) for row in rows)


async def plans(database: Database, ask: Callable[[], Awaitable[object]]) -> list[str]:
    with heard(database) as said:
        await ask()
    assert said
    return [await plan(database, statement) for statement in said]


def whole_tables(found: str) -> list[str]:
    """Return the tables that a plan reads without an index."""
    return re.findall(rf"^\s*SCAN ({TABLES})$|Seq Scan on \"?({TABLES})\b", found, re.MULTILINE)


def asking(database: Database, inventory: type[Inventory], text: str) -> Callable[[], Awaitable[object]]:
    query = parse_query([*parse_qsl(text), ("limit", "100")])
    return lambda: find(database, inventory, query)


@pytest.mark.parametrize("inventory", [BackupStorageInventory, CephBackupStorageInventory])
async def test_what_a_condition_names_is_found_by_its_index(filled: Database, inventory: type[Inventory]) -> None:
    for text in BY_ITS_INDEX:
        if inventory is CephBackupStorageInventory and text.startswith(tuple(f"q={name}=" for name in OF_ANOTHER_KIND)):
            continue
        for found in await plans(filled, asking(filled, inventory, text)):
            assert not whole_tables(found), f"{text}:\n{found}"
            assert "SCAN backup_storage" not in found, f"{text}:\n{found}"


async def test_a_range_is_read_by_its_index(filled: Database) -> None:
    for text in RANGES:
        first, *rest = await plans(filled, asking(filled, BackupStorageInventory, f"q={text}"))
        assert re.search(r"SEARCH backup_storage|Index.* Scan", first), f"{text}:\n{first}"
        for found in (first, *rest):
            assert not re.search(r"SCAN backup_storage|Seq Scan", found), f"{text}:\n{found}"


@pytest.mark.parametrize("start", [0, COUNT * 9 // 10])
async def test_a_page_is_read_in_the_order_of_an_index(filled: Database, start: int) -> None:
    for text in IN_ORDER:
        first, *_ = await plans(filled, asking(filled, BackupStorageInventory, f"{text}&start={start}"))
        assert not whole_tables(first), f"{text}:\n{first}"
        # Where a page is far down, its own hundred rows are put in order after they were found.
        sorts = len(re.findall(r"USE TEMP B-TREE FOR (?:RIGHT PART OF )?ORDER BY|\bSort Key", first))
        assert sorts <= (1 if start else 0), f"{text}:\n{first}"


async def test_tags_are_read_by_an_index(filled: Database) -> None:
    for text in ("", "start=1800", "count=true", "q=tag=rack::7", "q=tag~=rack::7%", f"q=resourceUuid={ONE['uuid']}"):
        for found in await plans(filled, asking(filled, UserTagInventory, text)):
            assert not whole_tables(found), f"{text}:\n{found}"


async def test_sums_and_counts_of_some_read_no_more_than_those(filled: Database) -> None:
    store = StorageStore(filled)
    for uuids, zones in (([ONE["uuid"]], []), ([], [ZONE]), ([ONE["uuid"]], [ZONE])):
        for found in await plans(filled, lambda: store.capacity(uuids, zones, every=False)):  # noqa: B023  asked at once
            assert not whole_tables(found), found


async def test_what_operations_and_polls_ask_for_is_found_by_an_index(filled: Database) -> None:
    operations = OperationStore(filled, "me")
    agents, debts, operated = (
        AgentStore(filled, operations),
        DebtStore(filled, operations),
        OperatedStore(filled, operations),
    )
    storage = await operated.find(ROWS[10]["uuid"])
    assert storage
    its_agent = agent_of("host-7")

    async def watch() -> list[object]:
        return [one async for one in watched(filled, [its_agent])]

    for ask in (
        lambda: agents.of_fingerprint(its_agent), lambda: agents.enrolled(its_agent), lambda: agents.places(its_agent),
        lambda: agents.hostnames(its_agent), lambda: operated.behind([its_agent]), lambda: operated.pool_owner(storage),
        lambda: operated.system_tags(ONE["uuid"]), lambda: HostStore(filled, operations).of(ONE["uuid"]),
        lambda: debts.due(its_agent), lambda: debts.of_storage(ONE["uuid"]), lambda: debts.serving(ONE["uuid"]),
        lambda: debts.expire(1.0), lambda: asked_to_look(filled, "me"),
        lambda: AccountStore(filled).find_account("admin"), lambda: AccountStore(filled).find_session("x"), watch,
    ):  # fmt: skip
        for found in await plans(filled, ask):
            assert not whole_tables(found), found


async def test_sqlite_learns_again_when_there_are_many_more(filled: Database) -> None:
    known = await learn(filled, -1)
    if not filled.is_sqlite:
        assert known == -1
        return
    assert known == COUNT
    assert await learn(filled, known) == COUNT
    assert await learn(filled, COUNT // 3) == COUNT
    assert await learn(filled, COUNT - 5) == COUNT - 5, "nothing worth a look has changed"
