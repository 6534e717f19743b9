"""What an operator changes in the whole database: the address of a host that has moved, under however many names."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from bs_agent.contract.errors import InvalidArgument, ResourceNotFound
from bs_agent.contract.report import CEPH
from bs_agent.management.store import tables
from bs_agent.management.store.database import Database
from bs_agent.management.store.operations import storage_key
from bs_agent.management.store.upkeep import rename_host
from tests.beds.stores import LONG, Stores, agent, host, storage, stores

pytestmark = pytest.mark.asyncio


async def everything(database: Database) -> list[set[tuple[object, ...]]]:
    """Return all that names hosts."""
    named = (tables.agent, tables.agent_address, tables.host, tables.backup_storage, tables.tag)
    async with database.reading() as connection:
        return [{tuple(row) for row in await connection.execute(select(table))} for table in named]


async def reached(of: Stores, uuid: str) -> tuple[str, list[tuple[str, int]]]:
    return (await of.agents.find([uuid]))[uuid].hostname, await of.agents.places(uuid)


async def test_a_host_that_moved_is_reached_at_its_new_address_in_all_storages(database: Database) -> None:
    at, beside = agent("old"), agent("older")
    images, more = replace(storage(), hostname="old"), replace(storage(url="/more"), hostname="old")
    pool = storage(CEPH)
    async with stores(database, LONG) as one:
        for new in (images, more):
            await one.put(new, [at])
        await one.put(pool, [at, beside])
        async with one.turn(storage_key(pool.uuid)) as held:
            for each in await one.hosts.of(pool.uuid):
                its = at if each.agentUuid == at.uuid else beside
                await one.hosts.change(held, each, each, its, key=f"SHA256:{its.hostname}")
        assert await rename_host(database, "old", "new") == (1, 3)
        assert await reached(one, at.uuid) == ("new", [("new", 7765)])
        assert await reached(one, beside.uuid) == ("older", [("older", 7765)])
        for new in (images, more):
            found = await one.storages.find(new.uuid)
            assert found == replace(new, hostname="new")
            assert [each.hostname for each in await one.hosts.of(new.uuid)] == ["new"]
        assert {each.hostname for each in await one.hosts.of(pool.uuid)} == {"new", "older"}
        keys = ["a", "sshHostKey::new::SHA256:old", "sshHostKey::older::SHA256:older"]
        assert sorted(await one.storages.system_tags(pool.uuid)) == keys


async def test_what_else_a_machine_is_known_as_stays(database: Database) -> None:
    at, first, second = agent("first"), storage(), storage(url="/second")
    async with stores(database, LONG) as one:
        await one.put(first, [at], hostname="first")
        await one.put(second, [at], hostname="second")
        assert await reached(one, at.uuid) == ("first", [("first", 7765), ("second", 7765)])
        # It is reached as "first" now, so "second" is a name of its hosts and places alone.
        assert await rename_host(database, "second", "third") == (1, 1)
        assert await reached(one, at.uuid) == ("first", [("first", 7765), ("third", 7765)])
        assert [each.hostname for each in await one.hosts.of(second.uuid)] == ["third"]
        assert [each.hostname for each in await one.hosts.of(first.uuid)] == ["first"]
        assert await rename_host(database, "first", "third") == (1, 1), "it is known so already"
        assert await reached(one, at.uuid) == ("third", [("third", 7765)])
        assert await one.agents.hostnames(at.uuid) == ["third"]


async def test_agents_on_several_ports_of_an_address_move_together(database: Database) -> None:
    first, second = agent("old"), replace(agent("old"), port=7000)
    async with stores(database, LONG) as one:
        await one.meet(first, second)
        assert await rename_host(database, "old", "new") == (2, 0)
        assert await reached(one, first.uuid) == ("new", [("new", 7765)])
        assert await reached(one, second.uuid) == ("new", [("new", 7000)])


async def test_names_that_are_unknown_or_anothers_change_nothing(database: Database) -> None:
    at, other, behind, pool = agent("old"), agent("taken"), agent("elsewhere"), storage(CEPH)
    async with stores(database, LONG) as one:
        await one.put(pool, [at, other])
        await one.meet(behind)
        async with one.turn(storage_key(pool.uuid)) as held:
            await one.hosts.add(held, [replace(host(pool, behind), hostname="behind")], [behind], [])
        before = await everything(database)
        for old, new, refusal in (
            ("unknown", "new", ResourceNotFound),
            ("OLD", "new", ResourceNotFound),
            ("old", "taken", InvalidArgument),
            ("old", "behind", InvalidArgument),
            ("old", "elsewhere", InvalidArgument),
        ):
            with pytest.raises(refusal, match=old if refusal is ResourceNotFound else new):
                await rename_host(database, old, new)
        assert await everything(database) == before


async def test_an_address_that_was_another_agents_before_is_free(database: Database) -> None:
    before, after = agent("shared"), agent("shared")
    async with stores(database, LONG) as one:
        await one.meet(before)
        await one.meet(replace(before, hostname="moved"))
        await one.meet(after)
        assert await rename_host(database, "shared", "new") == (1, 0)
        assert await reached(one, after.uuid) == ("new", [("new", 7765)])
        assert await reached(one, before.uuid) == ("moved", [("moved", 7765)])
