"""Web hooks: a caller that named an address is told there how its job ended.

They wait in the database, so the end of a node does not lose them; a receiver may get one twice, and never before the
answer that accepted its job. Tries, waiting hooks, sizes and times are bounded, and redirects are not followed.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
from yarl import URL

from bs_agent.contract.errors import Overloaded, RequestError
from bs_agent.daemon.lifecycle import background
from bs_agent.management.config import HookSettings
from bs_agent.management.jobs.delivery import deliver
from bs_agent.management.jobs.outward import outward_connector, refusal
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.hooks import LONGEST_PAUSE, DueHook, HookStore
from bs_agent.management.store.jobs import WebHook
from bs_agent.management.store.leases import Node

log = logging.getLogger(__name__)

HEADER = "X-Web-Hook"
MAX_URL = 2048

_LOOK = 10.0
_LEAST_WAIT = 0.1
_RECEIVERS = 4


class Hooks:
    """Sends what is due, and keeps to the bounds."""

    def __init__(self, store: HookStore, settings: HookSettings, http: aiohttp.ClientSession) -> None:
        self._store = store
        self._settings = settings
        self._http = http
        self._wake = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._receivers: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, node: Node, settings: HookSettings) -> AsyncIterator["Hooks"]:
        """Send web hooks while the context is open; what waits at its end is kept."""
        connector = outward_connector(settings.concurrent, allow_local=settings.allow_local)
        cookies = aiohttp.DummyCookieJar()
        headers = {"User-Agent": "bs-management"}  # else it would name the versions of what it is made of
        async with aiohttp.ClientSession(connector=connector, cookie_jar=cookies, headers=headers) as http:
            hooks = cls(HookStore(database, node.uuid), settings, http)
            node.on_loss(hooks._let_go)
            async with background(hooks._run(), "web hooks"):
                yield hooks
            tasks = list(hooks._under_way.values())
            hooks._let_go()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(DatabaseUnavailable):
                await hooks._store.release()

    def parse(self, text: str, *, with_schema: bool) -> WebHook:
        """Check the address that a caller names.

        Raises:
            RequestError: it is none that anything would be sent to; names are looked up only when they are used.
        """
        url = _parse_url(text)
        with suppress(ValueError):  # a name
            ipaddress.ip_address(url.raw_host or "")
            if why := refusal(url.raw_host or "", allow_local=self._settings.allow_local):
                raise _bad_header(f"{why}, and the configuration of the management node does not allow it")
        return WebHook(str(url), str(url.origin()), with_schema)

    async def check_room(self, new: WebHook) -> None:
        """See that one more may wait.

        Raises:
            Overloaded: there are as many as are allowed.
        """
        waiting, its = await self._store.count(new.receiver)
        if waiting >= self._settings.pending:
            raise Overloaded(f"{waiting} web hooks wait for their delivery")
        if its >= _share(self._settings.pending):
            raise Overloaded(f"{its} web hooks wait for their delivery to {new.receiver}")

    async def release(self, job_uuid: str) -> None:
        """Send the job's hook as soon as it has ended: its caller knows of the job by now."""
        try:
            await self._store.tell(job_uuid)
        except DatabaseUnavailable as error:
            log.warning("the web hook of job %s goes later: %s", job_uuid, error.details)
        self.wake()

    def wake(self) -> None:
        """Look at once whether something is due."""
        self._wake.set()

    async def _run(self) -> None:
        is_away = False
        while True:
            self._wake.clear()
            try:
                pause = await self._send_due()
            except DatabaseUnavailable as error:
                if not is_away:
                    log.warning("web hooks: %s; they are sent when it answers again", error.details)
                is_away, pause = True, _LOOK
            except Exception:  # edge: web hooks are sent as long as the node lives
                log.exception("web hooks: looking for those that are due failed")
                pause = _LOOK
            else:
                is_away = False
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _send_due(self) -> float:
        """Start to send what is due, and return how long nothing else will be."""
        free = self._settings.concurrent - len(self._under_way)
        if not free:
            return _LOOK  # the end of a delivery wakes us
        share = _share(self._settings.concurrent)
        for due in await self._store.claim(free, share, self._receivers):
            task = asyncio.create_task(self._deliver(due), name=f"web hook {due.job.uuid}")
            self._under_way[due.job.uuid], self._receivers[due.job.uuid] = task, due.receiver
            task.add_done_callback(partial(self._done, due.job.uuid))
        pause = await self._store.pause(share, self._receivers)
        return _LOOK if pause is None else min(max(pause, _LEAST_WAIT), _LOOK)

    def _done(self, job_uuid: str, _: asyncio.Task[None]) -> None:
        del self._under_way[job_uuid], self._receivers[job_uuid]
        self._wake.set()

    def _let_go(self) -> None:
        """Send nothing on: this node stops, or another one may send it now."""
        for task in self._under_way.values():
            task.cancel()

    async def _deliver(self, due: DueHook) -> None:
        fault = await deliver(self._http, due, self._settings.timeout)
        tries = due.tries + 1
        try:
            if fault is None or tries >= self._settings.tries:
                await self._store.drop(due.job.uuid)
            else:
                pause = min(self._settings.pause * 2.0**due.tries, LONGEST_PAUSE)
                await self._store.postpone(due.job.uuid, tries, pause)
        except DatabaseUnavailable as error:
            log.warning("the web hook of job %s may be sent again: %s", due.job.uuid, error.details)
        if fault and (tries == 1 or tries >= self._settings.tries):
            end = "given up" if tries >= self._settings.tries else "tried again"
            log.warning("the web hook of job %s to %s is %s: %s", due.job.uuid, due.receiver, end, fault)


def _share(places: int) -> int:
    """Return how many of the places one receiver may have, so that the others are served when it is slow."""
    return max(1, places // _RECEIVERS)


def _parse_url(text: str) -> URL:
    try:
        url = URL(text)
        usable = url.scheme in {"http", "https"} and bool(url.host) and bool(url.port)
    except ValueError:
        usable = False
    if not usable or len(text) > MAX_URL or not re.fullmatch(r"[!-~]+", text):
        raise _bad_header("it must be an address such as http://10.0.0.1:8989/webhook")
    if url.user or url.password:
        raise _bad_header("it must not hold a password")
    return url


def _bad_header(why: str) -> RequestError:
    return RequestError(f"Invalid header[{HEADER}], {why}")
