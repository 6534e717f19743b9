"""The SQL of the tokens by which metrics are scraped. This module sees hashes of tokens only."""

from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select

from bs_agent.management.store.database import Database
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.tables import scrape_token


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as it is listed; `created` is in Unix seconds."""

    uuid: str
    label: str
    created: int


@each_repeated
class ScrapeTokenStore:
    """Reads and writes the tokens. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, new: StoredToken, digest: str, most: int) -> bool:
        """Store a token; False when there are `most` already."""
        async with self._database.writing() as connection:
            if (await connection.execute(select(func.count()).select_from(scrape_token))).scalar_one() >= most:
                return False
            row = {"uuid": new.uuid, "label": new.label, "createDate": new.created}
            await connection.execute(insert(scrape_token).values(**row, hash=digest))
        return True

    async def all(self) -> list[StoredToken]:
        """Return all tokens, the oldest first."""
        query = select(scrape_token.c.uuid, scrape_token.c.label, scrape_token.c.createDate)
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(scrape_token.c.createDate, scrape_token.c.uuid))
            return [StoredToken(*row) for row in rows]

    async def holds(self, digest: str) -> bool:
        """Tell whether a token of this hash is stored."""
        async with self._database.reading() as connection:
            found = await connection.execute(select(scrape_token.c.uuid).where(scrape_token.c.hash == digest))
            return found.first() is not None

    async def delete(self, uuid: str) -> bool:
        """Forget a token; False when there is none of this uuid."""
        async with self._database.writing() as connection:
            return (await connection.execute(delete(scrape_token).where(scrape_token.c.uuid == uuid))).rowcount > 0
