"""What reports have changed, written together: hosts, capacities, and the storages that follow their hosts."""

import asyncio
from typing import Any

import pytest

from bs_agent.contract.inventory import BackupStorageInventory, CephBackupStorageInventory
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CEPH
from bs_agent.management.model.health import Health
from bs_agent.management.model.records import HostRecord
from bs_agent.management.operations.turns import storage_key
from bs_agent.management.store.changes import HostChange, Turn, apply
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import find_one
from bs_agent.management.store.tables import agent as agent_table
from tests.beds.stores import CAPACITY, LONG, Stores, agent, nodes, storage, stores

pytestmark = pytest.mark.asyncio

GONE = Health("Disconnected", Reason(code=ReasonCode.AGENT_UNREACHABLE, details="seen"))
WELL = Health("Connected")


async def news(by: Stores, health: Health, *hosts: HostRecord, **capacity: Any) -> list[Turn]:
    """Write what polls have brought, as the node that polls."""
    changes = [HostChange(one.monUuid, one.backupStorageUuid, health) for one in hosts]
    return await apply(by.database, by.fence, changes, {hosts[0].backupStorageUuid: capacity} if capacity else {})


async def shown(database: Database, uuid: str) -> dict[str, Any]:
    found = (await find_one(database, BackupStorageInventory, uuid)).inventories
    assert found is not None
    return found[0]


async def test_a_storage_follows_its_hosts(database: Database) -> None:
    new = storage(CEPH)
    async with stores(database, LONG) as one:
        hosts = await one.put(new, [agent(), agent(), agent()])
        assert await news(one, GONE, *hosts[:2]) == [], "one mon host is enough"
        found = (await find_one(database, CephBackupStorageInventory, new.uuid)).inventories
        assert found is not None
        assert [mon["status"] for mon in found[0]["mons"]].count("Disconnected") == 2
        turns = await news(one, GONE, hosts[2], availableCapacity=7)
        assert [(turn.uuid, turn.before.status, turn.after) for turn in turns] == [(new.uuid, "Connected", GONE)]
        there = await shown(database, new.uuid)
        assert (there["status"], there["availableCapacity"]) == ("Disconnected", 7)
        turns = await news(one, WELL, hosts[1])
        assert [turn.after.status for turn in turns] == ["Connected"]


async def test_a_capacity_is_stale_when_no_host_has_a_fresh_one(database: Database) -> None:
    new = storage(CEPH)
    async with stores(database, LONG) as one:
        hosts = await one.put(new, [agent(), agent()])
        for fresh in ((False, True), (False, False), (True, False), (True, True)):
            for each, its in zip(hosts, fresh, strict=True):  # one write each, as by two nodes
                await news(one, Health("Connected", fresh=its), each)
            assert (await shown(database, new.uuid))["capacityStale"] == (not any(fresh))
        async with one.turn(storage_key(new.uuid)) as held:
            await one.hosts.remove(held, hosts[:1], [])
        assert not (await shown(database, new.uuid))["capacityStale"]


async def test_changes_of_what_was_deleted_are_void(database: Database) -> None:
    new = storage()
    async with stores(database, LONG) as one:
        (there,) = await one.put(new, [agent()])
        async with one.turn(storage_key(new.uuid), "delete") as held:
            await one.storages.remove(held, new.uuid, [])
            mine = HostChange(there.monUuid, new.uuid, GONE, held)
            assert await apply(database, one.fence, [mine], {new.uuid: CAPACITY}) == []
        assert await news(one, GONE, there, **CAPACITY) == []
        assert await one.storages.find(new.uuid) is None


async def test_changes_of_many_storages_at_once(database: Database) -> None:
    at = agent()
    async with stores(database, LONG) as one:
        hosts = [(await one.put(storage(url=f"/{number}"), [at]))[0] for number in range(30)]
        changes = [HostChange(each.monUuid, each.backupStorageUuid, GONE) for each in hosts]
        capacities = {each.backupStorageUuid: CAPACITY | {"availableCapacity": 3} for each in hosts}
        turns = await apply(database, one.fence, changes, capacities)
        assert {turn.uuid for turn in turns} == capacities.keys()
        assert {(await shown(database, uuid))["availableCapacity"] for uuid in capacities} == {3}
        assert await apply(database, one.fence, changes, {}) == []


async def test_two_nodes_that_write_one_storage_do_not_miss_each_other(database: Database) -> None:
    new, agents = storage(CEPH), [agent(), agent()]
    async with nodes(database) as (one, other):
        hosts = await one.put(new, agents)
        async with database.writing() as connection:
            seconds = agent_table.update().where(agent_table.c.uuid == agents[1].uuid)
            await connection.execute(seconds.values(leaseOwner=other.node.uuid))
        for health in (GONE, WELL, GONE):
            writes = (
                news(by, health, each, availableCapacity=number)
                for number, (by, each) in enumerate(zip((one, other), hosts, strict=True))
            )
            turns = await asyncio.gather(*writes)
            read = await one.storages.find(new.uuid)
            assert read is not None
            assert (read.status, read.statusReason) == (health.status, health.reason)
            assert sum(len(some) for some in turns) == 1, "it has turned once"
