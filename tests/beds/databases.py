"""Databases with this version's tables: the migration makes them once, and each test gets a copy."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import migrate

FILE = "management.db"


def make_tables(url: str) -> None:
    """Bring an empty database to this version's tables; an event loop may run meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _migrated(url)).result()


def sqlite_with_tables(folder: Path) -> str:
    """Return the URL of the SQLite database in a folder; what is there already stays as it is."""
    file = folder / FILE
    if not file.exists():
        file.touch(0o600)
        file.write_bytes(_sqlite_tables())
    return f"sqlite:///{file}"


@cache
def _sqlite_tables() -> bytes:
    with TemporaryDirectory() as folder:
        make_tables(f"sqlite:///{folder}/{FILE}")
        return Path(folder, FILE).read_bytes()


async def _migrated(url: str) -> None:
    database = Database.connect(url)
    try:
        await migrate(database)
    finally:
        await database.close()
