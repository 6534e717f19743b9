"""What the fleet's side reads and writes, on both databases: leases of several nodes, changes, what is owed."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from bs_agent.contract.errors import InvalidArgument, ResourceNotFound
from bs_agent.contract.inventory import CephBackupStorageInventory, ImageStoreBackupStorageInventory
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.management.model.health import Health
from bs_agent.management.model.records import AgentRecord, HostRecord, StorageRecord, Tombstone
from bs_agent.management.store import tables
from bs_agent.management.store.changes import HostChange, apply
from bs_agent.management.store.database import Database
from bs_agent.management.store.debts import Debts
from bs_agent.management.store.fleet import Fleet
from bs_agent.management.store.leases import claim, watched
from bs_agent.management.store.mons import Mons
from bs_agent.management.store.queries import find_one

pytestmark = pytest.mark.asyncio

CAPACITY = {"totalCapacity": 10, "availableCapacity": 5, "capacityDate": 1}
GONE = Health("Disconnected", Reason(code=ReasonCode.AGENT_UNREACHABLE, details="seen"))


def agent(hostname: str = "host") -> AgentRecord:
    return AgentRecord(uuid4().hex, hostname, 7765, "f" * 64, uuid4().hex, "secret")


def storage(kind: str = IMAGESTORE, url: str = "/images", service: int | None = None) -> StorageRecord:
    new = StorageRecord(uuid4().hex, "a name", "", kind, url, "Enabled", "Connected", None, servicePort=service)
    return replace(new, fsid="f", poolName="pool", url="not used") if kind == CEPH else new


def host(of: StorageRecord, on: AgentRecord) -> HostRecord:
    port = 6789 if of.type == CEPH else None
    return HostRecord(
        uuid4().hex, of.uuid, on.uuid, on.hostname, None, port, 22, None, None, None, "Connected", None
    )  # fmt: skip


def owe(of: StorageRecord) -> Callable[[str], Tombstone]:
    """Return what makes the cleanups that are owed for a storage."""
    return lambda agent_uuid: Tombstone(uuid4().hex, of.uuid, agent_uuid, 5)


async def put(
    database: Database, of: StorageRecord, on: Sequence[AgentRecord], expected: Sequence[Tombstone] = ()
) -> list[HostRecord]:
    hosts = [host(of, one) for one in on]
    await Fleet(database).add(of, hosts, on, CAPACITY, {"system": ["a"], "user": ["b"]}, expected=expected)
    return hosts


async def test_what_was_added_is_read_again(database: Database) -> None:
    fleet, new, at = Fleet(database), storage(service=8000), agent()
    hosts = await put(database, new, [at])
    assert await fleet.storage(new.uuid) == new
    assert await fleet.hosts(new.uuid) == hosts
    assert await fleet.host(hosts[0].monUuid) == hosts[0]
    assert await fleet.agents([at.uuid, None]) == {at.uuid: at}
    assert await fleet.find_agent("host", 7765, "f" * 64) == at
    assert await fleet.find_agent("host", 7765, "e" * 64) is None
    assert await fleet.system_tags(new.uuid) == ["a"]
    assert await fleet.remove(new.uuid, owe(new)) == [at.uuid]
    assert await fleet.storage(new.uuid) is None
    assert await fleet.hosts(new.uuid) == []
    assert await fleet.system_tags(new.uuid) == []
    (owed,) = await Debts(database).due(at.uuid, 0)
    await Debts(database).settle(owed.commandUuid)
    assert await fleet.unused_agents() == [at]
    assert await fleet.remove_unused_agent(at.uuid)
    assert not await fleet.remove_unused_agent(at.uuid)


async def test_one_directory_or_pool_is_one_storage(database: Database) -> None:
    at = agent()
    outcomes = await asyncio.gather(
        *(put(database, storage(), [at]) for _ in range(4)), *(put(database, storage(CEPH), [at]) for _ in range(4)),
        return_exceptions=True,
    )  # fmt: skip
    added = [outcome for outcome in outcomes if isinstance(outcome, list)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, InvalidArgument)]
    assert (len(added), len(refused)) == (2, 6)
    assert await Fleet(database).pool_owner("f", "pool") is not None
    assert await Fleet(database).pool_owner("f", "poo") is None


async def test_a_storage_follows_its_hosts(database: Database) -> None:
    new = storage(CEPH)
    hosts = await put(database, new, [agent(), agent(), agent()])
    turns = await apply(database, [HostChange(one.monUuid, new.uuid, GONE) for one in hosts[:2]], {})
    assert turns == [], "one mon host is enough"
    shown = (await find_one(database, CephBackupStorageInventory, new.uuid)).inventories
    assert shown is not None
    assert [mon["status"] for mon in shown[0]["mons"]].count("Disconnected") == 2
    turns = await apply(database, [HostChange(hosts[2].monUuid, new.uuid, GONE)], {new.uuid: {"availableCapacity": 7}})
    assert [(turn.uuid, turn.after) for turn in turns] == [(new.uuid, GONE)]
    shown = (await find_one(database, CephBackupStorageInventory, new.uuid)).inventories
    assert shown is not None
    assert (shown[0]["status"], shown[0]["availableCapacity"]) == ("Disconnected", 7)


async def test_a_capacity_is_stale_when_no_host_has_a_fresh_one(database: Database) -> None:
    new = storage(CEPH)
    hosts = await put(database, new, [agent(), agent()])

    async def stale() -> bool:
        shown = (await find_one(database, CephBackupStorageInventory, new.uuid)).inventories
        assert shown is not None
        return bool(shown[0]["capacityStale"])

    for fresh in ((False, True), (False, False), (True, False), (True, True)):
        for one, its in zip(hosts, fresh, strict=True):  # one write each, as by two nodes
            await apply(database, [HostChange(one.monUuid, new.uuid, Health("Connected", fresh=its))], {})
        assert await stale() == (not any(fresh))
    await Mons(database).remove(hosts[:1], [])
    assert not await stale()


async def test_an_older_measurement_does_not_replace_a_newer_one(database: Database) -> None:
    new = storage()
    await put(database, new, [agent()])
    for date, available in ((20, 3), (10, 4)):
        await apply(database, [], {new.uuid: {"availableCapacity": available, "capacityDate": date}})
    shown = (await find_one(database, ImageStoreBackupStorageInventory, new.uuid)).inventories
    assert shown is not None
    assert shown[0]["availableCapacity"] == 3


async def test_changes_of_what_was_deleted_are_void(database: Database) -> None:
    new = storage()
    hosts = await put(database, new, [agent()])
    await Fleet(database).remove(new.uuid, owe(new))
    assert await apply(database, [HostChange(hosts[0].monUuid, new.uuid, GONE)], {new.uuid: CAPACITY}) == []


async def test_a_host_that_comes_while_its_storage_goes_is_refused_or_cleaned(database: Database) -> None:
    for _ in range(20):
        new, at, late = storage(CEPH), agent(), agent()
        await put(database, new, [at])
        added, agents = await asyncio.gather(
            Mons(database).add(new.uuid, [replace(host(new, late), hostname="late")], [late], {}),
            Fleet(database).remove(new.uuid, owe(new)),
            return_exceptions=True,
        )
        assert added is None or isinstance(added, ResourceNotFound)
        assert agents == sorted([at.uuid, late.uuid] if added is None else [at.uuid])


async def test_what_is_expected_takes_the_place_of_what_was_owed(database: Database) -> None:
    fleet, at, other, new = Fleet(database), agent(), agent(), storage()
    await put(database, new, [at])
    await fleet.remove(new.uuid, owe(new))
    expected = replace(owe(new)(at.uuid), dueDate=100, removePool={"poolName": "images"})
    elsewhere = replace(expected, commandUuid=uuid4().hex, agentUuid=other.uuid)
    for record, owed in ((at, expected), (other, elsewhere)):
        await Debts(database).expect(record, owed)
        assert await Debts(database).due(record.uuid, 99) == []
        assert await Debts(database).due(record.uuid, 100) == [owed]
    await Debts(database).fall_due(elsewhere.commandUuid)
    assert await Debts(database).due(other.uuid, 0) == [replace(elsewhere, dueDate=0)]
    seen = {one.record.uuid: one.owed async for one in watched(database, [at.uuid, other.uuid])}
    assert seen == {at.uuid: True, other.uuid: True}
    far = replace(expected, commandUuid=uuid4().hex, dueDate=int(time.time()) + 100)
    await Debts(database).expect(at, far)
    assert [one.owed async for one in watched(database, [at.uuid])] == [False]
    await put(database, new, [at], expected=[far])
    assert await Debts(database).due(at.uuid, far.dueDate) == [], "it has arrived"
    assert len(await Debts(database).due(other.uuid, 0)) == 1


async def test_changes_of_many_storages_at_once(database: Database) -> None:
    at = agent()
    hosts = [(await put(database, storage(url=f"/{number}"), [at]))[0] for number in range(30)]
    changes = [HostChange(one.monUuid, one.backupStorageUuid, GONE) for one in hosts]
    turns = await apply(database, changes, {one.backupStorageUuid: CAPACITY for one in hosts})
    assert {turn.uuid for turn in turns} == {one.backupStorageUuid for one in hosts}
    assert await apply(database, changes, {}) == []


async def test_two_nodes_that_write_one_storage_do_not_miss_each_other(database: Database) -> None:
    new = storage(CEPH)
    hosts = await put(database, new, [agent(), agent()])
    for health in (GONE, Health("Connected"), GONE):
        writes = (
            apply(database, [HostChange(one.monUuid, new.uuid, health)], {new.uuid: {"availableCapacity": number}})
            for number, one in enumerate(hosts)
        )
        await asyncio.gather(*writes)
        read = await Fleet(database).storage(new.uuid)
        assert read is not None
        assert (read.status, read.statusReason) == (health.status, health.reason)


async def test_one_process_has_all_agents_on_sqlite(database: Database) -> None:
    agents = [agent() for _ in range(3)]
    await put(database, storage(), agents)
    assert set(await claim(database, "only", 60)) == {one.uuid for one in agents}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_leases(database: Database) -> None:
    agents = [agent() for _ in range(11)]
    await put(database, storage(), agents)
    everything = {one.uuid for one in agents}
    assert set(await claim(database, "first", 60)) == everything
    for _ in range(5):  # the nodes come to a balance, and no agent is ever without a node or with two of them
        second, first = set(await claim(database, "second", 60)), set(await claim(database, "first", 60))
        assert not first & second
        assert first | second == everything
    assert {len(first), len(second)} == {5, 6}
    async with database.writing() as connection:
        died = tables.agent.c.leaseOwner == "second"
        await connection.execute(update(tables.agent).where(died).values(leaseDate=1))
    assert set(await claim(database, "first", 60)) == everything, "what a dead node leaves is taken"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_nodes_that_claim_at_once_share(database: Database) -> None:
    agents = [agent() for _ in range(20)]
    await put(database, storage(), agents)
    for _ in range(6):
        await asyncio.gather(*(claim(database, f"node {number}", 60) for number in range(4)))
    claims = [await claim(database, f"node {number}", 60) for number in range(4)]
    async with database.reading() as connection:
        rows = (await connection.execute(select(tables.agent.c.leaseOwner))).scalars().all()
    assert min(rows.count(f"node {number}") for number in range(4)) >= 2
    assert {uuid for some in claims for uuid in some} == {one.uuid for one in agents}


async def test_what_is_watched(database: Database) -> None:
    at, other, new = agent(), agent(), storage()
    hosts = await put(database, new, [at])
    gone = storage(url="/gone")
    await put(database, gone, [other])
    fleet = Fleet(database)
    await fleet.remove(gone.uuid, owe(gone))
    (owed,) = await Debts(database).due(other.uuid, 0)
    seen = {one.record.uuid: one async for one in watched(database, [at.uuid, other.uuid, "unknown"])}
    assert seen.keys() == {at.uuid, other.uuid}
    assert [one.mon_uuid for one in seen[at.uuid].hosts] == [hosts[0].monUuid]
    assert (seen[at.uuid].owed, seen[other.uuid].owed) == (False, True)

    assert await Debts(database).expired(5) == []
    assert await Debts(database).expired(6) == [owed]
    again = uuid4().hex
    await Debts(database).try_again(owed, again, "hung")
    assert await Debts(database).due(other.uuid, 0) == [replace(owed, commandUuid=again, lastError="hung")]
    assert await fleet.unused_agents() == [], "it is owed something"
    await Debts(database).settle(again)
    assert await fleet.unused_agents() == [other]


async def test_new_trust(database: Database) -> None:
    fleet, new, at = Fleet(database), storage(), agent()
    hosts = await put(database, new, [at])
    renewed = replace(at, fingerprint="e" * 64)
    await fleet.trust(renewed, hosts[0], "ssh-ed25519 AAAA", "SHA256:x")
    await fleet.trust(renewed, hosts[0], "ssh-ed25519 BBBB", "SHA256:y")
    await fleet.trust(renewed, hosts[0], "", "")
    assert await fleet.agents([at.uuid]) == {at.uuid: renewed}
    read = await fleet.host(hosts[0].monUuid)
    assert read is not None
    assert read.sshHostKey == "ssh-ed25519 BBBB"
    assert sorted(await fleet.system_tags(new.uuid)) == ["a", "sshHostKey::SHA256:y"]
