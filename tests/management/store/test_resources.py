"""No two resources of whatever kind share a uuid, and what belongs to a resource goes with it, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from bs_agent.contract.errors import InvalidArgument
from bs_agent.management.store.database import Database
from bs_agent.management.store.resources import refuse_taken_uuid, release
from bs_agent.management.store.tables import backup_storage, host, resource, tag, zone
from bs_agent.management.store.tags import Tagged, TagStore, put_tags
from bs_agent.management.store.zones import ZoneStore
from tests.management.server import ceph_row, mon_row, put_storage, storage_row

pytestmark = pytest.mark.asyncio

UUID = "a" * 32


async def _add_zone(database: Database, uuid: str | None = None, *, is_default: bool = False) -> str:
    return await ZoneStore(database).add(
        "z", None, is_default=is_default, uuid=uuid, system_tags=["s"], user_tags=["u"]
    )


async def _add_storage(database: Database, uuid: str = UUID) -> str:
    async with database.writing() as connection:
        await put_storage(connection, storage_row(uuid=uuid))
        await put_tags(connection, Tagged("BackupStorageVO", uuid), "User", ["u"])
    return uuid


async def _rows(database: Database) -> dict[str, int]:
    async with database.reading() as connection:
        return {
            table.name: len((await connection.execute(select(table))).all())
            for table in (resource, zone, backup_storage, host, tag)
        }


async def test_of_many_that_want_one_uuid_at_once_one_gets_it(database: Database) -> None:
    wanted = [_add_zone(database, UUID) for _ in range(3)] + [_add_storage(database) for _ in range(3)]
    outcomes = await asyncio.gather(*wanted, return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, str)] == [UUID]
    refused = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    assert {type(outcome) for outcome in refused} == {InvalidArgument}
    said = f"field[resourceUuid]: there is a resource[uuid:{UUID}] already; give a new one, or none"
    assert {str(outcome) for outcome in refused} == {said}
    rows = await _rows(database)
    assert (rows["resource"], rows["zone"] + rows["backup_storage"]) == (1, 1)
    assert rows["tag"] == (2 if rows["zone"] else 1), "the others left nothing"


class _GivenUpError(Exception):
    pass


@asynccontextmanager
async def _claimed_meanwhile(database: Database, *, committed: bool) -> AsyncIterator[asyncio.Task[str]]:
    """Claim the uuid, let a zone want it before that is committed, and yield the zone's call after the end."""
    with suppress(_GivenUpError):
        async with database.writing() as connection:
            await put_storage(connection, storage_row(uuid=UUID))
            waiting = asyncio.create_task(_add_zone(database, UUID))
            done, _ = await asyncio.wait([waiting], timeout=0.5)
            assert not done
            if not committed:
                raise _GivenUpError
    yield waiting


async def test_who_comes_while_another_is_not_done_yet_waits_for_its_end(database: Database) -> None:
    async with _claimed_meanwhile(database, committed=False) as waiting:
        assert await waiting == UUID
    await ZoneStore(database).delete(UUID)
    async with _claimed_meanwhile(database, committed=True) as waiting:
        with pytest.raises(InvalidArgument, match="there is a resource"):
            await waiting


async def test_a_uuid_of_any_kind_is_taken(database: Database) -> None:
    storage = ceph_row()
    mon = mon_row(storage["uuid"], "mon-1")
    async with database.writing() as connection:
        await put_storage(connection, storage)
        await connection.execute(insert(host), [mon])
    made = await _add_zone(database)
    (tagged,) = await TagStore(database).add(Tagged("ZoneVO", made), "User", ["x"]) or []
    for taken in (storage["uuid"], mon["monUuid"], made, tagged):
        with pytest.raises(InvalidArgument, match="there is a resource"):
            await refuse_taken_uuid(database, taken)
        with pytest.raises(InvalidArgument, match="there is a resource"):
            await _add_zone(database, taken)
    await refuse_taken_uuid(database, UUID)


async def test_what_belongs_to_a_resource_goes_with_it(database: Database) -> None:
    storage = ceph_row(uuid=UUID)
    async with database.writing() as connection:
        await put_storage(connection, storage)
        await connection.execute(insert(host), [mon_row(UUID, "mon-1")])
        await put_tags(connection, Tagged("BackupStorageVO", UUID), "System", ["s"])
    made = await _add_zone(database)
    await ZoneStore(database).attach(made, UUID)
    await ZoneStore(database).delete(UUID)  # it is no zone
    assert (await _rows(database))["backup_storage"] == 1
    async with database.writing() as connection:
        await release(connection, "BackupStorageVO", UUID)
    assert await _rows(database) == {"resource": 1, "zone": 1, "backup_storage": 0, "host": 0, "tag": 2}
    await ZoneStore(database).delete(made)
    assert set((await _rows(database)).values()) == {0}
    assert await _add_zone(database, UUID) == UUID, "it is free again"


async def test_what_is_gone_gets_no_tag(database: Database) -> None:
    assert await TagStore(database).add(Tagged("BackupStorageVO", UUID), "User", ["u"]) is None
    with pytest.raises(IntegrityError):
        async with database.writing() as connection:
            await put_tags(connection, Tagged("BackupStorageVO", UUID), "User", ["u"])
    assert (await _rows(database))["tag"] == 0


async def test_a_resource_that_is_tagged_while_it_goes_leaves_no_tag(database: Database) -> None:
    for _ in range(5):
        await _add_zone(database, UUID)
        texts = [[f"t{number}"] for number in range(5)]
        tagging = [TagStore(database).add(Tagged("ZoneVO", UUID), "User", some) for some in texts]
        await asyncio.gather(*tagging, ZoneStore(database).delete(UUID))
        assert set((await _rows(database)).values()) == {0}


async def test_of_many_default_zones_at_once_one_is_the_default(database: Database) -> None:
    for _ in range(2):  # at first there is none, then there is one before
        made = await asyncio.gather(*(_add_zone(database, is_default=True) for _ in range(6)))
        assert len(set(made)) == 6
        async with database.reading() as connection:
            defaults = (await connection.execute(select(zone.c.uuid).where(zone.c.isDefault))).scalars().all()
        assert len(defaults) == 1
        assert defaults[0] in made


async def test_the_database_itself_has_one_default_zone_at_most(database: Database) -> None:
    await _add_zone(database, is_default=True)
    other = await _add_zone(database)
    with pytest.raises(IntegrityError):
        async with database.writing() as connection:
            await connection.execute(zone.update().where(zone.c.uuid == other).values(isDefault=True))
