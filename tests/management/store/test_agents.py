"""One machine is one agent: by its certificates, under all its names, until nobody needs it any more."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import update

from bs_agent.contract.errors import StorageProblem
from bs_agent.management.model.records import AgentRecord, Debt
from bs_agent.management.operations.debts import forgetting
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import Held, agent_key, storage_key
from bs_agent.management.store.tables import agent as agent_table
from bs_agent.management.store.watched import claim
from tests.beds.stores import LONG, Stores, agent, nodes, slept, storage, stores

pytestmark = pytest.mark.asyncio


async def put(of: Stores, record: AgentRecord, replaced: Debt | None = None) -> bool:
    async with of.turn(agent_key(record.uuid)) as held:
        return await of.agents.put(held, record, replaced)


async def leave(of: Stores, record: AgentRecord) -> Debt | None:
    """Return the forgetting that is owed from now on, if the agent may leave."""
    async with of.turn(agent_key(record.uuid)) as held:
        debt = forgetting(held, record.uuid, record.enrollmentId, record.tokenSecret)
        return debt if await of.agents.leave(held, debt) else None


async def remove(of: Stores, record: AgentRecord) -> None:
    async with of.turn(agent_key(record.uuid)) as held:
        await of.agents.remove(held, record.uuid)


async def known(of: Stores, *records: AgentRecord) -> list[AgentRecord]:
    found = await of.agents.find([record.uuid for record in records])
    return [found[record.uuid] for record in records if record.uuid in found]


async def test_an_agent_is_found_by_all_that_names_it(database: Database) -> None:
    at = replace(agent("here"), nextFingerprint="e" * 64, bootId="boot")
    async with stores(database, LONG) as one:
        assert await put(one, at)
        assert await one.agents.find([at.uuid, None, "unknown"]) == {at.uuid: at}
        assert await one.agents.of_fingerprint(at.fingerprint) == at
        assert await one.agents.of_fingerprint("e" * 64) == at, "so it will show itself after its next rotation"
        assert await one.agents.of_fingerprint("d" * 64) is None
        assert await one.agents.enrolled(at.enrollmentId) == at
        assert await one.agents.enrolled(uuid4().hex) is None
        assert await one.agents.places(at.uuid) == [("here", 7765)]
        assert await one.agents.hostnames(at.uuid) == [], "no storage has a host there"


async def test_what_is_known_of_an_agent_is_replaced(database: Database) -> None:
    at = replace(agent("here"), nextFingerprint="e" * 64, bootId="boot")
    now = replace(at, hostname="there", fingerprint="e" * 64, nextFingerprint=None, bootId=None, leaving=True)
    async with stores(database, LONG) as one:
        assert await put(one, at)
        assert await put(one, now)
        assert await known(one, at) == [now]
        assert await one.agents.of_fingerprint(at.fingerprint) is None
        assert await one.agents.places(at.uuid) == [("here", 7765), ("there", 7765)]
        again = forgetting(Held(agent_key(at.uuid), uuid4().hex, 1), at.uuid, at.enrollmentId, at.tokenSecret)
        assert await put(one, replace(at, enrollmentId=uuid4().hex), again)
        assert await one.debts.find(again.uuid) == again
        assert not (await known(one, at))[0].leaving


async def test_one_certificate_is_one_agent(database: Database) -> None:
    async with nodes(database) as (one, other):
        for _ in range(5):
            first, second = agent(), agent()
            second = replace(second, fingerprint=first.fingerprint)
            won = await asyncio.gather(put(one, first), put(other, second))
            assert sorted(won) == [False, True]
            winner, loser = (first, second) if won[0] else (second, first)
            assert await known(one, first, second) == [winner]
            assert await one.agents.of_fingerprint(first.fingerprint) == winner
            assert await one.agents.places(loser.uuid) == [], "nothing of the loser is left"


async def test_who_loses_a_certificate_is_owed_nothing_for_it(database: Database) -> None:
    first, second = agent(), agent()
    async with stores(database, LONG) as one:
        await one.meet(first, second)
        debt = forgetting(Held(agent_key(second.uuid), uuid4().hex, 1), second.uuid, second.enrollmentId, "secret")
        assert not await put(one, replace(second, fingerprint=first.fingerprint), debt)
        assert await known(one, second) == [second]
        assert await one.owed() == []


async def test_one_certificate_that_is_to_come_is_one_agents(database: Database) -> None:
    first, second, third = replace(agent(), nextFingerprint="e" * 64), agent(), agent()
    async with nodes(database) as (one, other):
        await one.meet(first, second, third)
        await claim(database, one.node.uuid)
        told = {"nextFingerprint": "e" * 64}
        assert not await one.agents.update(second.uuid, one.node.uuid, told | {"bootId": "boot"})
        for another in (first.fingerprint, third.fingerprint):
            assert not await one.agents.update(second.uuid, one.node.uuid, {"nextFingerprint": another})
        for another in ("e" * 64, first.fingerprint, third.fingerprint):
            assert await put(other, replace(second, nextFingerprint=another))
            assert await known(one, second) == [second], "nothing of what it says is taken"
        assert await one.agents.of_fingerprint(third.fingerprint) == third
        assert not await one.agents.update(second.uuid, one.node.uuid, {"fingerprint": first.fingerprint})


async def test_who_shows_a_certificate_goes_before_who_has_announced_it(database: Database) -> None:
    first, shows, third = agent(), agent(), agent()
    async with stores(database, LONG) as one:
        await one.meet(first, shows, third)
        for claims in (first, third):  # at the same moment as the other was met
            async with database.writing() as connection:
                told = update(agent_table).where(agent_table.c.uuid == claims.uuid)
                await connection.execute(told.values(nextFingerprint=shows.fingerprint))
            assert await one.agents.of_fingerprint(shows.fingerprint) == shows
            assert await put(one, shows)
            assert await known(one, claims) == [claims], "it was only said"


async def test_an_address_that_moves_to_another_agent_is_the_others(database: Database) -> None:
    before, after = agent("shared"), agent("shared")
    async with nodes(database) as (one, other):
        await one.meet(before)
        await put(one, replace(before, hostname="second"))
        assert await one.agents.places(before.uuid) == [("second", 7765), ("shared", 7765)]
        assert await put(other, after)
        assert await one.agents.places(before.uuid) == [("second", 7765)]
        assert await one.agents.places(after.uuid) == [("shared", 7765)]
        at_other_port = replace(agent("shared"), port=7000)
        assert await put(one, at_other_port)
        assert await one.agents.places(after.uuid) == [("shared", 7765)]
        assert await one.agents.places(at_other_port.uuid) == [("shared", 7000)]


async def test_agents_that_come_to_one_address_at_once_are_all_known(database: Database) -> None:
    async with nodes(database, 4) as several:
        for number in range(5):
            agents = [agent(f"shared-{number}") for _ in several]
            won = await asyncio.gather(*(put(by, record) for by, record in zip(several, agents, strict=True)))
            assert won == [True] * 4
            places = [place for record in agents for place in await several[0].agents.places(record.uuid)]
            assert places == [(f"shared-{number}", 7765)]


async def test_who_polls_an_agent_writes_what_it_learns(database: Database) -> None:
    at = agent()
    async with nodes(database) as (one, other):
        await one.meet(at)
        await claim(database, one.node.uuid)
        assert not await one.agents.update(at.uuid, other.node.uuid, {"bootId": "other"})
        assert await one.agents.update(at.uuid, one.node.uuid, {"bootId": "one", "nextFingerprint": "e" * 64})
        learnt = replace(at, bootId="one", nextFingerprint="e" * 64)
        assert await known(one, at) == [learnt]
        await one.lives(0)
        await claim(database, other.node.uuid)
        await one.lives()
        assert not await one.agents.update(at.uuid, one.node.uuid, {"bootId": "slept"})
        assert await known(one, at) == [learnt]


async def test_an_agent_leaves_when_it_serves_nothing_and_is_owed_nothing(database: Database) -> None:
    at, new = agent(), storage()
    async with stores(database, LONG) as one:
        await one.put(new, [at])
        assert await one.agents.unused() == []
        assert await leave(one, at) is None
        async with one.turn(storage_key(new.uuid)) as held:
            owed = Debt(uuid4().hex, at.uuid, held.uuid, new.uuid)
            await one.storages.remove(held, new.uuid, [owed])
        assert await one.agents.unused() == [], "it is owed a cleanup"
        assert await leave(one, at) is None
        await one.debts.settle(owed.uuid)
        assert await one.agents.unused() == [at]

        left = await leave(one, at)
        assert left is not None
        assert await known(one, at) == [replace(at, leaving=True)]
        await remove(one, at)
        assert await known(one, at) != [], "it is owed the forgetting"
        await one.debts.settle(left.uuid)
        await remove(one, at)
        assert await known(one, at) == []
        assert await one.agents.places(at.uuid) == []
        assert await leave(one, at) is None, "it is gone"


async def test_an_agent_that_was_waited_for_long_enough_is_removed(database: Database) -> None:
    at = agent()
    async with stores(database, LONG) as one:
        await one.meet(at)
        left = await leave(one, at)
        assert left is not None
        assert await one.agents.unused() == []
        await one.debts.settle(left.uuid)  # given up
        assert await leave(one, at) is None
        assert await known(one, at) == []


async def test_an_agent_that_is_needed_again_stays(database: Database) -> None:
    at = agent()
    async with stores(database, LONG) as one:
        await one.meet(at)
        left = await leave(one, at)
        assert left is not None
        await one.put(storage(), [at])
        await put(one, at)
        await one.debts.settle(left.uuid)
        await remove(one, at)
        assert await known(one, at) == [at]


async def test_a_node_that_slept_writes_nothing_of_agents(database: Database) -> None:
    at, new = agent(), agent()
    async with nodes(database) as (one, other):
        await one.meet(at)
        held = await slept(one, other, agent_key(at.uuid))
        fresh = await slept(one, other, agent_key(new.uuid))
        debt = forgetting(held, at.uuid, at.enrollmentId, "secret")
        for writing in (
            one.agents.put(held, replace(at, hostname="changed"), debt),
            one.agents.put(fresh, new),
            one.agents.leave(held, debt),
            one.agents.remove(held, at.uuid),
        ):
            with pytest.raises(StorageProblem, match="has lost its lease"):
                await writing
        assert await known(one, at, new) == [at]
        assert await one.owed() == []
