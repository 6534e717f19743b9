"""Requests over HTTP: whom to trust, and what kept an answer from coming. All that the client needs aiohttp for."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp.connector import NEEDS_CLEANUP_CLOSED
from yarl import URL

from bs_agent import __version__
from bs_agent.client.wire.encoding import JSON, Answer, Request
from bs_agent.client.wire.failures import NoAnswer, bad_answer, unreachable

MAX_ANSWER = 256 * 1024 * 1024


class Line:
    """Connections to the management node at `url`."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    async def ask(self, request: Request, headers: dict[str, str]) -> Answer:
        """Send a request, once.

        Raises:
            NoAnswer: none came, but one may come another time.
            CallFailed: there is no answer that could be used, and there will be none.
        """
        try:
            return await self._ask(request, headers)
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
            raise unreachable(self._url, f"its certificate is not trusted: {error}") from error
        except aiohttp.ClientConnectorError as error:
            raise NoAnswer(unreachable(self._url, _cause(error)), arrived=False) from error
        except TimeoutError:
            waited = f"no answer within {self._http.timeout.total:g} s"
            raise NoAnswer(unreachable(self._url, waited), arrived=True) from None
        except aiohttp.ClientError as error:
            raise NoAnswer(unreachable(self._url, f"the connection broke: {error}"), arrived=True) from error

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
        timeout=aiohttp.ClientTimeout(total=patience),
        connector=aiohttp.TCPConnector(ssl=trust, enable_cleanup_closed=NEEDS_CLEANUP_CLOSED),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"bs-agent-client/{__version__}"},
    ) as http:
        yield Line(url, http)


def _cause(error: aiohttp.ClientConnectorError) -> str:
    number = error.os_error.errno
    return os.strerror(number) if number and number > 0 else error.os_error.strerror or str(error)


def _trust(url: str, ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise unreachable(url, f"ca file {ca_file}: {error}") from error
