"""Which enrolments want reports pushed, and where to: kept with the enrolments, one channel for each."""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aiohttp
from pydantic import ValidationError

from bs_agent.agent.journal.journal import Journal
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.push.channel import Channel
from bs_agent.agent.served import Served
from bs_agent.contract.errors import explain
from bs_agent.contract.push import ReportTo, push_token
from bs_agent.contract.report import CephReport, HostReport, ImageStoreReport
from bs_agent.daemon.connection import connector
from bs_agent.daemon.lifecycle import background
from bs_agent.daemon.names import Names, Resolver

log = logging.getLogger(__name__)

AT_ONCE = 8


class _Wanted(NamedTuple):
    token: str
    report_to: ReportTo


class _Open(NamedTuple):
    channel: Channel
    stack: AsyncExitStack


class Pushing:
    """The channels by enrolment, kept in step with the journal."""

    def __init__(self, session: aiohttp.ClientSession, journal: Journal, reporter: Reporter, served: Served) -> None:
        self.counters: Counter[str] = Counter(accepted=0, refused=0, failed=0)
        self._journal = journal
        self._reporter = reporter
        self._served = served
        self._open: dict[str, _Open] = {}
        self._following = asyncio.Lock()
        self._session = session

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Push while the context is open.

        Raises:
            StorageProblem: the journal is unavailable.
        """
        try:
            await self.follow()
            yield
        finally:
            await asyncio.gather(*(self._close(enrollment) for enrollment in list(self._open)))

    async def direct(self, enrollment: str, report_to: ReportTo | None) -> None:
        """Push this enrolment's reports to another place from now on, or nowhere.

        Raises:
            StorageProblem: the journal is unavailable.
        """
        opened = self._open.get(enrollment)
        if (opened.channel.report_to if opened else None) == report_to:
            return
        row = (report_to.model_dump_json() if report_to else None, enrollment)
        change = "UPDATE enrollments SET report_to = ? WHERE id = ?"
        await self._journal.write(lambda connection: connection.execute(change, row))
        await self.follow()

    async def follow(self) -> None:
        """Take up what the journal says of the enrolments.

        Raises:
            StorageProblem: the journal is unavailable.
        """
        async with self._following:
            wanted = await self._journal.read(_read_all)
            for enrollment in list(self._open):
                place = wanted.get(enrollment)
                if place is None or place.report_to != self._open[enrollment].channel.report_to:
                    await self._close(enrollment)
            for enrollment in wanted.keys() - self._open.keys():
                await self._start(enrollment, wanted[enrollment])

    def told(self, enrollment: str, report: ImageStoreReport | CephReport) -> None:
        """Note that an enrolment's management node has just been answered with this report."""
        if opened := self._open.get(enrollment):
            opened.channel.told(report)

    async def _start(self, enrollment: str, wanted: _Wanted) -> None:
        def report() -> HostReport:
            return self._reporter.report(self._served.of(enrollment))

        channel = Channel(
            enrollment, wanted.report_to, wanted.token, session=self._session, report=report, counters=self.counters
        )
        stack = AsyncExitStack()
        changed = stack.enter_context(self._reporter.listening())
        await stack.enter_async_context(background(channel.run(changed), f"pushes of {enrollment}"))
        self._open[enrollment] = _Open(channel, stack)

    async def _close(self, enrollment: str) -> None:
        await self._open.pop(enrollment).stack.aclose()


def open_session(names: Names) -> aiohttp.ClientSession:
    """Return a session that suits pushes: they are rare, so none of its connections is kept."""
    return aiohttp.ClientSession(
        connector=connector(limit=AT_ONCE, force_close=True, resolver=Resolver(names)),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "bs-agent"},
        timeout=aiohttp.ClientTimeout(total=None),  # the deadline around the request holds for all of it
        trust_env=False,
    )


def _read_all(connection: sqlite3.Connection) -> dict[str, _Wanted]:
    rows = connection.execute("SELECT id, token_hash, report_to FROM enrollments WHERE report_to IS NOT NULL")
    wanted = {}
    for enrollment, token_hash, text in rows:
        try:
            wanted[enrollment] = _Wanted(push_token(token_hash), ReportTo.model_validate_json(text))
        except (ValidationError, TypeError) as error:
            said = explain(error) if isinstance(error, ValidationError) else "it is not as it was written"
            log.warning("no reports are pushed for enrolment %s until it reconnects: %s", enrollment, said)
    return wanted
