"""One enrolment's way to its management node: reports go there when there is news, spaced, and again when one is lost.

Nothing is queued: what is sent is the report as it is then, so changes that come meanwhile travel together. The polls
bring what no push could.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable

import aiohttp
from aiohttp import hdrs

from bs_agent.agent.push.news import Facts, facts, is_news
from bs_agent.contract.push import ReportTo
from bs_agent.contract.report import CephReport, HostReport, ImageStoreReport
from bs_agent.daemon.lifecycle import surviving

log = logging.getLogger(__name__)

GATHER = 0.1
SPACING = 1.0
DEADLINE = 10.0
TRIES = 6
LONGEST_PAUSE = 60.0
_PASSING, _PUT_OFF = {408, 429}, {429, 503}


class PushError(Exception):
    """A push was not accepted; the message says why. `after` is in how many seconds it may be tried again, if known."""

    def __init__(self, message: str, *, final: bool, after: float = 0.0) -> None:
        super().__init__(message)
        self.final = final
        self.after = after


class Channel:
    """Pushes the report that `report` returns; `counters` counts what became of the pushes."""

    def __init__(
        self,
        enrollment: str,
        report_to: ReportTo,
        token: str,
        *,
        session: aiohttp.ClientSession,
        report: Callable[[], HostReport],
        counters: Counter[str],
    ) -> None:
        self.report_to = report_to
        self._path = report_to.path_of(enrollment)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._pin = aiohttp.Fingerprint(bytes.fromhex(report_to.fingerprint)) if report_to.fingerprint else True
        self._session = session
        self._report = report
        self._counters = counters
        self._known: dict[str, Facts] = {}
        self._failures = 0
        self._after = 0.0

    async def run(self, changed: asyncio.Event) -> None:
        """Push at every change that is news, until cancelled."""
        while True:
            changed.clear()
            with surviving(f"a push to {self.report_to.url}"):
                await self._tell()
            await changed.wait()
            await asyncio.sleep(GATHER)

    def told(self, report: ImageStoreReport | CephReport) -> None:
        """Note that the management node has got this report in another way."""
        if now := facts(report):
            self._known[report.uuid] = now

    async def _tell(self) -> None:
        tries = 0
        while tries < TRIES:
            report = self._report()
            present = {storage.uuid: facts(storage) for storage in report.storages}
            read = {uuid: now for uuid, now in present.items() if now}
            # A storage that was not looked at yet would seem to be well: its first reading is the change to wait for.
            if len(read) < len(present) or not is_news(self._known, read):
                return
            final = await self._try(report, read)
            tries += not self._after  # who is told when to come back is awaited there
            await asyncio.sleep(self._pause())
            if final:
                return

    async def _try(self, report: HostReport, read: dict[str, Facts]) -> bool:
        """Push once; tell whether to try again would be in vain."""
        self._after = 0.0
        try:
            await self._post(report)
        except PushError as error:
            self._after = error.after
            self._counters["refused" if error.final else "failed"] += 1
            if not self._failures:
                log.warning("reports cannot be pushed to %s, the polls go on: %s", self.report_to.url, error)
            self._failures += 1
            return error.final
        if self._failures:
            log.info("reports are pushed to %s again after %d failures", self.report_to.url, self._failures)
        self._counters["accepted"] += 1
        self._known, self._failures = read, 0
        return False

    async def _post(self, report: HostReport) -> None:
        try:
            async with (
                asyncio.timeout(DEADLINE),
                self._session.post(
                    self._path,
                    data=report.model_dump_json(),
                    headers=self._headers,
                    ssl=self._pin,
                    allow_redirects=False,
                ) as answer,
            ):
                status, after = answer.status, _seconds(answer.headers.get(hdrs.RETRY_AFTER, ""))
        except aiohttp.ServerFingerprintMismatch:
            raise PushError("another certificate is shown there; reconnect the storages", final=True) from None
        except TimeoutError:
            raise PushError(f"no answer within {DEADLINE:g} s", final=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise PushError(str(error) or type(error).__name__, final=False) from None
        if not 200 <= status < 300:
            final = status < 500 and status not in _PASSING
            raise PushError(f"answered {status}", final=final, after=after if status in _PUT_OFF else 0.0)

    def _pause(self) -> float:
        pause: float = self._after or min(LONGEST_PAUSE, SPACING * 2.0 ** min(self._failures, 16))
        return pause * random.uniform(1.0, 1.5)  # noqa: S311  spreads load


def _seconds(retry_after: str) -> float:
    """Read a header Retry-After in its usual form, which is a number; 0 when it says nothing that can be used."""
    if not (retry_after.isascii() and retry_after.isdecimal()):
        return 0.0
    return float(min(LONGEST_PAUSE, int(retry_after[:9])))
