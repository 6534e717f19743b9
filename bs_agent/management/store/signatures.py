"""The SQL of used signatures: what an access key signed counts once, on all nodes and after a restart too."""

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from bs_agent.management.store.database import Database
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.tables import used_signature


@each_repeated
class SignatureStore:
    """Reads and writes the first uses of signatures, which are named by their hashes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def age(self, digest: str) -> float | None:
        """Return how many seconds ago a signature was used first; None when no use is known."""
        wanted = select(self._database.moment() - used_signature.c.usedDate).where(used_signature.c.hash == digest)
        async with self._database.reading() as connection:
            return (await connection.execute(wanted)).scalar_one_or_none()

    async def add(self, ages: Mapping[str, float], keep: float) -> None:
        """Store first uses of so many seconds ago, and forget those that are older than `keep` seconds."""
        dialect = sqlite if self._database.is_sqlite else postgresql
        async with self._database.writing() as connection:
            now = await self._database.now(connection)
            rows = [{"hash": digest, "usedDate": now - age} for digest, age in ages.items()]
            await connection.execute(dialect.insert(used_signature).on_conflict_do_nothing(), rows)
            old = ~used_signature.c.usedDate.between(now - keep, now + keep)  # or of a clock that was ahead
            await connection.execute(delete(used_signature).where(old))
