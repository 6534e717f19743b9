"""Backup storages as operations read and write them: one for each pool and each uuid, with all or nothing of it."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from bs_agent.contract.errors import InvalidArgument, StorageProblem
from bs_agent.contract.inventory import BackupStorageInventory, CephBackupStorageInventory
from bs_agent.contract.report import CEPH
from bs_agent.management.model.records import AgentRecord, StorageRecord
from bs_agent.management.operations.debts import cleanup
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import storage_key
from bs_agent.management.store.queries import find_one
from tests.beds.stores import CAPACITY, LONG, Stores, agent, host, nodes, slept, storage, stores

pytestmark = pytest.mark.asyncio


async def add(to: Stores, new: StorageRecord, *agents: AgentRecord) -> None:
    """Add a storage as an operation does that is refused or not: what it feared is owed before."""
    async with to.turn(storage_key(new.uuid), "add") as held:
        await to.debts.write(held, [cleanup(held, new, record.uuid) for record in agents])
        hosts = [host(new, record) for record in agents]
        tags = {"System": ["a"], "User": ["b"]}
        try:
            await to.storages.add(held, new, hosts, agents, capacity=CAPACITY, tags=tags)
        except InvalidArgument:
            await to.operations.end(held, None)
            raise


async def test_what_was_added_is_read_again_until_it_is_removed(database: Database) -> None:
    new, at = storage(service=8000), agent("host")
    async with stores(database, LONG) as one:
        (there,) = await one.put(new, [at])
        assert await one.storages.find(new.uuid) == new
        assert await one.hosts.of(new.uuid) == [there]
        assert await one.storages.system_tags(new.uuid) == ["a"]
        shown = (await find_one(database, BackupStorageInventory, new.uuid)).inventories
        assert shown is not None
        assert (shown[0]["totalCapacity"], shown[0]["availableCapacity"], shown[0]["capacityStale"]) == (10, 5, True)
        assert await one.owed() == []
        async with one.turn(storage_key(new.uuid), "delete") as held:
            debt = cleanup(held, new, at.uuid)
            await one.storages.remove(held, new.uuid, [debt])
        assert await one.storages.find(new.uuid) is None
        assert await one.hosts.of(new.uuid) == []
        assert await one.hosts.find(there.monUuid) is None
        assert await one.storages.system_tags(new.uuid) == []
        assert await one.debts.due(at.uuid) == [debt]
        assert await one.agents.find([at.uuid]) == {at.uuid: at}


async def test_a_capacity_is_fresh_when_one_host_has_a_fresh_one(database: Database) -> None:
    new, agents = storage(CEPH), [agent(), agent()]
    async with stores(database, LONG) as one:
        await one.meet(*agents)
        async with one.turn(storage_key(new.uuid), "add") as held:
            hosts = [replace(host(new, agents[0]), capacityFresh=True), host(new, agents[1])]
            await one.storages.add(held, new, hosts, agents, capacity=CAPACITY, tags={})
    shown = (await find_one(database, CephBackupStorageInventory, new.uuid)).inventories
    assert shown is not None
    assert not shown[0]["capacityStale"]


async def test_a_pool_is_one_storage(database: Database) -> None:
    async with nodes(database) as (one, other):
        for number in range(5):
            pool = f"pool-{number}"
            wanted = [replace(storage(CEPH), poolName=pool) for _ in range(4)]
            agents = [agent() for _ in wanted]
            await one.meet(*agents)
            adding = (add(by, new, at) for by, new, at in zip([one, other, one, other], wanted, agents, strict=True))
            outcomes = await asyncio.gather(*adding, return_exceptions=True)
            (winner,) = [new for new, outcome in zip(wanted, outcomes, strict=True) if outcome is None]
            for new, at, outcome in zip(wanted, agents, outcomes, strict=True):
                if new is not winner:
                    assert isinstance(outcome, InvalidArgument)
                    assert pool in outcome.details
                    await nothing_is_left(one, new, at)
            assert await one.storages.pool_owner(replace(winner, uuid="0" * 32)) == winner.uuid
            assert await one.storages.pool_owner(winner) is None
        assert await one.storages.pool_owner(replace(storage(CEPH), poolName="poo")) is None
        assert await one.storages.pool_owner(replace(storage(CEPH), fsid="another", poolName="pool-0")) is None


async def test_a_pool_that_was_renamed_is_still_one_storage(database: Database) -> None:
    async with nodes(database) as (one, _):
        first, second = (replace(storage(CEPH), poolName=name, poolId=5) for name in ("images", "images-old"))
        agents = [agent(), agent()]
        await one.meet(*agents)
        await add(one, first, agents[0])
        assert await one.storages.pool_owner(second) == first.uuid
        assert await one.storages.pool_owner(replace(second, poolId=6)) is None
        assert await one.storages.pool_owner(replace(second, fsid="another")) is None
        with pytest.raises(InvalidArgument, match="images-old of cluster f is taken"):
            await add(one, second, agents[1])


async def nothing_is_left(of: Stores, new: StorageRecord, at: AgentRecord) -> None:
    """See that a storage was not added, and that its host is still to be cleaned."""
    assert await of.storages.find(new.uuid) is None
    assert await of.hosts.of(new.uuid) == []
    assert await of.storages.system_tags(new.uuid) == []
    assert [debt.backupStorageUuid for debt in await of.debts.due(at.uuid)] == [new.uuid]


async def test_a_uuid_is_one_storage(database: Database) -> None:
    first, second, agents = storage(url="/first"), storage(CEPH), [agent(), agent()]
    second = replace(second, uuid=first.uuid)
    async with nodes(database) as (one, other):
        await one.meet(*agents)
        # Each under a key of its own, as nobody does: so both are written at once.
        keys = [storage_key(uuid4().hex) for _ in agents]
        async with one.turn(keys[0], "add") as held, other.turn(keys[1], "add") as others:
            outcomes = await asyncio.gather(
                one.storages.add(held, first, [host(first, agents[0])], agents[:1], capacity=CAPACITY, tags={}),
                other.storages.add(others, second, [host(second, agents[1])], agents[1:], capacity=CAPACITY, tags={}),
                return_exceptions=True,
            )
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert [type(outcome) for outcome in refused] == [InvalidArgument]
        assert first.uuid in str(refused[0])
        won = 0 if outcomes[0] is None else 1
        assert await one.storages.find(first.uuid) == (first, second)[won]
        assert await one.debts.serving(first.uuid) == {agents[won].uuid}


async def test_a_machine_is_one_host_of_a_new_storage(database: Database) -> None:
    new, at = storage(CEPH), agent("here")
    async with stores(database, LONG) as one:
        await one.meet(at)
        with pytest.raises(InvalidArgument, match="are one machine"):
            await add(one, new, at, replace(at, hostname="there"))
        await nothing_is_left(one, new, at)
        assert await one.agents.places(at.uuid) == [("here", 7765)]


async def test_storages_are_found_by_what_is_behind_them(database: Database) -> None:
    both, alone, idle = agent(), agent(), agent()
    first, second, third = storage(url="/first"), storage(CEPH), storage(url="/third")
    async with stores(database, LONG) as one:
        for new, agents in ((first, [both]), (second, [both, alone]), (third, [idle])):
            await one.put(new, agents)
        found = await one.storages.behind([both.uuid, alone.uuid])
        assert {record.uuid for record in found} == {first.uuid, second.uuid}
        assert await one.storages.behind([alone.uuid]) == [second]
        assert await one.storages.behind([]) == []


async def test_the_agent_of_a_storage_stays_while_it_is_used(database: Database) -> None:
    new, at = storage(), replace(agent(), leaving=True)
    async with stores(database, LONG) as one:
        await one.meet(at)
        await one.put(new, [at])
        assert await one.agents.unused() == []


async def test_a_node_that_slept_writes_nothing_of_storages(database: Database) -> None:
    there, new, at = storage(url="/there"), storage(), agent()
    async with nodes(database) as (one, other):
        await one.put(there, [at])
        held = await slept(one, other, storage_key(there.uuid))
        adding = await slept(one, other, storage_key(new.uuid))
        for writing in (
            one.storages.add(adding, new, [host(new, at)], [at], capacity=CAPACITY, tags={"User": ["x"]}),
            one.storages.remove(held, there.uuid, [cleanup(held, there, at.uuid)]),
        ):
            with pytest.raises(StorageProblem, match="has lost its lease"):
                await writing
        assert await one.storages.find(new.uuid) is None
        assert await one.storages.find(there.uuid) == there
        assert await one.debts.serving(there.uuid) == {at.uuid}
        assert await one.storages.system_tags(there.uuid) == ["a"]
        assert await one.owed() == []
