"""Requests over HTTP: whom to trust, and what kept an answer from coming. All that the client needs aiohttp for."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp.connector import NEEDS_CLEANUP_CLOSED
from yarl import URL

from bs_agent import __version__
from bs_agent.client.wire.encoding import JSON, Answer, Request
from bs_agent.client.wire.failures import bad_answer
from bs_agent.client.wire.unreached import explained, no_certificates

MAX_ANSWER = 256 * 1024 * 1024


class Line:
    """Connections to the management node at `url`."""

    def __init__(self, url: str, ca_file: Path | None, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._ca_file = ca_file
        self._http = http

    async def ask(self, request: Request, headers: dict[str, str]) -> Answer:
        """Send a request, once.

        Raises:
            NoAnswer: none came, but one may come another time.
            CallFailed: there is no answer that could be used, and there will be none.
        """
        try:
            return await self._ask(request, headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise await explained(self._url, self._ca_file, error, self._http.timeout) from error

    async def _ask(self, request: Request, headers: dict[str, str]) -> Answer:
        if request.body is not None:
            headers = {**headers, "Content-Type": JSON}
        url = URL(self._url.rstrip("/") + request.target, encoded=True)
        async with self._http.request(
            request.method, url, data=request.body, headers=headers, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise bad_answer("the answer is too large", f"more than {MAX_ANSWER} bytes; ask with a limit")
            return Answer(response.status, bytes(body))


@asynccontextmanager
async def opened(url: str, ca_file: Path | None, patience: float) -> AsyncIterator[Line]:
    """Keep connections open while the context is; `patience` is the deadline of one request in seconds.

    Raises:
        CallFailed: the file of certificates cannot be read.
    """
    trust: ssl.SSLContext | bool = True
    if url.startswith("https:"):
        trust = await asyncio.to_thread(_trust, url, ca_file)
    async with aiohttp.ClientSession(
        # A half for the connection alone: so a host that is not there is told from one that does not answer.
        timeout=aiohttp.ClientTimeout(total=patience, sock_connect=patience / 2),
        connector=aiohttp.TCPConnector(ssl=trust, enable_cleanup_closed=NEEDS_CLEANUP_CLOSED),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"bs-agent-client/{__version__}"},
    ) as http:
        yield Line(url, ca_file, http)


def _trust(url: str, ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise no_certificates(url, ca_file, error) from error
