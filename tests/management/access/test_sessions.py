"""Sessions and passwords: they expire unless used, are counted, and are stored as hashes only."""

import asyncio
import hashlib

import pytest
from sqlalchemy import select, update

from bs_agent.contract.errors import AuthenticationFailed, InvalidSession, TooManyRequests, TooManySessions
from bs_agent.management.access.sessions import Auth, RateLimit
from bs_agent.management.config import SessionSettings
from bs_agent.management.store.accounts import AccountStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import account, session

pytestmark = pytest.mark.asyncio

HERE = "127.0.0.1"
FEW = SessionSettings(lifetime=7200, per_account=3)


async def _age(database: Database, seconds: int) -> None:
    """Let all sessions be older by so many seconds."""
    async with database.writing() as connection:
        await connection.execute(update(session).values(expiredDate=session.c.expiredDate - seconds))


async def _expiry(database: Database) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(select(session.c.expiredDate))).scalar_one())


async def test_a_password_may_be_sent_plain_or_as_its_hash(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        password = await auth.ensure_admin()
        assert password
        hashed = hashlib.sha512(password.encode()).hexdigest()
        for sent in (password, hashed, hashed.upper()):
            opened = await auth.log_in("admin", sent, HERE)
            assert (await auth.check(opened.secret, HERE)).account_name == "admin"
        assert await auth.ensure_admin() is None


async def test_neither_passwords_nor_sessions_are_stored_as_they_are(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        password = await auth.ensure_admin() or ""
        secret = (await auth.log_in("admin", password, HERE)).secret
    async with database.reading() as connection:
        stored = str([(await connection.execute(select(table))).all() for table in (account, session)])
    assert "$argon2id$" in stored
    assert password not in stored
    assert hashlib.sha512(password.encode()).hexdigest() not in stored
    assert secret not in stored


async def test_wrong_names_and_passwords_fail_alike(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        await auth.ensure_admin()
        for name, password in (("admin", "wrong"), ("nobody", "wrong"), ("", ""), ("admin", "")):
            with pytest.raises(AuthenticationFailed, match="wrong account name or password"):
                await auth.log_in(name, password, HERE)


async def test_use_renews_a_session_at_most_once_a_minute(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        opened = await auth.log_in("admin", await auth.ensure_admin() or "", HERE)
        await _age(database, 50)
        before = await _expiry(database)
        await auth.check(opened.secret, HERE)
        assert await _expiry(database) == before
        await _age(database, 7000)
        await auth.check(opened.secret, HERE)
        assert await _expiry(database) >= opened.expires


async def test_a_short_session_lives_on_by_its_use(database: Database) -> None:
    async with Auth.open(AccountStore(database), SessionSettings(lifetime=60)) as auth:
        opened = await auth.log_in("admin", await auth.ensure_admin() or "", HERE)
        for _ in range(20):
            await _age(database, 20)
            await auth.check(opened.secret, HERE)


async def test_an_unused_session_expires_and_is_forgotten(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        opened = await auth.log_in("admin", await auth.ensure_admin() or "", HERE)
        await _age(database, 7201)
        with pytest.raises(InvalidSession):
            await auth.check(opened.secret, HERE)
        await auth.forget_expired()
    async with database.reading() as connection:
        assert (await connection.execute(select(session))).all() == []


async def test_an_account_has_a_bounded_number_of_sessions(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        password = await auth.ensure_admin() or ""
        tried = [auth.log_in("admin", password, HERE) for _ in range(6)]
        outcomes = await asyncio.gather(*tried, return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NewSession"] * 3 + ["TooManySessions"] * 3
        await _age(database, 7201)
        await auth.log_in("admin", password, HERE)
        await auth.log_in("admin", password, HERE)
        await auth.log_in("admin", password, HERE)
        with pytest.raises(TooManySessions, match="admin has 3 sessions"):
            await auth.log_in("admin", password, HERE)


async def test_a_new_password_ends_the_sessions(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        opened = await auth.log_in("admin", await auth.ensure_admin() or "", HERE)
        assert await auth.set_password("admin", "another one")
        assert not await auth.set_password("nobody", "another one")
        with pytest.raises(InvalidSession):
            await auth.check(opened.secret, HERE)
        await auth.log_in("admin", "another one", HERE)


async def test_the_rate_limit_forgets_successes_and_remembers_a_bounded_number() -> None:
    limit = RateLimit()
    for _ in range(100):
        limit.take("10.0.0.1")
        limit.give_back("10.0.0.1")
    for _ in range(30):
        limit.take("10.0.0.2")
    with pytest.raises(TooManyRequests, match="try again in 6 s"):
        limit.take("10.0.0.2")
    for host in range(30):
        limit.take(f"2001:db8:1:2::{host}")
    with pytest.raises(TooManyRequests):
        limit.take("2001:db8:1:2:3::1")
    for number in range(10_001):
        limit.take(f"host-{number}")
    assert len(limit._spent) == 10_000
