"""What the tests of the store share: storages with hosts that nobody runs, what hosts say, a database that refuses."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from bs_agent.contract.report import CephReport, Cluster, DirectoryUsage, ImageStoreReport, LocalMon, Pool, Section
from bs_agent.management.model.health import Health
from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import backup_storage
from tests.beds.stores import Stores, agent, storage

_TRIGGER = "CREATE TRIGGER refuse BEFORE UPDATE ON {table}"
_REFUSE = {
    True: [_TRIGGER + """ WHEN NEW."{column}" LIKE '{like}' BEGIN SELECT RAISE(ABORT, 'refused'); END"""],
    False: [
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW."{column}"::text LIKE '{like}' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$""",
        _TRIGGER + " FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}


@dataclass
class Known:
    """A storage with its hosts, all of them Connected with fresh numbers."""

    of: Stores
    uuid: str
    mons: list[str]

    async def row(self, *columns: str) -> tuple[Any, ...]:
        """Return columns of its row."""
        query = select(*(backup_storage.c[name] for name in columns)).where(backup_storage.c.uuid == self.uuid)
        async with self.of.database.reading() as connection:
            return tuple((await connection.execute(query)).one())

    async def set(self, **columns: int) -> None:
        """Write columns of its row."""
        async with self.of.database.writing() as connection:
            mine = update(backup_storage).where(backup_storage.c.uuid == self.uuid)
            await connection.execute(mine.values(**columns))

    async def available(self) -> int:
        """Return its available capacity."""
        (found,) = await self.row("availableCapacity")
        return int(found)

    async def health(self, which: int = 0) -> Health:
        """Return the health of one of its hosts."""
        host = await self.of.hosts.find(self.mons[which])
        assert host is not None
        return host.health

    async def now(self) -> float:
        """Return the database's clock."""
        async with self.of.database.reading() as connection:
            return await self.of.database.now(connection)


async def known(of: Stores, hosts: int = 1) -> Known:
    """Add a storage with so many hosts."""
    new = storage()
    found = await of.put(new, [agent() for _ in range(hosts)], capacityFresh=True)
    return Known(of, new.uuid, [host.monUuid for host in found])


def report(available: int, age: float = 0.0, *, stale: bool = False, collected: float = 0.0) -> ImageStoreReport:
    """Return what a host reports; its numbers are not held against the bounds of the protocol."""
    usage = DirectoryUsage.model_construct(
        totalCapacity=1000, availableCapacity=available, totalInodes=2, availableInodes=1, readOnly=False
    )
    section = Section[DirectoryUsage].model_construct(value=usage, ageSeconds=age, collectedAt=collected, stale=stale)
    return ImageStoreReport.model_construct(uuid="0" * 32, url="/x", usage=section)


def pool_report(available: int, stored: int, cluster_age: float, pools_age: float) -> CephReport:
    """Return what a mon host reports of a cluster and of its pool."""
    cluster = Cluster(
        fsid="f", totalCapacity=1000, availableCapacity=available, health="", checks=[], mgrActive=True, vendor=""
    )
    pool = Pool(
        id=1, name="pool", securityPolicy="Copy", replicatedSize=3, crushRule="", crushRoot="", failureDomain="",
        relatedOsds=[], usedCapacity=1, availableCapacity=1, totalCapacity=1, diskUtilization=1.0, poolMaxAvail=1,
        poolStored=stored,
    )  # fmt: skip
    return CephReport(
        uuid="0" * 32,
        poolName="pool",
        cluster=Section[Cluster](value=cluster, ageSeconds=cluster_age),
        pools=Section[list[Pool]](value=[pool], ageSeconds=pools_age),
        mons=Section(),
        localMon=Section[LocalMon](),
    )


@asynccontextmanager
async def refusing(database: Database, table: str, column: str, like: str) -> AsyncIterator[None]:
    """Have the database refuse rows of a table whose column is like something, while the context is open."""
    await run(database, *(one.format(table=table, column=column, like=like) for one in _REFUSE[database.is_sqlite]))
    try:
        yield
    finally:
        await run(database, "DROP TRIGGER refuse" + ("" if database.is_sqlite else f" ON {table}"))


@asynccontextmanager
async def read_only(database: Database) -> AsyncIterator[None]:
    """Have the database accept no writes while the context is open."""
    if database.is_sqlite:
        event.listen(database.engine.sync_engine, "connect", _only_query)
    else:
        name = await name_of(database)
        await run(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await database.close()  # other connections, which see it
    try:
        yield
    finally:
        if database.is_sqlite:
            event.remove(database.engine.sync_engine, "connect", _only_query)
        else:
            await run(database, "SET TRANSACTION READ WRITE", f"ALTER DATABASE {name} RESET ALL")
        await database.close()


async def name_of(database: Database) -> str:
    """Return the name of a database on PostgreSQL."""
    async with database.reading() as connection:
        return str(await connection.scalar(text("SELECT current_database()")))


def _only_query(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")


async def run(database: Database, *statements: str) -> None:
    """Run statements in one transaction."""
    async with database.writing() as connection:
        for one in statements:
            await connection.execute(text(one))


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
