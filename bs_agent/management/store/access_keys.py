"""The SQL of access keys. A secret is stored encrypted, and this module never sees it otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from bs_agent.management.store.database import Database
from bs_agent.management.store.events import Event, write_events
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.tables import access_key, account

Obstacle = Literal["no account", "too many", "id taken"]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """Whom a key acts for, and its secret as it is stored."""

    account_uuid: str
    account_name: str
    encrypted: str = field(repr=False)


@each_repeated
class AccessKeyStore:
    """Reads and writes access keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, uuid: str, row: Mapping[str, str | None], most: int) -> Obstacle | None:
        """Store the key; returns what is in the way, if something is."""
        owner = row["accountUuid"]
        mine = select(func.count()).select_from(access_key).where(access_key.c.accountUuid == owner)
        try:
            async with self._database.writing() as connection:
                # The account's row is locked, so that two calls do not both take the last place.
                wanted = select(account.c.name).where(account.c.uuid == owner).with_for_update()
                name = (await connection.execute(wanted)).scalar()
                if name is None:
                    return "no account"
                if (await connection.execute(mine)).scalar_one() >= most:
                    return "too many"
                now = int(await self._database.now(connection))
                await connection.execute(insert(access_key).values(**row, uuid=uuid, createDate=now, lastOpDate=now))
                about = ("AccessKeyVO", uuid, row["AccessKeyID"] or "")
                await write_events(connection, now, [Event("AccessKeyCreated", about, details=f"acts for {name}")])
        except IntegrityError:
            return "id taken"
        return None

    async def find(self, key_id: str) -> StoredKey | None:
        """Return the key of this id."""
        wanted = select(access_key.c.accountUuid, account.c.name, access_key.c.keySecret).join(account)
        async with self._database.reading() as connection:
            row = (await connection.execute(wanted.where(access_key.c.AccessKeyID == key_id))).one_or_none()
        return StoredKey(*row) if row else None

    async def delete(self, uuid: str) -> None:
        """Delete a key, if there is one."""
        async with self._database.writing() as connection:
            gone = delete(access_key).where(access_key.c.uuid == uuid).returning(access_key.c.AccessKeyID)
            events = [
                Event("AccessKeyDeleted", ("AccessKeyVO", uuid, key)) for (key,) in await connection.execute(gone)
            ]
            await write_events(connection, await self._database.now(connection), events)
