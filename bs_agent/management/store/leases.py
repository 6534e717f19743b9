"""One lease for all that a management node holds: agents that it polls, operations, jobs, web hooks.

A row that is held names its node in `leaseOwner`, and the node's own row says until when the node lives. So a node
renews one row, however much it holds; what it held is free as soon as that date has passed, and at once after an
orderly stop. The dates are by the database's clock.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from sqlalchemy import ColumnElement, Select, and_, delete, exists, insert, or_, select, update

from bs_agent.daemon.lifecycle import background
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.tables import agent, node

log = logging.getLogger(__name__)

SECONDS = 15.0
"""How long a node that has fallen silent keeps what it holds, unless the configuration says otherwise."""
_RENEWALS = 4
_FARTHEST = 900.0
"""Seconds: a date that is farther ahead was written before the clock was set back, for no lease is so long."""
_FORGOTTEN_AFTER = 30 * 86400


def living(now: float) -> Select[str]:
    """Select the nodes that live at `now`, by the database's clock."""
    return select(node.c.uuid).where(node.c.leaseDate > now, node.c.leaseDate <= now + _FARTHEST)


def is_free(owner: ColumnElement[str | None], now: float, me: str = "") -> ColumnElement[bool]:
    """Tell of rows by the column of their owner whether they are held by nobody.

    What still names `me`, the node that asks, it holds, though its date has passed: nobody has taken it, and where
    the clock was set forward a moment ago the next renewal makes the date right.
    """
    return or_(owner.is_(None), and_(owner != me, owner.not_in(living(now))))


def goes_on(owner: str, now: float) -> ColumnElement[bool]:
    """Tell whether a node may go on with what still names it: it lives, or nobody does who could have taken it.

    A node alone that was too busy to renew its lease, or whose database's clock was set forward, goes on.
    """
    mine = node.c.uuid == owner
    return or_(exists(living(now).where(mine)), ~exists(living(now).where(~mine)))


class Node:
    """This management node's lease. What it holds must be let go of when `lost` is called."""

    def __init__(self, database: Database, seconds: float) -> None:
        self.uuid = uuid4().hex
        self.seconds = seconds
        self._database = database
        self._end: asyncio.TimerHandle | None = None
        self._lost: list[Callable[[], None]] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, seconds: float = SECONDS) -> AsyncIterator["Node"]:
        """Hold a lease of so many seconds, and renew it, while the context is open; it is given back at the end."""
        held = cls(database, seconds)
        await held._begin()
        try:
            async with background(held._keep(), "the node's lease"):
                yield held
        finally:
            held._ends_at(None)
            with suppress(DatabaseUnavailable, TimeoutError):
                await held._give_back()

    def on_loss(self, lost: Callable[[], None]) -> None:
        """Call `lost` whenever the lease could not be renewed in time: others may have what was held.

        That is never so on SQLite, where there are no others.
        """
        self._lost.append(lost)

    async def _begin(self) -> None:
        asked = asyncio.get_running_loop().time()
        async with self._database.writing() as connection:
            now = await self._database.now(connection)
            if self._database.is_sqlite:  # a node that starts is the only one
                await connection.execute(update(node).where(node.c.leaseDate > now).values(leaseDate=now))
            # Its date tells since when nobody has polled the agents that it held.
            is_named = exists().where(agent.c.leaseOwner == node.c.uuid)
            await connection.execute(delete(node).where(node.c.leaseDate < now - _FORGOTTEN_AFTER, ~is_named))
            await connection.execute(insert(node).values(uuid=self.uuid, leaseDate=now + self.seconds))
        self._ends_at(asked + self.seconds)

    async def _renew(self) -> None:
        asked = asyncio.get_running_loop().time()
        async with asyncio.timeout(self.seconds / 2), self._database.writing() as connection:
            until = await self._database.now(connection) + self.seconds
            mine = node.c.uuid == self.uuid
            if not (await connection.execute(update(node).where(mine).values(leaseDate=until))).rowcount:
                await connection.execute(insert(node).values(uuid=self.uuid, leaseDate=until))
        self._ends_at(asked + self.seconds)

    async def _give_back(self) -> None:
        async with asyncio.timeout(self.seconds), self._database.writing() as connection:
            now = await self._database.now(connection)
            await connection.execute(update(node).where(node.c.uuid == self.uuid).values(leaseDate=now))

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.seconds / _RENEWALS)
            try:
                await self._renew()
            except (DatabaseUnavailable, TimeoutError) as error:
                log.warning("the lease of this node is not renewed: %s", str(error) or "no answer in time")
            except Exception:  # edge: a node lives as long as it can
                log.exception("the lease of this node is not renewed")

    def _ends_at(self, moment: float | None) -> None:
        """Expect the end of the lease at this moment of the loop's clock, which is not later than the others see it."""
        if self._end:
            self._end.cancel()
        if self._database.is_sqlite:
            return
        self._end = asyncio.get_running_loop().call_at(moment, self._lose) if moment is not None else None

    def _lose(self) -> None:
        log.error("the lease of this node has run out; what it held is let go of")
        for lost in self._lost:
            lost()
