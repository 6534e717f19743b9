"""The tokens by which Prometheus scrapes a management node: made by a command, and good for its metrics alone."""

import hashlib
import secrets
import time
from uuid import uuid4

from bs_agent.contract.errors import OperationFailed
from bs_agent.daemon.deadlines import within
from bs_agent.management.store.database import DatabaseUnavailable
from bs_agent.management.store.scrape_tokens import ScrapeTokenStore, StoredToken

MOST_TOKENS = 100
MAX_LABEL = 200

_TOKEN_BYTES = 32
_DEADLINE = 3.0
"""Seconds that the database may take; whoever scrapes has a deadline, too."""


class ScrapeTokens:
    """Makes and checks the tokens."""

    def __init__(self, store: ScrapeTokenStore) -> None:
        self._store = store
        self._known: set[str] = set()

    async def make(self, label: str) -> str:
        """Make a token and return it; it is kept nowhere but as a hash.

        Raises:
            OperationFailed: there are as many tokens as there may be.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        new = StoredToken(uuid4().hex, label, int(time.time()))
        if not await self._store.add(new, _digest(token), MOST_TOKENS):
            raise OperationFailed(f"there are {MOST_TOKENS} tokens; remove some of them")
        return token

    async def holds(self, token: str) -> bool:
        """Tell whether a token may scrape; while the database is away, one that did before still may."""
        # The look-up is by the hash of a secret: its timing tells nothing of use about the token.
        digest = _digest(token)
        try:
            good = await within(_DEADLINE, self._store.holds(digest))
        except (DatabaseUnavailable, TimeoutError):
            return digest in self._known
        if good:
            self._known.add(digest)
        else:
            self._known.discard(digest)
        return good


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
