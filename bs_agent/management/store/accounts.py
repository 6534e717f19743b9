"""The SQL of accounts and sessions. A session is stored by the hash of its uuid, which is the bearer's secret."""

from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.management.store.database import Database
from bs_agent.management.store.events import NOBODY, Actor, Event, write_events
from bs_agent.management.store.repeated import each_repeated
from bs_agent.management.store.tables import account, session


@dataclass(frozen=True, slots=True)
class Account:
    """An account."""

    uuid: str
    name: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session that has not expired, and the seconds until it does; `uuid` names it without being its secret."""

    uuid: str
    account_uuid: str
    account_name: str
    left: float


@each_repeated
class AccountStore:
    """Reads and writes accounts and sessions; all dates are by the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_account(self, name: str) -> Account | None:
        """Return the account of this name."""
        wanted = select(account.c.uuid, account.c.name, account.c.passwordHash).where(account.c.name == name)
        async with self._database.reading() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        return Account(*row) if row else None

    async def add_account(self, new: Account) -> bool:
        """Store the account; False when there is one of this name already."""
        async with self._database.writing() as connection:
            found = await connection.execute(select(account.c.uuid).where(account.c.name == new.name))
            if found.first():
                return False
            row = {"uuid": new.uuid, "name": new.name, "type": "SystemAdmin", "passwordHash": new.password_hash}
            now = int(await self._database.now(connection))
            await connection.execute(insert(account).values(**row, createDate=now, lastOpDate=now))
        return True

    async def set_password(self, account_uuid: str, password_hash: str, keep: str = "") -> bool:
        """Change the password and end the account's sessions, but not the one whose hash is `keep`.

        Returns False when there is no such account.
        """
        ended = session.c.accountUuid == account_uuid, session.c.hash != keep
        async with self._database.writing() as connection:
            now = int(await self._database.now(connection))
            changed = update(account).where(account.c.uuid == account_uuid)
            done = await connection.execute(changed.values(passwordHash=password_hash, lastOpDate=now))
            names = select(account.c.name).where(account.c.uuid == account_uuid)
            if name := (await connection.execute(names)).scalar():
                about = ("AccountVO", account_uuid, name)
                await write_events(connection, now, [Event("PasswordChanged", about)])
            await self._end(connection, ended, "the password was changed")
        return done.rowcount > 0

    async def rehash(self, account_uuid: str, password_hash: str) -> None:
        """Store a stronger hash of the same password."""
        async with self._database.writing() as connection:
            changed = update(account).where(account.c.uuid == account_uuid)
            await connection.execute(changed.values(passwordHash=password_hash))

    async def add_session(
        self, digest: str, account_uuid: str, seconds: int, most: int, *, address: str = ""
    ) -> int | None:
        """Store a session that lives so many seconds, and return its date; None when the account has `most` already.

        Expired ones go first. `address` is from where the log-in came.
        """
        mine = session.c.accountUuid == account_uuid
        async with self._database.writing() as connection:
            # The account's row is locked, so that two log-ins do not both take the last place.
            owner = select(account.c.name).where(account.c.uuid == account_uuid).with_for_update()
            by = Actor(account_uuid, (await connection.execute(owner)).scalar() or "")
            now = int(await self._database.now(connection))
            await self._end(connection, (mine, session.c.expiredDate <= now), "it has expired")
            count = (await connection.execute(select(func.count()).select_from(session).where(mine))).scalar_one()
            if count >= most:
                return None
            row = {"hash": digest, "uuid": uuid4().hex, "accountUuid": account_uuid}
            await connection.execute(insert(session).values(**row, expiredDate=now + seconds, createDate=now))
            opened = Event("LogIn", ("SessionVO", row["uuid"], ""), by=by, address=address)
            await write_events(connection, now, [opened])
        return now

    async def refused(self, name: str, address: str) -> None:
        """Write that a log-in was refused; by name only if there is such an account.

        What else is given as a name may be a password that went into the wrong field.
        """
        async with self._database.writing() as connection:
            known = select(account.c.uuid, account.c.name).where(account.c.name == name)
            row = (await connection.execute(known)).first()
            by = Actor(*row) if row else NOBODY
            details = "the password is wrong" if row else "there is no account of the name that was given"
            event = Event("LogInRefused", by=by, address=address, details=details)
            await write_events(connection, await self._database.now(connection), [event])

    async def find_session(self, digest: str) -> StoredSession | None:
        """Return the session, unless it has expired."""
        left = session.c.expiredDate - self._database.moment()
        wanted = select(session.c.uuid, session.c.accountUuid, account.c.name, left).join(account)
        async with self._database.reading() as connection:
            row = (await connection.execute(wanted.where(session.c.hash == digest, left > 0))).one_or_none()
        return StoredSession(*row) if row else None

    async def renew_session(self, digest: str, seconds: int) -> None:
        """Let the session live so many seconds from now."""
        async with self._database.writing() as connection:
            until = int(await self._database.now(connection)) + seconds
            await connection.execute(update(session).where(session.c.hash == digest).values(expiredDate=until))

    async def delete_session(self, digest: str) -> None:
        """Forget the session, if there is one."""
        async with self._database.writing() as connection:
            await self._end(connection, (session.c.hash == digest,), "logged out")

    async def revoke_session(self, uuid: str) -> None:
        """Forget the session that has this name, if there is one."""
        async with self._database.writing() as connection:
            await self._end(connection, (session.c.uuid == uuid,), "revoked")

    async def delete_expired(self) -> None:
        """Forget the sessions that have expired."""
        async with self._database.writing() as connection:
            now = int(await self._database.now(connection))
            await self._end(connection, (session.c.expiredDate <= now,), "it has expired")

    async def _end(self, connection: AsyncConnection, which: tuple[ColumnElement[bool], ...], why: str) -> None:
        """End sessions, in the names of their accounts."""
        gone = delete(session).where(*which).returning(session.c.uuid, session.c.accountUuid)
        ended = [(uuid, owner) for uuid, owner in await connection.execute(gone)]
        if not ended:
            return
        known = select(account.c.uuid, account.c.name).where(account.c.uuid.in_({owner for _, owner in ended}))
        names = {row.uuid: row.name for row in await connection.execute(known)}
        events = [
            Event("SessionEnded", ("SessionVO", uuid, ""), by=Actor(owner, names.get(owner, "")), details=why)
            for uuid, owner in ended
        ]
        await write_events(connection, await self._database.now(connection), events)
