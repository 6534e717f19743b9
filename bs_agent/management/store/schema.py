"""Brings the database to the tables that this version wants, or says why it will not touch it.

Alembic is imported only when there is something to do: it costs a third of a second and 40 MiB.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, delete, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.tables import access_key, agent, compatible, host

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
REVISIONS = tuple(sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")))
HEAD = REVISIONS[-1]
_AWAY = "Start PostgreSQL, let it take connections from here, and check host, port and user in database.url."
_LOCK = 0x62732D61


class SchemaError(Exception):
    """The database cannot be used: unreachable, foreign, or of a version with which this one does not go on."""


async def migrate(database: Database) -> str:
    """Bring the tables to this version's; returns what was done as a sentence. Safe to run on several nodes at once.

    Newer tables are left as they are where they say that this version goes on with them: so nodes are upgraded one
    after the other.

    Raises:
        SchemaError: the database is unreachable, foreign, or newer than what this version goes on with.
    """
    try:
        async with database.writing() as connection:
            if not database.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            return await connection.run_sync(_migrate, database.name)
    except DatabaseUnavailable as error:
        raise SchemaError(f"{database.name}: {error.details} -> {_AWAY}") from error
    except DBAPIError as error:
        raise SchemaError(f"{database.name}: {error.orig}") from error


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Hold the database, brought to this version's tables, while the context is open.

    Raises:
        SchemaError: it cannot be used.
    """
    database = Database.connect(url)
    try:
        await migrate(database)
        yield database
    finally:
        await database.close()


async def any_secret(database: Database) -> str | None:
    """Return one of the stored secrets, to try the key with, or None when there is none."""
    tokens = select(agent.c.tokenSecret)
    passwords = select(host.c.sshPasswordSecret).where(host.c.sshPasswordSecret.is_not(None))
    keys = select(access_key.c.keySecret)
    async with database.reading() as connection:
        for secrets in (tokens, passwords, keys):
            if found := (await connection.execute(secrets.limit(1))).scalar():
                return str(found)
    return None


def _migrate(connection: Connection, name: str) -> str:
    tables = set(inspect(connection).get_table_names())
    current = ""
    if "alembic_version" in tables:
        current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""
    elif tables:
        raise SchemaError(
            f"{name}: holds tables of something else ({', '.join(sorted(tables)[:5])}); name an empty database"
        )
    if current == HEAD:
        return f"{name}: the tables are at {HEAD}, nothing to do"
    if "compatible" in tables and current > HEAD >= (
        connection.execute(select(compatible.c.oldest)).scalar() or current
    ):
        done = f"{name}: the tables are at {current}, with which this version goes on as it does with {HEAD}"
        log.warning(done)
        return done
    if current and current not in REVISIONS:
        raise SchemaError(
            f"{name}: its tables are at {current}, and this version knows up to {HEAD}; "
            "start the version that wrote it, or restore a backup"
        )
    oldest = _upgrade(connection)
    connection.execute(delete(compatible))
    connection.execute(insert(compatible).values(oldest=oldest))
    done = f"{name}: the tables were brought from {current or 'nothing'} to {HEAD}"
    log.info(done)
    return done


def _upgrade(connection: Connection) -> str:
    """Do what is left of the migrations; return the oldest revision whose programs go on with the outcome."""
    from alembic import command  # noqa: PLC0415  see the module's docstring
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
    return str(ScriptDirectory.from_config(config).get_revision(HEAD).module.oldest)
