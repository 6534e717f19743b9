"""Who may write what of a storage: its operation while one is under way, else the node that polls the agent.

Asked within the transaction that writes, so that a node that slept through its lease writes nothing.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.errors import StorageProblem
from bs_agent.management.store.operations import Held, OperationStore, storage_key
from bs_agent.management.store.rows import batched
from bs_agent.management.store.tables import agent, host

Source = tuple[str, str, Held | None]
"""Of which storage and host something is told, and by which operation; by none when a poll tells it."""


class Fence:
    """Tells what `owner`, this node, may write."""

    def __init__(self, operations: OperationStore, owner: str) -> None:
        self._operations = operations
        self._owner = owner

    async def admitted(self, connection: AsyncConnection, news: Iterable[Source]) -> set[Source]:
        """Return the sources whose news may be written: storages, hosts, and operations or None for polls."""
        told = list(news)
        lost = await self._lost(connection, {held for _, _, held in told if held})
        polled = [(storage, mon) for storage, mon, held in told if held is None]
        keys = {storage: storage_key(storage) for storage, _ in polled}
        busy = await self._operations.busy(connection, list(keys.values()))
        mine = await self._polled_here(connection, [mon for storage, mon in polled if keys[storage] not in busy])
        return {source for source in told if (source[2] not in lost if source[2] else source[1] in mine)}

    async def _lost(self, connection: AsyncConnection, operations: Iterable[Held]) -> set[Held]:
        lost = set()
        for held in sorted(operations, key=lambda one: one.key):
            try:
                await self._operations.confirm(connection, held)
            except StorageProblem:
                lost.add(held)
        return lost

    async def _polled_here(self, connection: AsyncConnection, mons: Sequence[str]) -> set[str]:
        """Return those of the hosts whose agents this node polls; nobody takes them before the transaction's end."""
        found: set[str] = set()
        query = select(host.c.monUuid).join(agent, agent.c.uuid == host.c.agentUuid)
        query = query.where(agent.c.leaseOwner == self._owner).order_by(agent.c.uuid)
        for some in batched(mons):
            of_them = query.where(host.c.monUuid.in_(some)).with_for_update(of=agent, read=True)
            found |= set((await connection.execute(of_them)).scalars())
        return found
