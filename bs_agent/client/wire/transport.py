"""The way to the management node: where it is, deadlines, and which failures are tried again."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bs_agent.client.wire.encoding import Answer, Request
from bs_agent.client.wire.failures import NoAnswer
from bs_agent.client.wire.signing import AccessKey

if TYPE_CHECKING:
    from bs_agent.client.wire.http import Line

DEFAULT_URL = "http://127.0.0.1:8080"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A job that still runs `seconds` after it began."""

    job: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where the management node is and how patiently to speak with it. All times are seconds.

    Args:
        url: scheme, host and port; plain http only to this very host, unless `allow_plain_http` says otherwise.
        session_id: the session of calls that name none themselves.
        access_key: signs the calls that name no session, in the place of one.
        ca_file: certificates to trust instead of the system's, for example the management node's own.
        timeout: the deadline of one request.
        patience: how long failing connections are tried again; only calls that cannot take effect twice are.
        polling_interval: the longest pause between two looks at a job; the first looks follow one another faster.
        polling_timeout: how long to wait for a job.
        on_progress: called after each look at a job.

    Raises:
        ValueError: the url cannot be used; the message says what is allowed.
    """

    url: str = DEFAULT_URL
    session_id: str = field(default="", repr=False)
    access_key: AccessKey | None = None
    ca_file: Path | None = None
    allow_plain_http: bool = False
    timeout: float = 30.0
    patience: float = 5.0
    polling_interval: float = 1.0
    polling_timeout: float = 3 * 3600.0
    on_progress: Callable[[Progress], None] | None = None

    def __post_init__(self) -> None:
        _check_url(self.url, self.allow_plain_http)

    @asynccontextmanager
    async def connect(self) -> "AsyncIterator[Connection]":
        """Keep connections open from call to call while the context is open."""
        from bs_agent.client.wire.http import opened  # noqa: PLC0415  with aiohttp, half of the SDK's import

        async with opened(self.url, self.ca_file, self.timeout) as line:
            yield Connection(self, line)


class Connection:
    """An open line to the management node."""

    def __init__(self, client: Client, line: "Line") -> None:
        self.client = client
        self._line = line

    async def send(
        self, request: Request, headers: dict[str, str], *, repeatable: bool, patience: float | None = None
    ) -> Answer:
        """Send a request; after a failed connection again, with growing pauses, while the patience lasts.

        One that is not `repeatable` is sent again only when it certainly did not arrive.

        Raises:
            CallFailed: there is no answer, or one that is too large.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + (self.client.patience if patience is None else patience)
        for pause in pauses(LONGEST_PAUSE):
            try:
                return await self._line.ask(request, headers)
            except NoAnswer as broken:
                failure = broken.failure
                if broken.arrived and not repeatable:
                    raise failure from broken
            if loop.time() + pause > give_up:
                raise failure
            await asyncio.sleep(pause)
        raise AssertionError("the pauses do not end")


def pauses(longest: float) -> Iterator[float]:
    """Yield growing pauses without end, with jitter so that clients do not come back together."""
    pause = FIRST_PAUSE
    while True:
        yield min(pause, longest) * random.uniform(0.75, 1.0)  # noqa: S311  jitter, not a secret
        pause *= 2


def is_loopback(host: str) -> bool:
    """Tell whether a host is this very one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_url(url: str, allow_plain_http: bool) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"url {url!r}: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"url {url!r}: must be http://host:port or https://host:port")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"):
        raise ValueError("url: must be scheme, host and port only, for example https://mn.example:8443")
    if parts.scheme == "http" and not allow_plain_http and not is_loopback(host):
        raise ValueError(
            f"url {url!r}: plain http would show the session to the network; use https, "
            "or allow plain http on purpose (allow_plain_http, --allow-plain-http)"
        )
