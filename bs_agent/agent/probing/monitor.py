"""One probe of one storage on its schedule: the last good value, how old it is, and why there is no newer one."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any

from bs_agent.agent.storages.base import Host, Probe, Reading
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import REASONS, Reason, ReasonCode
from bs_agent.contract.report import Section

log = logging.getLogger(__name__)

# How long a probe may overrun its deadline before it is cut off from outside; its own message says more than ours.
GRACE = 1.0
# A value older than this many intervals is stale, whatever its probe says.
FRESH_TURNS = 3


class Monitor:
    """Reads one probe, one reading at a time; a failing one degrades its own section only."""

    def __init__(self, storage: str, probe: Probe, host: Host, on_change: Callable[[], None]) -> None:
        self.probe = probe
        self._on_change = on_change
        self._name = f"{storage} {probe.section}"
        self._host = host
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._value: Any = None
        self._collected_at: float | None = None
        self._collected = 0.0
        self._duration: float | None = None
        self._reason: Reason | None = None
        self._stale = False
        self._not_well_since = 0.0
        self._last_end = time.monotonic()

    async def run(self) -> None:
        """Read at once and then on schedule, until cancelled."""
        try:
            while True:
                self._wanted.clear()
                waiting, self._waiting = self._waiting, []
                try:
                    await self._read()
                finally:
                    _release(waiting)
                await self._pause()
        finally:
            _release(self._waiting)

    async def refresh(self) -> None:
        """Wait for a reading that begins after this call; callers that wait at the same time share it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        await done

    def reschedule(self) -> None:
        """Take up changed settings: the next reading comes at once."""
        self._wanted.set()

    def section(self) -> Section[Any]:
        """Return this probe's section of the report as of now."""
        age = None if self._collected_at is None else max(0.0, time.monotonic() - self._collected)
        too_old = age is not None and age > FRESH_TURNS * self._interval
        return Section(
            value=self._value,
            collectedAt=self._collected_at,
            ageSeconds=None if age is None else round(age, 1),
            stale=self._value is not None and (self._stale or too_old),
            reason=self._reason,
            durationSeconds=self._duration,
        )

    @property
    def progressing(self) -> bool:
        """Whether readings still end; a probe may fail for ever, but it may not take for ever."""
        longest = 2 * self._interval + self._host.deadline + GRACE
        return time.monotonic() - self._last_end < longest + 10.0

    @property
    def _interval(self) -> float:
        return self._host.settings.probe.interval * self.probe.every

    async def _read(self) -> None:
        began, probe = time.monotonic(), self.probe
        reading: Reading | None = None
        try:
            async with asyncio.timeout(self._host.deadline + GRACE):
                reading = await probe.read()
                reason = reading.reason
        except StorageProblem as error:
            reason = error.reason
        except TimeoutError:
            reason = Reason(code=ReasonCode.PROBE_TIMEOUT, details="the probe took too long")
        except Exception:  # edge: a fault of ours in one probe must not end the others
            log.exception("probe %s failed", self._name)
            reason = Reason(code=ReasonCode.AGENT_FAULT, details="a fault in the probe; see the log")
        self._last_end = time.monotonic()
        if probe is not self.probe:  # the storage was connected anew meanwhile
            self._wanted.set()
            return
        self._duration = round(self._last_end - began, 4)
        self._keep(reading, reason)

    def _keep(self, reading: Reading | None, reason: Reason | None) -> None:
        before = (self._value, self._reason, self._stale)
        self._log_transition(reason)
        self._reason, self._stale = reason, True
        if reading:
            self._value, self._stale = reading.value, reading.stale
            self._collected_at, self._collected = round(time.time(), 3), time.monotonic()
        if (self._value, self._reason, self._stale) != before:
            self._on_change()

    def _log_transition(self, reason: Reason | None) -> None:
        if reason and (self._reason is None or self._reason.code != reason.code):
            self._not_well_since = time.monotonic()
            log.warning("%s: %s: %s -> %s", self._name, reason.code, reason.details, REASONS[reason.code].cure)
        elif self._reason and not reason:
            log.info("%s: well again after %.0f s", self._name, time.monotonic() - self._not_well_since)

    async def _pause(self) -> None:
        """Wait for this probe's own slot in the interval, or until somebody wants a reading."""
        interval = self._interval
        delay = (offset(self._name, interval) - time.monotonic()) % interval
        try:
            async with asyncio.timeout(delay):
                await self._wanted.wait()
        except TimeoutError:
            return


def offset(name: str, interval: float) -> float:
    """Return a stable point within the interval, so that probes are spread and keep their places."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return number / 2**64 * interval


def _release(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
