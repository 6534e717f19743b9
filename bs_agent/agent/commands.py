"""Runs the commands that the journal has accepted.

Each has exactly one effect, also when the agent dies in between.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from bs_agent.agent.journal import commands as command_store
from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.served import Served, forget
from bs_agent.agent.storages.base import Storage
from bs_agent.contract.errors import StorageProblem, StorageUnknown
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CleanupPlan, CleanupRequest, Command, CommandState, Step
from bs_agent.daemon.lifecycle import background, surviving

log = logging.getLogger(__name__)

FORGET = "forget"
KEEPING_INTERVAL = 60.0
_FIRST_RETRY = 0.2
_LONGEST_RETRY = 10.0


class Commands:
    """Accepts, runs and answers commands."""

    def __init__(self, journal: Journal, served: Served) -> None:
        self._journal = journal
        self._served = served
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Refused because the disk did not say that they are kept. Should they be there all the same, they go again.
        self._refused: set[str] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what was left unfinished, then keep order; what is cut short at the end goes on next time."""
        await self._resume()
        try:
            async with background(self._keep_on(), "keeper of the commands"):
                yield
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def plan(self, storage: str, request: CleanupRequest, enrollment: str) -> CleanupPlan:
        """Return what a cleanup would do.

        Raises:
            StorageProblem: the storage is unknown or does not answer, or a newer operation on it is known.
        """
        self._served.refuse_strangers(storage, enrollment)
        await self._served.check_number(storage, request.number)
        steps = await self._steps(self._served.find(storage, enrollment), request)
        return CleanupPlan(storageUuid=storage, steps=steps)

    async def cleanup(self, storage: str, request: CleanupRequest, enrollment: str) -> Command:
        """Accept the command, on disk, and run it; one that was accepted before is only returned.

        Raises:
            StorageProblem: it cannot be accepted; then nothing happens.
        """
        if known := await self._accepted(storage, request):
            return known
        self._served.refuse_strangers(storage, enrollment)
        await self._served.overtake(storage, request.number)
        async with self._served.turn(storage):
            # While this one waited for its turn, the same command may have come, and be done, and the storage gone.
            if known := await self._accepted(storage, request):
                return known
            steps = await self._steps(self._served.find(storage, enrollment), request)
            command = await self._accept(storage, request, steps)
            if command.finishedAt is None:
                self._start(command)
        return command

    async def find(self, uuid: str) -> Command | None:
        """Return the command as it is on disk, or None."""
        return await self._journal.read(lambda connection: command_store.find(connection, uuid))

    async def _accepted(self, storage: str, request: CleanupRequest) -> Command | None:
        def find(connection: sqlite3.Connection) -> Command | None:
            return command_store.find(connection, request.commandUuid, storage, host_only=request.hostOnly)

        stored = await self._journal.read(find)
        return stored if request.commandUuid not in self._refused else None

    async def _steps(self, storage: Storage, request: CleanupRequest) -> list[Step]:
        removals = [] if request.hostOnly else await storage.plan_cleanup()
        return [*removals, Step(action=FORGET, target=f"backup storage {storage.uuid}")]

    async def _accept(self, storage: str, request: CleanupRequest, steps: list[Step]) -> Command:
        uuid = request.commandUuid

        def accept(connection: sqlite3.Connection) -> Command:
            # Here, in the thread of the journal: what is accepted again is no longer cleared by a job that follows.
            self._refused.discard(uuid)
            command_store.withdraw(connection, self._refused)
            return command_store.accept(
                connection, uuid, storage, steps, host_only=request.hostOnly, number=request.number
            )

        try:
            return await self._journal.write(accept)
        except StorageProblem as error:
            if error.reason.code == ReasonCode.JOURNAL_UNAVAILABLE:
                self._refused.add(uuid)
            raise

    async def _keep_on(self) -> None:
        while True:
            with surviving("the keeper of the commands"), suppress(StorageProblem):
                await self._clear()
            await asyncio.sleep(KEEPING_INTERVAL)

    async def _clear(self) -> None:
        """Remove from the journal what was refused."""

        def clear(connection: sqlite3.Connection) -> set[str]:
            refused = set(self._refused)
            command_store.withdraw(connection, refused)
            return refused

        self._refused -= await self._journal.write(clear)

    async def _resume(self) -> None:
        """Start the commands that a crash has left unfinished."""
        for command in await self._journal.read(command_store.unfinished):
            self._start(command)

    def _start(self, command: Command) -> None:
        if command.uuid in self._tasks:
            return
        try:
            self._served.hold(command.storageUuid)
            work = self._run(command)
        except StorageUnknown as error:  # another cleanup came to its end between the look at the storage and now
            work = self._fail(command, error.reason)
        task = asyncio.create_task(work, name=f"command {command.uuid}")
        self._tasks[command.uuid] = task
        task.add_done_callback(lambda _: self._tasks.pop(command.uuid, None))

    async def _run(self, command: Command) -> None:
        log.info("cleanup %s of backup storage %s begins", command.uuid, command.storageUuid)
        try:
            storage = await self._served.begin_cleaning(command.storageUuid)
            command = await self._clean(storage, command)
        except Exception:  # edge: a fault of ours must not leave the command open
            log.exception("cleanup %s failed", command.uuid)
            fault = Reason(code=ReasonCode.AGENT_FAULT, details="an unexpected fault; the agent's log has the rest")
            command = await self._finish(command, CommandState.FAILED, fault)
        log.info("cleanup %s is %s: %s", command.uuid, command.state, command.error.details if command.error else "ok")

    async def _fail(self, command: Command, reason: Reason) -> None:
        failed = {"state": CommandState.FAILED, "error": reason, "finishedAt": round(time.time(), 3)}
        await self._save(command.model_copy(update=failed))

    async def _clean(self, storage: Storage, command: Command) -> Command:
        left = [number for number, step in enumerate(command.steps) if not step.done and step.action != FORGET]
        if command.state == CommandState.RUNNING and left and not storage.repeatable(command.steps[left[0]]):
            details = f"nobody knows whether this was done: {_name(command.steps[left[0]])}"
            reason = Reason(code=ReasonCode.COMMAND_INTERRUPTED, details=details)
            return await self._finish(command, CommandState.INTERRUPTED, reason)
        command = await self._save(command.model_copy(update={"state": CommandState.RUNNING}))
        for number in left:
            try:
                await self._check_number(command)
                await storage.clean(command.steps[number])
            except StorageProblem as error:
                return await self._finish(_with(command, number, error=error.reason), CommandState.FAILED, error.reason)
            command = await self._save(_with(command, number, done=True))
        return await self._finish(_with(command, -1, done=True), CommandState.DONE)

    async def _finish(self, command: Command, state: CommandState, error: Reason | None = None) -> Command:
        """Keep the final state; the storage is forgotten in the transaction that says so."""
        finished = command.model_copy(update={"state": state, "error": error, "finishedAt": round(time.time(), 3)})
        await self._save(finished)
        if state == CommandState.DONE:
            await self._served.drop(command.storageUuid)
        else:
            await self._served.end_cleaning(command.storageUuid)
        return finished

    async def _save(self, command: Command) -> Command:
        """Keep how far the command is; the next step must not come before."""

        def keep(connection: sqlite3.Connection) -> None:
            command_store.save(connection, command)
            if command.state == CommandState.DONE:
                forget(connection, command.storageUuid)

        await _patiently(lambda: self._journal.write(keep))
        return command

    async def _check_number(self, command: Command) -> None:
        """See that no newer operation has come meanwhile: the rest of this one is not wanted then."""
        await _patiently(lambda: self._served.check_number(command.storageUuid, command.number))


async def _patiently(work: Callable[[], Awaitable[None]]) -> None:
    """Do something with the journal, however long the disk takes."""
    pause = _FIRST_RETRY
    while True:
        try:
            return await work()
        except StorageProblem as error:
            if error.reason.code != ReasonCode.JOURNAL_UNAVAILABLE:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_RETRY)


def _with(command: Command, number: int, *, done: bool = False, error: Reason | None = None) -> Command:
    steps = list(command.steps)
    steps[number] = steps[number].model_copy(update={"done": done, "error": error})
    return command.model_copy(update={"steps": steps})


def _name(step: Step) -> str:
    return f"{step.action} {step.target}"
