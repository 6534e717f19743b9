"""The workers by name: storages on the same mount or cluster share one, and a stuck one is never doubled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bs_agent.agent.worker.process import Worker


@dataclass
class _Entry:
    worker: Worker
    users: int = 0


class Workers:
    """All probe workers of the agent."""

    def __init__(self, python: Path) -> None:
        self._python = python
        self._entries: dict[str, _Entry] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def borrow(self, name: str) -> Worker:
        """Return the worker of this name; give it back with `give_back`."""
        entry = self._entries.setdefault(name, _Entry(Worker(name, self._python)))
        entry.users += 1
        return entry.worker

    async def give_back(self, worker: Worker) -> None:
        """Stop the worker when nobody else uses it."""
        entry = self._entries[worker.name]
        entry.users -= 1
        # One that is stuck stays known: whoever borrows its name next must not start a second process.
        if entry.users == 0 and await worker.stop() and entry.users == 0:
            self._entries.pop(worker.name, None)

    def let_go(self, worker: Worker) -> None:
        """Give the worker back without waiting for its end."""
        task = asyncio.create_task(self.give_back(worker), name=f"end of worker {worker.name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    @asynccontextmanager
    async def lent(self, name: str) -> AsyncIterator[Worker]:
        """Have the worker of this name while the context is open."""
        worker = self.borrow(name)
        try:
            yield worker
        finally:
            await self.give_back(worker)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stop all workers at the end."""
        try:
            yield
        finally:
            await asyncio.gather(*self._ending)
            await asyncio.gather(*(worker.stop() for worker in self.all()))

    def all(self) -> list[Worker]:
        """Every worker there is, for the metrics."""
        return [entry.worker for entry in self._entries.values()]
