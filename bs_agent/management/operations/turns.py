"""One operation at a time on each backup storage and each agent, on whichever management node it runs.

A row of the database is the turn. A second call of the same kind joins the operation under way, on whichever node it
came in; another kind waits its turn, with a deadline. An operation is a task of its own, so a caller that goes away
does not take it from the others; it stops when the node's lease is lost.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal
from uuid import uuid4

from bs_agent.contract.errors import ApiError, ErrorCode, OperationFailed, ResourceNotFound, StorageProblem, from_shown
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.store.database import DatabaseUnavailable
from bs_agent.management.store.leases import Node
from bs_agent.management.store.operations import Ended, Held, OperationStore, Running, lost, storage_key

log = logging.getLogger(__name__)

Kind = Literal["add", "reconnect", "restore", "delete", "change", "pay", "meet", "leave"]
Refresh = Callable[[Iterable[str | None]], Awaitable[None]]

WAIT = 60.0
"""Seconds that an operation waits for its turn."""
_LOOK = 0.5
"""Seconds after which who waits looks at the row, should a wake-up have been lost."""
_PRUNING = 3600.0
"""Seconds after which old rows are forgotten again."""
_JOINED = frozenset({"reconnect", "delete"})


class Operations:
    """The operations of this node, and the way to wait for those of the others."""

    def __init__(self, store: OperationStore, node: Node) -> None:
        self.store = store
        self._known: set[str] = set()  # the uuids of its own, from before their rows are written until their ends are
        self._running: dict[str, tuple[Held, asyncio.Timeout]] = {}
        self._ended: dict[str, tuple[Held, ErrorCode | None]] = {}  # while that is not written
        self._tasks: set[asyncio.Task[None]] = set()
        self._pruned: float | None = None
        node.on_loss(self.stop)

    async def close(self) -> None:
        """Cancel what still runs, and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """Stop all operations of this node: others may have taken them over."""
        now = asyncio.get_running_loop().time()
        for _, limit in self._running.values():
            if not limit.expired():  # it may still take back what it did when the lease is lost again
                limit.reschedule(now)

    def is_busy(self, storage_uuid: str) -> bool:
        """Tell whether this node does an operation on a storage; what another one does, its row tells."""
        key = storage_key(storage_uuid)
        return any(held.key == key for held, _ in self._running.values())

    async def keep_house(self) -> None:
        """Write how operations of this node ended, should the database have been away then, and forget old rows."""
        for held, problem in list(self._ended.values()):
            await self._end(held, problem)
        await self.store.keep_only(self._known.__contains__, _cut_short())
        now = asyncio.get_running_loop().time()
        if self._pruned is None or now - self._pruned >= _PRUNING:
            await self.store.prune()
            self._pruned = now

    async def run(
        self, key: str, kind: Kind, work: Callable[[Held], Coroutine[Any, Any, None]], variant: str = ""
    ) -> None:
        """Do `work` when it is its turn, or join the operation of the same kind and variant that is under way.

        Raises:
            StorageProblem: StorageBusy: the turn did not come in time, or was lost.
            ApiError: what the operation, or the one that was joined, has ended with.
        """
        got = await self._take(key, kind, variant, WAIT)
        if isinstance(got, ErrorCode):
            raise from_shown(got)
        if got is None:
            return  # it was joined, and has ended well
        task = asyncio.create_task(self._work(got, work), name=f"{kind} {key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_hear)
            raise

    @asynccontextmanager
    async def holding(self, key: str, kind: Kind, wait: float = WAIT) -> AsyncIterator[Held]:
        """Have the turn of a key while the context is open; nobody joins.

        Raises:
            StorageProblem: StorageBusy: the turn did not come in so many seconds, or was lost.
        """
        got = await self._take(key, kind, "", wait)
        if not isinstance(got, Held):
            raise TypeError("an operation that is held is never joined")
        async with self._kept(got):
            yield got

    async def _work(self, held: Held, work: Callable[[Held], Coroutine[Any, Any, None]]) -> None:
        async with self._kept(held):
            await work(held)

    @asynccontextmanager
    async def _kept(self, held: Held) -> AsyncIterator[None]:
        problem: ErrorCode | None = _cut_short()
        try:
            try:
                async with asyncio.timeout(None) as limit:
                    self._running[held.uuid] = held, limit
                    yield
            except TimeoutError:
                raise (lost(held.key) if limit.expired() else TimeoutError) from None
            problem = None
        except ApiError as error:
            problem = error.shown()
            raise
        finally:
            del self._running[held.uuid]
            self._ended[held.uuid] = held, problem
            with suppress(DatabaseUnavailable):  # `keep_house` writes it later
                await asyncio.shield(self._end(held, problem))

    async def _end(self, held: Held, problem: ErrorCode | None) -> None:
        await self.store.end(held, problem)
        self._ended.pop(held.uuid, None)
        self._known.discard(held.uuid)

    async def _take(self, key: str, kind: Kind, variant: str, wait: float) -> Held | ErrorCode | None:
        """Return the turn; or how the operation that was joined has ended: None is well."""
        uuid = uuid4().hex
        got: Held | ErrorCode | None = None
        self._known.add(uuid)
        try:
            got = await self._turn(key, kind, variant, uuid, wait)
        finally:
            if not isinstance(got, Held):
                self._known.discard(uuid)
        return got

    async def _turn(self, key: str, kind: Kind, variant: str, uuid: str, wait: float) -> Held | ErrorCode | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            with self.store.database.wakes.waiting(key) as woken:
                got = await self.store.take(key, kind, variant, uuid)
                if isinstance(got, Held):
                    return got
                if kind in _JOINED and (got.kind, got.variant) == (kind, variant):
                    ended = await self._joined(key, got, woken)
                    if ended is not None:
                        return ended.problem
                    continue
                if loop.time() >= deadline:
                    details = f"another operation on {_named(key)} is under way: {got.kind}"
                    raise StorageProblem.of(ReasonCode.STORAGE_BUSY, details)
                await _next_look(woken)

    async def _joined(self, key: str, running: Running, woken: asyncio.Event) -> Ended | None:
        while True:
            found = await self.store.ended(key, running.uuid)
            if not isinstance(found, Running):
                return found
            await _next_look(woken)
            woken.clear()


def _hear(task: asyncio.Task[None]) -> None:
    """Hear how an operation has ended whose caller is gone: its row tells it, but for a fault of ours."""
    if not task.cancelled() and (error := task.exception()) and not isinstance(error, ApiError):
        log.error("%s failed", task.get_name(), exc_info=error)


async def _next_look(woken: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), _LOOK)


def _cut_short() -> ErrorCode:
    return OperationFailed("the operation was cut short; look, then try again").shown()


def _named(key: str) -> str:
    kind, _, uuid = key.partition(":")
    return f"{'backup storage' if kind == 'storage' else 'agent'}[uuid:{uuid}]"


def unknown(uuid: str) -> ResourceNotFound:
    """Return the error for a storage that is not there."""
    return ResourceNotFound(f"invalid field[uuid], resource[uuid:{uuid}, type:BackupStorageVO] not found")
