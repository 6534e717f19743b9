"""Hosts: one on each machine of a storage, their names and pinned keys, and what is known of them over SSH."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from bs_agent.contract.errors import InvalidArgument, ResourceNotFound, StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CEPH
from bs_agent.management.model.health import Health
from bs_agent.management.model.records import AgentRecord, HostRecord
from bs_agent.management.operations.debts import cleanup
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import Held, storage_key
from tests.beds.stores import LONG, Stores, agent, host, named, nodes, slept, storage, stores

pytestmark = pytest.mark.asyncio

GONE = Health("Disconnected", Reason(code=ReasonCode.AGENT_UNREACHABLE, details="seen"))
SSH: dict[str, Any] = {
    "sshUsername": "root",
    "sshPasswordSecret": "secret",
    "sshHostKey": "ssh-ed25519 AAAA",
    "sshPort": 2222,
}


async def names(of: Stores, storage_uuid: str) -> list[str]:
    return [record.hostname for record in await of.hosts.of(storage_uuid)]


async def test_hosts_are_read_again_in_the_order_in_which_they_came(database: Database) -> None:
    new, first, late = storage(CEPH), agent("first"), agent("late")
    async with stores(database, LONG) as one:
        (there,) = await one.put(new, [first])
        await one.meet(late)
        coming = replace(host(new, late), monAddr="10.0.0.2", **SSH).being(GONE)
        async with one.turn(storage_key(new.uuid)) as held:
            await one.hosts.add(held, [coming], [late], ["sshHostKey::late::SHA256:x"])
        assert sorted(await one.hosts.of(new.uuid), key=lambda one: one.hostname) == [there, coming]
        assert await one.hosts.find(coming.monUuid) == coming
        assert await one.hosts.find(uuid4().hex) is None
        assert sorted(await one.storages.system_tags(new.uuid)) == ["a", "sshHostKey::late::SHA256:x"]
        assert await one.agents.hostnames(late.uuid) == ["late"]


async def test_a_machine_is_one_host_of_a_storage(database: Database) -> None:
    new, at, other = storage(CEPH), agent("here"), agent("there")
    async with stores(database, LONG) as one:
        (here,) = await one.put(new, [at])
        await one.meet(other)
        again = replace(host(new, at), hostname="there")
        async with one.turn(storage_key(new.uuid)) as held:
            for coming in ([again], [host(new, other), replace(host(new, other), hostname="third")]):
                debts = [cleanup(held, new, record.agentUuid or "") for record in coming]
                await one.debts.write(held, debts)
                with pytest.raises(InvalidArgument, match="are one machine"):
                    await one.hosts.add(held, coming, [at, other], ["sshHostKey::there::SHA256:x"])
            assert await names(one, new.uuid) == ["here"]
            assert await one.storages.system_tags(new.uuid) == ["a"]
            assert await one.agents.places(at.uuid) == [("here", 7765)]
            assert set(await one.owed()) == {at.uuid, other.uuid}, "it is still owed what was feared"

            await one.hosts.add(held, [host(new, other)], [other], [])
            with pytest.raises(InvalidArgument, match="are one machine"):
                await one.hosts.change(held, replace(here, agentUuid=other.uuid), here, other, key="")
            assert await one.hosts.find(here.monUuid) == here


async def test_a_machine_may_serve_several_storages(database: Database) -> None:
    at = agent("here")
    async with stores(database, LONG) as one:
        for number in range(3):
            await one.put(storage(url=f"/{number}"), [at], hostname=f"name-{number}")
        assert sorted(await one.agents.hostnames(at.uuid)) == ["name-0", "name-1", "name-2"]
        places = [("here", 7765), *((f"name-{number}", 7765) for number in range(3))]
        assert await one.agents.places(at.uuid) == places


async def test_removed_hosts_leave_no_tags_and_are_owed_their_cleanup(database: Database) -> None:
    new, agents = storage(CEPH), [agent("mon"), agent("mon-2"), agent("fd00::1")]
    async with stores(database, LONG) as one:
        hosts = await one.put(new, agents[:1])
        async with one.turn(storage_key(new.uuid)) as held:
            await one.meet(*agents[1:])
            keys = [f"sshHostKey::{record.hostname}::SHA256:x" for record in agents]
            hosts += [host(new, record) for record in agents[1:]]
            await one.hosts.add(held, hosts[1:], agents[1:], keys)
            debts = [cleanup(held, new, record.uuid, host_only=True) for record in (agents[0], agents[2])]
            await one.hosts.remove(held, [hosts[0], hosts[2]], debts)
        assert await names(one, new.uuid) == ["mon-2"]
        assert sorted(await one.storages.system_tags(new.uuid)) == ["a", keys[1]]
        assert sorted(await one.owed()) == sorted(record.uuid for record in (agents[0], agents[2]))


async def test_a_user_tag_that_looks_like_a_key_stays(database: Database) -> None:
    new, at = storage(), agent()
    async with stores(database, LONG) as one:
        (there,) = await one.put(new, [at])
        async with database.writing() as connection:
            await connection.execute(text("UPDATE tag SET tag = 'sshHostKey::mine' WHERE type = 'User'"))
        async with one.turn(storage_key(new.uuid)) as held:
            await one.hosts.change(held, there, there, at, key="SHA256:x")
            await one.hosts.remove(held, [there], [])
        async with database.reading() as connection:
            left = (await connection.execute(text("SELECT tag FROM tag WHERE type = 'User'"))).scalars().all()
        assert left == ["sshHostKey::mine"]


async def change(of: Stores, record: HostRecord, before: HostRecord, key: str = "") -> None:
    its = (await of.agents.find([record.agentUuid]))[record.agentUuid or ""]
    async with of.turn(storage_key(record.backupStorageUuid)) as held:
        await of.hosts.change(held, record, before, its, key=key)


async def test_the_key_that_is_trusted_is_shown_under_the_hosts_name(database: Database) -> None:
    new, at = storage(CEPH), agent("mon")
    async with stores(database, LONG) as one:
        (before,) = await one.put(new, [at])
        keyed = replace(before, sshHostKey="ssh-ed25519 AAAA")
        await change(one, keyed, before, "SHA256:x")
        assert sorted(await one.storages.system_tags(new.uuid)) == ["a", "sshHostKey::mon::SHA256:x"]
        again = replace(keyed, sshHostKey="ssh-ed25519 BBBB")
        await change(one, again, keyed, "SHA256:y")
        await change(one, again, again)
        assert sorted(await one.storages.system_tags(new.uuid)) == ["a", "sshHostKey::mon::SHA256:y"]
        renamed = replace(again, hostname="other", monAddr="10.0.0.1", **SSH)
        await change(one, renamed, again)
        assert sorted(await one.storages.system_tags(new.uuid)) == ["a", "sshHostKey::other::SHA256:y"]
        assert await one.hosts.find(before.monUuid) == renamed
        assert await one.agents.places(at.uuid) == [("mon", 7765), ("other", 7765)]
        back = replace(renamed, hostname="mon")
        await change(one, back, renamed, "SHA256:z")
        assert sorted(await one.storages.system_tags(new.uuid)) == ["a", "sshHostKey::mon::SHA256:z"]


async def test_the_only_host_of_an_image_store_shows_its_key_without_a_name(database: Database) -> None:
    new, at = storage(), agent("host")
    async with stores(database, LONG) as one:
        (there,) = await one.put(new, [at])
        for key in ("SHA256:x", "SHA256:y", ""):
            await change(one, there, there, key)
        assert sorted(await one.storages.system_tags(new.uuid)) == ["a", "sshHostKey::SHA256:y"]


async def test_a_host_behind_another_agent_is_owed_what_its_old_one_has(database: Database) -> None:
    new, old, now = storage(), agent("host"), agent("host")
    async with stores(database, LONG) as one:
        (there,) = await one.put(new, [old])
        await one.meet(now)
        async with one.turn(storage_key(new.uuid)) as held:
            feared = cleanup(held, new, now.uuid)
            await one.debts.write(held, [feared])
            left = cleanup(held, new, old.uuid, host_only=True)
            await one.hosts.change(held, replace(there, agentUuid=now.uuid), there, now, key="", debts=[left])
        assert await one.debts.serving(new.uuid) == {now.uuid}
        assert await one.debts.due(old.uuid) == [left]
        assert await one.debts.due(now.uuid) == [], "it has arrived"
        assert await one.agents.places(now.uuid) == [("host", 7765)]
        assert await one.agents.places(old.uuid) == []


async def test_how_a_host_is_goes_by_another_way(database: Database) -> None:
    new, at = storage(), agent()
    async with stores(database, LONG) as one:
        (there,) = await one.put(new, [at])
        await change(one, replace(there.being(GONE), hostname="other"), there)
        assert await one.hosts.find(there.monUuid) == replace(there, hostname="other")


async def test_a_removed_host_is_not_changed(database: Database) -> None:
    new, at = storage(CEPH), agent()
    async with stores(database, LONG) as one:
        (there,) = await one.put(new, [at])
        async with one.turn(storage_key(new.uuid)) as held:
            await one.hosts.remove(held, [there], [])
            with pytest.raises(ResourceNotFound, match=there.monUuid):
                await one.hosts.change(held, there, there, at, key="SHA256:x")
        assert await one.storages.system_tags(new.uuid) == ["a"]


async def come(to: Stores, storage_uuid: str, coming: HostRecord, late: AgentRecord) -> bool:
    held = await to.operations.take(storage_key(storage_uuid), "change")
    if not isinstance(held, Held):
        return False
    if is_there := await to.storages.find(storage_uuid):
        await to.hosts.add(held, [coming], [late], [])
    await to.operations.end(held, None)
    return is_there is not None


async def go(of: Stores, storage_uuid: str) -> bool:
    held = await of.operations.take(storage_key(storage_uuid), "delete")
    if not isinstance(held, Held):
        return False
    agents = await of.debts.serving(storage_uuid)
    await of.storages.remove(held, storage_uuid, [cleanup(held, named(storage_uuid), uuid or "") for uuid in agents])
    await of.operations.end(held, None)
    return True


async def test_a_host_does_not_come_while_its_storage_goes(database: Database) -> None:
    async with nodes(database) as (one, other):
        for number in range(10):
            new, at, late = replace(storage(CEPH), poolName=f"pool-{number}"), agent(), agent()
            await one.put(new, [at])
            await one.meet(late)
            came, went = await asyncio.gather(come(one, new.uuid, host(new, late), late), go(other, new.uuid))
            assert came or went
            served = {at.uuid, late.uuid} if came else {at.uuid}
            owed = {debt.agentUuid for debt in await one.debts.of_storage(new.uuid)}
            serving = await one.debts.serving(new.uuid)
            assert (serving, owed) == ((set(), served) if went else (served, set()))


async def test_a_node_that_slept_writes_nothing_of_hosts(database: Database) -> None:
    new, at, late = storage(CEPH), agent(), agent()
    async with nodes(database) as (one, other):
        (there,) = await one.put(new, [at])
        await one.meet(late)
        held = await slept(one, other, storage_key(new.uuid))
        debts = [cleanup(held, new, at.uuid)]
        for writing in (
            one.hosts.add(held, [host(new, late)], [late], ["sshHostKey::late::SHA256:x"]),
            one.hosts.remove(held, [there], debts),
            one.hosts.change(held, replace(there, hostname="other"), there, at, key="SHA256:x", debts=debts),
        ):
            with pytest.raises(StorageProblem, match="has lost its lease"):
                await writing
        assert await one.hosts.of(new.uuid) == [there]
        assert await one.storages.system_tags(new.uuid) == ["a"]
        assert await one.owed() == []
