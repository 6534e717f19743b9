"""Events are written with what they tell of, many at once, in the order of time, and are bounded by age and number."""

from typing import Any

import pytest
from sqlalchemy import event as listening
from sqlalchemy import func, select, update

from bs_agent.contract.errors import OperationFailed
from bs_agent.contract.inventory import EventInventory
from bs_agent.contract.query import parse_query
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.management.model.health import Health
from bs_agent.management.store.changes import HostChange, apply
from bs_agent.management.store.database import Database
from bs_agent.management.store.events import Event, acting, note, prune_events
from bs_agent.management.store.operations import Held, storage_key
from bs_agent.management.store.past_tables import event
from bs_agent.management.store.polled import Polled, write_polled
from bs_agent.management.store.queries import find
from bs_agent.management.store.tables import agent as agent_table
from tests.beds.stores import LONG, agent, nodes, set_clock, storage, stores

pytestmark = pytest.mark.asyncio

NOW = 1_700_000_000
AWAY = Health("Disconnected", Reason(code=ReasonCode.AGENT_UNREACHABLE, details="no route"))


async def told(database: Database, *conditions: str) -> list[dict[str, Any]]:
    found = await find(database, EventInventory, parse_query([("q", one) for one in conditions]))
    assert all(EventInventory.model_validate(one) for one in found.inventories or [])
    return found.inventories or []


async def test_a_status_change_is_told_once_with_it_and_what_is_none_is_not(database: Database) -> None:
    new, at = storage(), agent()
    async with stores(database, LONG) as one:
        (host,) = await one.put(new, [at])
        change = HostChange(host.monUuid, new.uuid, AWAY)
        for _ in range(2):
            await apply(database, one.fence, [change])
        (event_,) = await told(database, "type=StatusChanged")
    assert (event_["resourceUuid"], event_["resourceName"]) == (new.uuid, new.name)
    assert (event_["oldValue"], event_["newValue"]) == ("Connected", "Disconnected")
    assert (event_["code"], event_["details"]) == ("AgentUnreachable", "no route")
    assert "accountName" not in event_, "it is nobody's doing"


async def test_a_switch_that_dies_makes_few_transactions(database: Database) -> None:
    agents = [agent() for _ in range(60)]
    async with stores(database, LONG) as one:
        hosts = [(await one.put(storage(), [at]))[0] for at in agents]
        begun: list[object] = []
        listening.listen(database.engine.sync_engine, "commit", begun.append)
        await apply(database, one.fence, [HostChange(host.monUuid, host.backupStorageUuid, AWAY) for host in hosts])
        polled = [Polled(at.uuid, 0.0, "Disconnected", AWAY.reason, 3) for at in agents]
        await write_polled(database, one.node.uuid, polled)
        assert len(begun) == 2
        assert len(await told(database, "type=StatusChanged")) == len(await told(database, "type=AgentAway")) == 60


async def test_an_operation_is_told_with_who_and_how_it_ended(database: Database) -> None:
    new, at = storage(), agent()
    key = storage_key(new.uuid)
    async with nodes(database) as (one, other):
        await one.put(new, [at])
        with acting("a" * 32, "admin"):
            held = await one.operations.take(key, "reconnect")
        assert isinstance(held, Held)
        await one.operations.end(held, OperationFailed("it hangs").shown())
        began, ended = await told(database, "operation=reconnect")
        for event_ in (began, ended):
            assert (event_["resourceUuid"], event_["resourceName"]) == (new.uuid, new.name)
            assert (event_["accountUuid"], event_["accountName"]) == ("a" * 32, "admin"), (
                "also when a node ends it later"
            )
            assert event_["operationUuid"] == held.uuid
        assert (began["type"], ended["type"]) == ("OperationBegan", "OperationEnded")
        assert (ended["outcome"], ended["code"], ended["details"]) == ("Failed", "SYS.1006", "it hangs")

        held = await one.operations.take(key, "delete", "Enforcing")
        assert isinstance(held, Held)
        await one.lives(0)
        assert isinstance(await other.operations.take(key, "restore"), Held)
        began, ended = await told(database, "operation=delete")
        assert (began["details"], ended["outcome"]) == ("Enforcing", "Lost")
        assert await told(database, "operation=restore") == [], "that is a node's own"
        added = await told(database, "operation=add")
        assert [one["outcome"] for one in added if "outcome" in one] == ["Succeeded"]


async def test_agents_come_and_go(database: Database) -> None:
    at = agent()
    async with stores(database, LONG) as one:
        await one.meet(at)
        async with database.writing() as connection:
            await connection.execute(update(agent_table).values(leaseOwner=one.node.uuid))
        for status, why in (("Connected", None), ("Disconnected", AWAY.reason), ("Connected", None)):
            await write_polled(database, one.node.uuid, [Polled(at.uuid, 0.0, status, why, 0)])  # type: ignore[arg-type]
        assert [one["type"] for one in await told(database, f"resourceUuid={at.uuid}")] == [
            "AgentAdded", "AgentAway", "AgentBack",
        ]  # fmt: skip


async def test_events_lie_in_the_order_of_time_and_keep_their_bounds(database: Database) -> None:
    for at in range(5):
        set_clock(database, NOW + at)
        await note(database, [Event("LogIn", details=f"{at}.{number}\0" + "x" * 2000) for number in range(3)])
    found = await told(database)
    assert [one["details"][:3] for one in found] == [f"{at}.{number}" for at in range(5) for number in range(3)]
    assert {len(one["details"]) for one in found} == {1000}


async def test_old_events_are_forgotten_and_the_newest_of_many_stay(database: Database) -> None:
    async def count() -> int:
        async with database.reading() as connection:
            return (await connection.execute(select(func.count()).select_from(event))).scalar_one()

    for at in (0, 500, 1000):
        set_clock(database, NOW + at)
        await note(database, [Event("LogIn", details=str(at))] * 4)
    await prune_events(database, 700, 100)
    assert await count() == 8
    await prune_events(database, 700, 5)
    assert [one["details"] for one in await told(database)] == ["500", *["1000"] * 4]
    await note(database, [Event("LogInRefused", details=str(at)) for at in range(9)])
    await prune_events(database, 700, 8)
    refused = [one["details"] for one in await told(database, "type=LogInRefused")]
    assert refused == ["7", "8"], "who has no account does not push out what else has happened"
    assert await count() == 7
    set_clock(database, NOW - 10_000)
    await prune_events(database, 700, 100)
    assert await count() == 0, "a date that is far ahead says nothing"
