"""The migrations lead to the tables that the code declares, and foreign databases are left alone."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from bs_agent.management.store.columns import metadata
from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import HEAD, SchemaError, migrate
from tests.beds.postgresql import PostgreSQL

pytestmark = pytest.mark.asyncio

SQLITE_SCHEMA = "SELECT name, sql FROM sqlite_master WHERE tbl_name NOT LIKE 'alembic%' ORDER BY name"
POSTGRESQL_SCHEMA = """
SELECT table_name || '.' || column_name,
  concat_ws(' ', data_type, character_maximum_length, collation_name, is_nullable)
FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'alembic%'
UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic%'
UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%'
ORDER BY 1, 2
"""


async def _declared(url: str) -> list[tuple[str, str]]:
    database = Database.connect(url)
    async with database.writing() as connection:
        await connection.run_sync(metadata.create_all)
    return await _schema(database)


async def _schema(database: Database) -> list[tuple[str, str]]:
    async with database.reading() as connection:
        rows = await connection.execute(text(SQLITE_SCHEMA if database.is_sqlite else POSTGRESQL_SCHEMA))
        found = [(name, " ".join((sql or "").split())) for name, sql in rows]
    await database.close()
    return found


async def test_migrations_and_declaration_agree_on_sqlite(tmp_path: Path) -> None:
    migrated = Database.connect(f"sqlite:///{tmp_path}/migrated.db")
    await migrate(migrated)
    assert await _schema(migrated) == await _declared(f"sqlite:///{tmp_path}/declared.db")


async def test_migrations_and_declaration_agree_on_postgresql(postgresql_server: PostgreSQL) -> None:
    migrated = Database.connect(postgresql_server.new_database())
    await migrate(migrated)
    assert await _schema(migrated) == await _declared(postgresql_server.new_database())


async def test_a_second_migration_has_nothing_to_do(database: Database) -> None:
    assert "nothing to do" in await migrate(database)


async def test_nodes_that_start_together_migrate_once(database_url: str) -> None:
    nodes = [Database.connect(database_url) for _ in range(3)]
    said = await asyncio.gather(*(migrate(node) for node in nodes))
    assert sorted("nothing to do" in sentence for sentence in said) == [False, True, True]
    for node in nodes:
        await node.close()


async def _becomes(database: Database, revision: str, oldest: str) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        await connection.execute(text("UPDATE compatible SET oldest = :oldest"), {"oldest": oldest})


async def test_a_newer_schema_that_says_so_is_gone_on_with(database: Database) -> None:
    await _becomes(database, "9999", HEAD)
    assert f"tables are at 9999, with which this version goes on as it does with {HEAD}" in await migrate(database)
    async with database.reading() as connection:
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar() == "9999"


@pytest.mark.parametrize("oldest", ["9998", "9999"])
async def test_a_newer_schema_is_refused(database: Database, oldest: str) -> None:
    await _becomes(database, "9999", oldest)
    with pytest.raises(SchemaError, match=f"its tables are at 9999, and this version knows up to {HEAD}"):
        await migrate(database)


async def test_tables_of_something_else_are_refused(database_url: str) -> None:
    database = Database.connect(database_url)
    async with database.writing() as connection:
        await connection.execute(text("CREATE TABLE recipes (name VARCHAR(10))"))
    with pytest.raises(SchemaError, match=r"holds tables of something else \(recipes\)"):
        await migrate(database)
    await database.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("just notes " * 200)
    database = Database.connect(f"sqlite:///{tmp_path}/notes.txt")
    with pytest.raises(SchemaError, match="file is not a database"):
        await migrate(database)
    await database.close()


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    database = Database.connect("postgresql://bs:hidden@127.0.0.1:1/bs")
    with pytest.raises(SchemaError) as refused:
        await migrate(database)
    assert "127.0.0.1:1" in str(refused.value)
    assert "hidden" not in str(refused.value)
    await database.close()


async def test_a_new_sqlite_file_is_private(tmp_path: Path) -> None:
    database = Database.connect(f"sqlite:///{tmp_path}/new/management.db")
    await migrate(database)
    await database.close()
    assert (tmp_path / "new/management.db").stat().st_mode & 0o777 == 0o600


async def test_alembic_is_not_imported_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/management.db"
    database = Database.connect(url)
    await migrate(database)
    await database.close()
    with closing(sqlite3.connect(tmp_path / "management.db")) as plain:
        assert plain.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    script = (
        "import asyncio, sys\n"
        "from bs_agent.management.store.database import Database\n"
        "from bs_agent.management.store.schema import migrate\n"
        f"print(asyncio.run(migrate(Database.connect({url!r}))), 'alembic' in sys.modules)"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    stdout, _ = await asyncio.wait_for(child.communicate(), 30)
    assert stdout.decode().strip().endswith("nothing to do False")
