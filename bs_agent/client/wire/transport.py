"""HTTP to the management node: where it is, whom to trust, deadlines, and which failures are tried again."""

import asyncio
import os
import random
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from aiohttp.connector import NEEDS_CLEANUP_CLOSED
from yarl import URL

from bs_agent import __version__
from bs_agent.client.wire.encoding import JSON, Request
from bs_agent.client.wire.failures import bad_answer, unreachable
from bs_agent.client.wire.signing import AccessKey

DEFAULT_URL = "http://127.0.0.1:8080"
MAX_ANSWER = 256 * 1024 * 1024
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
        trust: ssl.SSLContext | bool = True
        if self.url.startswith("https:"):
            trust = await asyncio.to_thread(_trust, self)
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self.timeout),
            connector=aiohttp.TCPConnector(ssl=trust, enable_cleanup_closed=NEEDS_CLEANUP_CLOSED),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"bs-agent-client/{__version__}"},
        ) as http:
            yield Connection(self, http)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the body as it is."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, whatever it holds."""
        return self.body.decode(errors="replace")


class Connection:
    """An open line to the management node."""

    def __init__(self, client: Client, http: aiohttp.ClientSession) -> None:
        self.client = client
        self._http = http

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
                return await self._once(request, headers)
            except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
                raise unreachable(self.client.url, f"its certificate is not trusted: {error}") from error
            except aiohttp.ClientConnectorError as error:
                failure = unreachable(self.client.url, _cause(error))
            except TimeoutError:
                failure = unreachable(self.client.url, f"no answer within {self.client.timeout:g} s")
                if not repeatable:
                    raise failure from None
            except aiohttp.ClientError as error:
                failure = unreachable(self.client.url, f"the connection broke: {error}")
                if not repeatable:
                    raise failure from error
            if loop.time() + pause > give_up:
                raise failure
            await asyncio.sleep(pause)
        raise AssertionError("the pauses do not end")

    async def _once(self, request: Request, headers: dict[str, str]) -> Answer:
        if request.body is not None:
            headers = {**headers, "Content-Type": JSON}
        url = URL(self.client.url.rstrip("/") + request.target, encoded=True)
        async with self._http.request(
            request.method, url, data=request.body, headers=headers, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise bad_answer("the answer is too large", f"more than {MAX_ANSWER} bytes; ask with a limit")
            return Answer(response.status, bytes(body))


def pauses(longest: float) -> Iterator[float]:
    """Yield growing pauses without end, with jitter so that clients do not come back together."""
    pause = FIRST_PAUSE
    while True:
        yield min(pause, longest) * random.uniform(0.75, 1.0)  # noqa: S311  jitter, not a secret
        pause *= 2


def _cause(error: aiohttp.ClientConnectorError) -> str:
    number = error.os_error.errno
    return os.strerror(number) if number and number > 0 else error.os_error.strerror or str(error)


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


def _trust(client: Client) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=client.ca_file)
    except OSError as error:
        raise unreachable(client.url, f"ca file {client.ca_file}: {error}") from error
