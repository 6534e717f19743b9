"""The supervisor of a probe worker: what hangs or crashes does so in a child process that can be killed.

One child, one call at a time. A call that passes its deadline is answered with an error, and the child is killed.
The next one is started after a back-off, and not while the kernel still holds the killed one, unless `renew` wants it.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bs_agent.agent.worker.child import Answer, Child, ChildGoneError
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
# How many processes that the kernel holds may be left behind because somebody wanted fresh ones.
MAX_LEFT_BEHIND = 3
_REAP_DEADLINE = 1.0
_SHORT_REAP_DEADLINE = 0.2  # when it is left behind otherwise, and somebody waits
_STOP_DEADLINE = 2.0


class WorkerError(StorageProblem):
    """The worker said why it could not do what it was asked, or did not answer at all."""


class WorkerBusyError(WorkerError):
    """Others were asked until the deadline: this call was not even begun, so it tells nothing of what it is about."""


@dataclass
class WorkerCounters:
    """What happened to the children of a worker."""

    starts: int = 0
    crashes: int = 0
    timeouts: int = 0


class Worker:
    """A supervised child process for one mount or one cluster."""

    def __init__(self, name: str, python: Path) -> None:
        self.name = name
        self.counters = WorkerCounters()
        self._python = python
        self._turn = asyncio.Lock()
        self._child: Child | None = None
        self._killed: Child | None = None
        self._left_behind: list[Child] = []
        self._under_way: asyncio.Timeout | None = None
        self._failures = 0
        self._not_before = 0.0
        self._renew = False
        self._last_failure = Reason(code=ReasonCode.WORKER_CRASHED, details="not started yet")

    @property
    def pid(self) -> int | None:
        """The process id of the child, or None when there is none."""
        return self._child.pid if self._child and not self._child.gone else None

    @property
    def stuck(self) -> bool:
        """Whether the kernel still holds a child that was killed."""
        return any(child and not child.gone for child in (self._killed, *self._left_behind))

    async def call(self, operation: str, deadline: float, /, **parameters: Any) -> Any:  # noqa: ANN401 RUF100  JSON; the kind that asks knows its shape
        """Return what the operation returns; callers take turns, each within its own `deadline` (seconds).

        Raises:
            WorkerError: the operation failed, took too long, or its process died.
            WorkerBusyError: it had no turn.
        """
        until = asyncio.get_running_loop().time() + deadline
        begun = asyncio.Event()
        try:
            async with asyncio.timeout_at(until):
                while (answer := await self._take_turn(operation, parameters, until, begun)) is None:
                    log.debug("worker %s: %s was interrupted and goes again", self.name, operation)
        except TimeoutError:
            self.counters.timeouts += 1
            if not begun.is_set():
                raise WorkerBusyError(_no_answer(f"no turn for {operation} within {deadline:g} s")) from None
            raise WorkerError(_no_answer(f"no answer to {operation} within {deadline:g} s")) from None
        if answer.refusal:
            raise WorkerError(answer.refusal)
        return answer.value

    def renew(self, *, at_once: bool = False) -> None:
        """Let the next call begin with a fresh child, whatever failed before.

        With `at_once` it does not wait for a call that is under way and may hang: that one goes again after it.
        """
        self._renew = True
        if at_once and self._under_way:
            self._under_way.reschedule(asyncio.get_running_loop().time())

    async def stop(self) -> bool:
        """End the child, whatever it does; say whether it is gone. A later call starts a new one."""
        await self._end_child()
        if self._killed:
            await self._killed.wait(_REAP_DEADLINE)
        return not self.stuck

    async def _take_turn(
        self, operation: str, parameters: dict[str, Any], until: float, begun: asyncio.Event
    ) -> Answer | None:
        """Return the answer, or None when `renew` has interrupted the call."""
        async with self._turn:
            begun.set()
            try:
                async with asyncio.timeout(None) as self._under_way:
                    return await self._ask(operation, parameters, until)
            except TimeoutError:
                return None
            finally:
                self._under_way = None

    async def _ask(self, operation: str, parameters: dict[str, Any], until: float) -> Answer:
        child = await self._ready_child(until)
        try:
            answer = await child.ask(operation, parameters)
        except ChildGoneError as error:
            raise self._crashed(f"{operation}: {error}") from None
        except asyncio.CancelledError:
            # Deadline, shutdown or `renew`: its answer would come to the next caller, so this child has to go.
            self._fail(_no_answer(f"no answer to {operation}"))
            raise
        self._failures = 0
        return answer

    async def _ready_child(self, until: float) -> Child:
        renewed, self._renew = self._renew, False
        if renewed:
            self._failures, self._not_before = 0, 0.0
            await self._end_child()
        if self._child and not self._child.gone:
            return self._child
        if self._killed and not await self._killed.wait(_SHORT_REAP_DEADLINE if renewed else _REAP_DEADLINE):
            self._leave_behind(self._killed, allowed=renewed)
        if self._not_before > until:
            raise WorkerError(self._last_failure)
        await asyncio.sleep(self._not_before - asyncio.get_running_loop().time())
        try:
            self._child = await Child.start(self._python, self.name)
        except ChildGoneError as error:
            raise self._crashed(str(error)) from None
        self.counters.starts += 1
        return self._child

    def _leave_behind(self, stuck: Child, *, allowed: bool) -> None:
        self._left_behind = [child for child in self._left_behind if not child.gone]
        if not allowed or len(self._left_behind) >= MAX_LEFT_BEHIND:
            raise WorkerError(_no_answer("an earlier probe is still stuck in the kernel"))
        self._left_behind.append(stuck)
        self._killed = None

    def _crashed(self, details: str) -> WorkerError:
        self.counters.crashes += 1
        reason = Reason(code=ReasonCode.WORKER_CRASHED, details=details)
        self._fail(reason)
        return WorkerError(reason)

    def _fail(self, reason: Reason) -> None:
        """Kill the child and put off the next start."""
        if self._child:
            self._child.kill()
            self._killed, self._child = self._child, None
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._not_before = asyncio.get_running_loop().time() + pause
        self._last_failure = reason
        log.debug("worker %s: %s; the next start in %.1f s", self.name, reason.details, pause)

    async def _end_child(self) -> None:
        if self._child:
            self._killed, self._child = self._child, None
            await self._killed.stop(_STOP_DEADLINE)


def _no_answer(details: str) -> Reason:
    return Reason(code=ReasonCode.PROBE_TIMEOUT, details=details)
