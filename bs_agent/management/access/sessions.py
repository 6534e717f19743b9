"""Who calls: accounts, passwords and sessions.

A password is kept as argon2 of its SHA-512 in hexadecimal, which is what existing clients send instead of it. A session
is a random secret; only its hash is stored. Guesses are slowed down per address, and hashing is bounded to two threads.
Each door has secrets of its own: what the cookie of the console holds opens no call of the API, nor the reverse.
"""

import asyncio
import hashlib
import hmac
import math
import re
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bs_agent.contract.errors import AuthenticationFailed, InvalidSession, Overloaded, TooManyRequests, TooManySessions
from bs_agent.management.config import SessionSettings
from bs_agent.management.store.accounts import Account, AccountStore

T = TypeVar("T")

ADMIN_UUID = "36c27e8ff05c4780bf6d2fa65700f22e"
ADMIN = "admin"
MIN_PASSWORD = 8

_RENEWAL = 60
_FAILURES_AT_ONCE = 30
_SECONDS_PER_FAILURE = 6.0
_MOST_ADDRESSES = 10_000
_MOST_WAITING = 100


class Door(StrEnum):
    """Where a session was opened, and alone counts."""

    API = "api"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and from where; `session` names the session without being its secret, `session_hash` is its hash."""

    account_uuid: str = ""
    account_name: str = ""
    session: str = ""
    session_hash: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just opened, with its secret."""

    secret: str
    account_uuid: str
    created: int
    expires: int


class RateLimit:
    """Lets each address fail some times at once, and then once every few seconds; remembers a bounded number."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._trying: Counter[str] = Counter()
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def attempt(self, address: str) -> AsyncIterator[None]:
        """Let the address try while the context is open; only `AuthenticationFailed` is held against it.

        Who tries more often at once than it may fail waits until it is known how the first ones end.

        Raises:
            TooManyRequests: the address has failed too often.
        """
        network = _network(address)
        while (failed := self._failures(network)) + self._trying[network] + 1 > _FAILURES_AT_ONCE:
            if failed + 1 > _FAILURES_AT_ONCE:
                wait = (failed + 1 - _FAILURES_AT_ONCE) * _SECONDS_PER_FAILURE
                raise TooManyRequests(f"too many failed log-ins from {address}; try again in {math.ceil(wait)} s")
            await self._ended.wait()
        self._trying[network] += 1
        try:
            yield
        except AuthenticationFailed:
            self._fail(network)
            raise
        finally:
            self._trying[network] -= 1
            if not self._trying[network]:
                del self._trying[network]
            self._ended.set()
            self._ended = asyncio.Event()

    def _failures(self, network: str) -> float:
        failed, since = self._failed.get(network, (0.0, 0.0))
        return max(0.0, failed - (time.monotonic() - since) / _SECONDS_PER_FAILURE)

    def _fail(self, network: str) -> None:
        self._failed[network] = (self._failures(network) + 1, time.monotonic())
        self._failed.move_to_end(network)
        if len(self._failed) > _MOST_ADDRESSES:
            self._failed.popitem(last=False)


class Auth:
    """Opens, checks and ends sessions."""

    def __init__(self, store: AccountStore, settings: SessionSettings, executor: ThreadPoolExecutor) -> None:
        self._store = store
        self._settings = settings
        self._executor = executor
        self._hasher = PasswordHasher()
        self._limit = RateLimit()
        self._waiting = 0
        self._decoy = ""
        self.log_ins: Counter[str] = Counter(opened=0, failed=0, put_off=0)
        """How log-ins have ended."""

    @classmethod
    @asynccontextmanager
    async def open(cls, store: AccountStore, settings: SessionSettings) -> AsyncIterator["Auth"]:
        """Hold the threads that hash passwords while the context is open."""
        with ThreadPoolExecutor(2, "argon2") as executor:
            yield cls(store, settings, executor)

    async def ensure_admin(self) -> str | None:
        """Make the account `admin` when there is none, and return its new password, to be shown once."""
        if await self._store.find_account(ADMIN):
            return None
        password = secrets.token_urlsafe(12)
        new = Account(ADMIN_UUID, ADMIN, await self._hash(password))
        return password if await self._store.add_account(new) else None

    async def set_password(self, name: str, password: str) -> bool:
        """Change the password of an account and end its sessions; False when there is no such account."""
        account = await self._store.find_account(name)
        return account is not None and await self.change_password(account.uuid, password)

    async def change_password(self, account_uuid: str, password: str, keep: str = "") -> bool:
        """Change the password of an account and end its sessions; False when there is no such account.

        The session whose hash is `keep` goes on.
        """
        return await self._store.set_password(account_uuid, await self._hash(password), keep)

    async def log_in(self, name: str, password: str, address: str, door: Door = Door.API) -> NewSession:
        """Open a session.

        Raises:
            AuthenticationFailed: there is no such account, or the password is wrong.
            TooManyRequests: the address has failed too often.
            TooManySessions: the account has as many sessions as it may have.
        """
        try:
            async with self._limit.attempt(address):
                account = await self._known(name, password)
        except AuthenticationFailed:
            self.log_ins["failed"] += 1
            await self._store.refused(name, address)
            raise
        except (TooManyRequests, Overloaded):
            self.log_ins["put_off"] += 1
            raise
        if self._hasher.check_needs_rehash(account.password_hash):
            with suppress(Overloaded):  # the next log-in will do it
                await self._store.rehash(account.uuid, await self._hash(password))
        secret, (lifetime, most) = secrets.token_hex(16), (self._settings.lifetime, self._settings.per_account)
        created = await self._store.add_session(_digest(secret, door), account.uuid, lifetime, most, address=address)
        if created is None:
            raise TooManySessions(f"{name} has {most} sessions; end some of them")
        self.log_ins["opened"] += 1
        return NewSession(secret, account.uuid, created, created + lifetime)

    async def check(self, secret: str, address: str, door: Door = Door.API, *, renew: bool = True) -> Caller:
        """Return whose session it is; its use lets it live on, unless that is not to count.

        Raises:
            InvalidSession: there is none, or it has expired.
        """
        digest, lifetime = _digest(secret, door), self._settings.lifetime
        found = await self._store.find_session(digest)
        if found is None:
            raise InvalidSession("Session expired")
        # More than a lifetime is left when the database's clock was set back.
        if renew and abs(lifetime - found.left) >= min(_RENEWAL, lifetime / 10):
            await self._store.renew_session(digest, lifetime)
        return Caller(found.account_uuid, found.account_name, found.uuid, digest, address)

    async def is_valid(self, secret: str) -> bool:
        """Tell whether a session can be used; the question does not renew it."""
        return await self._store.find_session(_digest(secret)) is not None

    async def revoke(self, uuid: str) -> None:
        """End the session of this name; an unknown one has ended already."""
        await self._store.revoke_session(uuid)

    async def log_out(self, secret: str, door: Door = Door.API) -> None:
        """End a session; an unknown one too."""
        await self._store.delete_session(_digest(secret, door))

    async def forget_expired(self) -> None:
        """Forget the sessions that have expired."""
        await self._store.delete_expired()

    async def _known(self, name: str, password: str) -> Account:
        account = await self._store.find_account(name)
        if account is None and not self._decoy:
            self._decoy = await self._hash(secrets.token_hex())
        # An unknown name costs as much time as a wrong password.
        if not await self._verify(account.password_hash if account else self._decoy, password) or account is None:
            raise AuthenticationFailed("wrong account name or password")
        return account

    async def _hash(self, password: str) -> str:
        return await self._in_thread(self._hasher.hash, _sent(password))

    async def _verify(self, stored: str, password: str) -> bool:
        try:
            return await self._in_thread(self._hasher.verify, stored, _sent(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[..., T], *arguments: str) -> T:
        if self._waiting >= _MOST_WAITING:
            raise Overloaded(f"{self._waiting} log-ins are under way")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
        finally:
            self._waiting -= 1


def _sent(password: str) -> str:
    """Return what clients send for a password: its SHA-512; some send that already."""
    if re.fullmatch(r"[0-9A-Fa-f]{128}", password):
        return password.lower()
    return hashlib.sha512(password.encode()).hexdigest()


def _digest(secret: str, door: Door = Door.API) -> str:
    if door is Door.API:
        return hashlib.sha256(secret.encode()).hexdigest()
    return hmac.new(door.encode(), secret.encode(), "sha256").hexdigest()


def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else address
