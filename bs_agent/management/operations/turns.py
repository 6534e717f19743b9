"""One operation at a time on each backup storage: a second call of the same kind joins the running one.

The operation is a task of its own, so a caller that goes away does not take it from the others.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

from bs_agent.contract.errors import ResourceNotFound, StorageProblem
from bs_agent.contract.reasons import ReasonCode

Refresh = Callable[[Iterable[str | None]], Awaitable[None]]
Kind = Literal["reconnect", "restore", "delete", "change"]


class _Running(NamedTuple):
    kind: Kind
    variant: str
    task: asyncio.Task[None]


class Operations:
    """The operations under way in this process, by the storage's uuid."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    async def close(self) -> None:
        """Cancel what still runs, and wait for it."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def is_busy(self, uuid: str) -> bool:
        """Tell whether an operation on the storage is under way."""
        return uuid in self._running

    async def run(
        self, uuid: str, kind: Kind, work: Callable[[], Coroutine[Any, Any, None]], variant: str = ""
    ) -> None:
        """Run `work`, or join the running operation of the same kind and variant; others are waited for.

        Raises:
            StorageProblem: StorageBusy, while the storage is being deleted.
        """
        while running := self._running.get(uuid):
            if (running.kind, running.variant) == (kind, variant) and kind != "change":
                break
            if running.kind == "delete":
                raise StorageProblem.of(
                    ReasonCode.STORAGE_BUSY, f"backup storage[uuid:{uuid}] is being deleted ({running.variant})"
                )
            await asyncio.wait([running.task])
        else:
            running = _Running(kind, variant, asyncio.create_task(work(), name=f"{kind} {uuid}"))
            self._running[uuid] = running
            running.task.add_done_callback(lambda _: self._running.pop(uuid, None))
        await asyncio.shield(running.task)


class Turns:
    """One at a time for each key, such as a host name; those with several keys take them in one order."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, *keys: str) -> AsyncIterator[None]:
        """Have these keys for oneself while the context is open."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            yield


def unknown(uuid: str) -> ResourceNotFound:
    """Return the error for a storage that is not there."""
    return ResourceNotFound(f"invalid field[uuid], resource[uuid:{uuid}, type:BackupStorageVO] not found")
