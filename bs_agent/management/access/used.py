"""Which signatures were used before: here, on another node, or before a restart.

Clients sign each request anew, so one signature comes again only within the second that its date names. It is taken for
some seconds after its first use, which leaves time to write first uses together.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bs_agent.daemon.lifecycle import background
from bs_agent.management.store.database import DatabaseUnavailable
from bs_agent.management.store.signatures import SignatureStore

log = logging.getLogger(__name__)

_REUSE = 10.0
_GATHERING = 1.0
_MOST = 20_000


class UsedSignatures:
    """Remembers signatures for `keep` seconds; a bounded number of them in memory, and all of them in the database."""

    def __init__(self, store: SignatureStore, keep: float) -> None:
        self._store = store
        self._keep = keep
        self._first: OrderedDict[str, float] = OrderedDict()
        self._unwritten: OrderedDict[str, float] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def open(cls, store: SignatureStore, keep: float) -> AsyncIterator["UsedSignatures"]:
        """Write what is used while the context is open, and what is left at its end."""
        used = cls(store, keep)
        async with background(used._run(), "used signatures"):
            yield used
        with suppress(DatabaseUnavailable):
            await used.write()

    async def take(self, signature: str) -> bool:
        """Note the use of a signature; False when its first use was too long ago."""
        digest, now = hashlib.sha256(signature.encode()).hexdigest(), time.monotonic()
        if digest not in self._first:
            age = await self._store.age(digest)
            if age is None:
                _remember(self._unwritten, digest, now)
            _remember(self._first, digest, now - (age or 0))
        return now - self._first.get(digest, now) <= _REUSE

    async def write(self) -> None:
        """Write the first uses that only this process knows."""
        if not self._unwritten:
            return
        unwritten, now = dict(self._unwritten), time.monotonic()
        await self._store.add({digest: now - first for digest, first in unwritten.items()}, self._keep)
        for digest in unwritten:
            self._unwritten.pop(digest, None)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_GATHERING)
            try:
                await self.write()
            except DatabaseUnavailable as error:
                log.warning("used signatures: %s", error.details)
            except Exception:  # edge: they are written as long as the node lives
                log.exception("used signatures are not written")


def _remember(uses: OrderedDict[str, float], digest: str, first: float) -> None:
    uses.setdefault(digest, first)
    if len(uses) > _MOST:
        uses.popitem(last=False)
