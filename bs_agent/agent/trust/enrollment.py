"""The tokens of the management nodes: made on the host, kept as hashes, honoured by the running agent at once."""

import asyncio
import hmac
import secrets
import sqlite3
import time
from typing import NamedTuple

from bs_agent.agent.journal.journal import Journal
from bs_agent.contract.enrollment import enrollment_id, token_hash

TOKEN_BYTES = 32
MAX_LABEL = 200


class _Known(NamedTuple):
    id: str
    token_hash: bytes


def enroll(connection: sqlite3.Connection, label: str) -> tuple[str, str]:
    """Make a token; return the id of its enrolment and the token, which is kept nowhere."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    enrollment = enrollment_id(token)
    row = (enrollment, label, token_hash(token), time.time())
    connection.execute("INSERT INTO enrollments (id, label, token_hash, created_at) VALUES (?, ?, ?, ?)", row)
    return enrollment, token


class Enrollments:
    """Tells whose a token is, from memory; the journal is read again only for a token that is not known yet."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[bytes, _Known] = {}
        self._reading = asyncio.Lock()
        self._read_at = 0.0
        self._doubted_at = -1.0  # since then a token that is known may have been taken away

    @property
    def ids(self) -> set[str]:
        """The ids of all enrolments."""
        return {known.id for known in self._known.values()}

    async def identify(self, token: str) -> str | None:
        """Return the id of the enrolment that the token belongs to, or None.

        Raises:
            StorageProblem: the token is not known, or a `reread` has failed, and the journal is unavailable.
        """
        wanted = token_hash(token)
        if self._read_at < self._doubted_at:
            await self._read(self._doubted_at)
        if self._find(wanted) is None:
            await self._read(asyncio.get_running_loop().time())
        return self._find(wanted)

    async def forget(self, enrollment: str) -> None:
        """Forget the enrolment: its token is refused from now on; its storages stay, without this owner."""
        delete = "DELETE FROM enrollments WHERE id = ?"
        async with self._reading:  # else a reading from before the delete could bring the token back
            await self._journal.write(lambda connection: connection.execute(delete, (enrollment,)))
            self._known = {key: known for key, known in self._known.items() if known.id != enrollment}

    async def reread(self) -> None:
        """Take up what another process has changed: a token that was taken away is refused from now on.

        Raises:
            StorageProblem: the journal is unavailable; no token is honoured until it has been read again.
        """
        self._doubted_at = asyncio.get_running_loop().time()
        await self._read(self._doubted_at)

    def _find(self, wanted: bytes) -> str | None:
        # The look-up is by the hash of a secret: its timing tells nothing of use about the token.
        known = self._known.get(wanted)
        return known.id if known and hmac.compare_digest(known.token_hash, wanted) else None

    async def _read(self, since: float) -> None:
        """Read the enrolments, unless that was begun after `since`; however many wait, one reading serves them all."""
        loop = asyncio.get_running_loop()
        async with self._reading:
            if self._read_at <= since:
                began = loop.time()
                rows = await self._journal.read(_read_all)
                self._known = {known.token_hash: known for known in rows}
                self._read_at = began


def _read_all(connection: sqlite3.Connection) -> list[_Known]:
    return [_Known(*row) for row in connection.execute("SELECT id, token_hash FROM enrollments")]
