"""Sessions and passwords: they expire unless used, are counted, and are stored as hashes only."""

import asyncio
import hashlib
import time
from contextlib import suppress

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from bs_agent.contract.errors import AuthenticationFailed, InvalidSession, Overloaded, TooManyRequests, TooManySessions
from bs_agent.management.access import sessions
from bs_agent.management.access.sessions import Auth, Door, RateLimit
from bs_agent.management.config import SessionSettings
from bs_agent.management.store.accounts import AccountStore
from bs_agent.management.store.database import Database, DatabaseUnavailable
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


async def test_a_session_counts_at_the_door_where_it_was_opened(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        password = await auth.ensure_admin() or ""
        for here, there in ((Door.API, Door.CONSOLE), (Door.CONSOLE, Door.API)):
            opened = await auth.log_in("admin", password, HERE, here)
            caller = await auth.check(opened.secret, HERE, here)
            for secret in (opened.secret, caller.session, caller.session_hash):
                with pytest.raises(InvalidSession):
                    await auth.check(secret, HERE, there)
            await auth.log_out(opened.secret, there)
            await auth.check(opened.secret, HERE, here)
            await auth.log_out(opened.secret, here)
            with pytest.raises(InvalidSession):
                await auth.check(opened.secret, HERE, here)


async def test_a_look_that_does_not_count_renews_nothing(database: Database) -> None:
    async with Auth.open(AccountStore(database), FEW) as auth:
        opened = await auth.log_in("admin", await auth.ensure_admin() or "", HERE)
        await _age(database, 7000)
        before = await _expiry(database)
        await auth.check(opened.secret, HERE, renew=False)
        assert await _expiry(database) == before


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


CHEAP = PasswordHasher(time_cost=1, memory_cost=64)


async def _attempt(limit: RateLimit, address: str, outcome: BaseException | None = None) -> None:
    with suppress(AuthenticationFailed, DatabaseUnavailable, asyncio.CancelledError):
        async with limit.attempt(address):
            if outcome:
                raise outcome


async def test_the_rate_limit_holds_only_failures_against_an_address_and_remembers_a_bounded_number() -> None:
    limit, wrong = RateLimit(), AuthenticationFailed("wrong")
    for outcome in (None, DatabaseUnavailable("it is away"), asyncio.CancelledError()):
        for _ in range(100):
            await _attempt(limit, "10.0.0.1", outcome)
    for _ in range(30):
        await _attempt(limit, "10.0.0.2", wrong)
    with pytest.raises(TooManyRequests, match="try again in 6 s"):
        await _attempt(limit, "10.0.0.2")
    for host in range(30):
        await _attempt(limit, f"2001:db8:1:2::{host}", wrong)
    with pytest.raises(TooManyRequests):
        await _attempt(limit, "2001:db8:1:2:3::1")
    for number in range(10_001):
        await _attempt(limit, f"host-{number}", wrong)
    assert len(limit._failed) == 10_000
    assert not limit._trying


async def test_log_ins_that_fail_for_another_reason_do_not_lock_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("it is away")

    async with Auth.open(AccountStore(database), SessionSettings(per_account=1)) as auth:
        auth._hasher = CHEAP
        password = await auth.ensure_admin() or ""
        for name in ("find_account", "add_session"):
            with monkeypatch.context() as patch:
                patch.setattr(AccountStore, name, away)
                for _ in range(40):
                    with pytest.raises(DatabaseUnavailable):
                        await auth.log_in("admin", password, HERE)
        with monkeypatch.context() as patch:
            patch.setattr(sessions, "_MOST_WAITING", 0)
            for _ in range(40):
                with pytest.raises(Overloaded):
                    await auth.log_in("admin", password, HERE)
        reached = asyncio.Event()

        async def hang(*_: object) -> None:
            reached.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(auth, "_verify", hang)
            for _ in range(40):
                task = asyncio.create_task(auth.log_in("admin", "wrong", HERE))
                await reached.wait()
                reached.clear()
                task.cancel()  # as when the caller goes away
                await asyncio.gather(task, return_exceptions=True)
        await auth.log_in("admin", password, HERE)
        for _ in range(40):
            with pytest.raises(TooManySessions):
                await auth.log_in("admin", password, HERE)


async def test_many_log_ins_at_once_wait_for_one_another(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_SECONDS_PER_FAILURE", 3600.0)

    async def all_at_once(auth: Auth, password: str) -> list[str]:
        tried = (auth.log_in("admin", password, HERE) for _ in range(40))
        return sorted(type(outcome).__name__ for outcome in await asyncio.gather(*tried, return_exceptions=True))

    async with Auth.open(AccountStore(database), SessionSettings()) as auth:
        auth._hasher = CHEAP
        password = await auth.ensure_admin() or ""
        assert await all_at_once(auth, password) == ["NewSession"] * 40
        assert await all_at_once(auth, "wrong") == ["AuthenticationFailed"] * 30 + ["TooManyRequests"] * 10


async def test_a_stronger_hash_can_wait_until_there_is_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Auth.open(AccountStore(database), SessionSettings()) as auth:
        password = await auth.ensure_admin() or ""
        auth._hasher = PasswordHasher(time_cost=auth._hasher.time_cost + 1)

        async def overloaded(*_: object) -> str:
            raise Overloaded("too many log-ins")

        with monkeypatch.context() as patch:
            patch.setattr(auth, "_hash", overloaded)
            await auth.log_in("admin", password, HERE)
        before = await AccountStore(database).find_account("admin")
        await auth.log_in("admin", password, HERE)
        after = await AccountStore(database).find_account("admin")
        assert before
        assert after
        assert before.password_hash != after.password_hash


@pytest.mark.parametrize("seconds", [-365 * 86400, -7200, 7200, 365 * 86400])
async def test_sessions_live_by_the_databases_clock(
    database: Database, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """The clock of the machine counts on SQLite alone, where it is the database's."""
    async with Auth.open(AccountStore(database), FEW) as auth:
        opened = await auth.log_in("admin", await auth.ensure_admin() or "", HERE)
        wrong = opened.created + float(seconds)
        database.clock = lambda: wrong
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", database.clock)
            if database.is_sqlite and seconds > 0:
                with pytest.raises(InvalidSession):
                    await auth.check(opened.secret, HERE)
                return
            await auth.check(opened.secret, HERE)
            expiry = await _expiry(database)
    async with database.reading() as connection:
        left = expiry - await database.now(connection)
    assert FEW.lifetime - 600 < left <= FEW.lifetime + 1  # a clock that was set back makes no session live for years
