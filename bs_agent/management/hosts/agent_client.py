"""Client of the agent protocol: pinned certificates, bearer tokens, deadlines, bounded answers, errors as reasons.

One pool of connections serves all agents; a `Target` says whether its connection is worth keeping between two requests.
"""

import asyncio
import logging
import os
from asyncio import sslproto
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from yarl import URL

from bs_agent.contract.bounds import Details, Label
from bs_agent.contract.errors import ApiError, InvalidArgument, Overloaded, StorageProblem
from bs_agent.contract.push import ConnectRequest, ReportTo
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import (
    FINAL_STATES,
    KNOWS_NEXT,
    CleanupPlan,
    CleanupRequest,
    Command,
    CommandState,
    HostReport,
    StorageParameters,
    StorageReport,
)
from bs_agent.contract.spoilt import first_fault
from bs_agent.daemon.descriptors import OUT_OF_RESOURCES
from bs_agent.management.hosts.connections import Connections, within
from bs_agent.management.hosts.pins import KeptPin, Pin

log = logging.getLogger(__name__)

M = TypeVar("M")

MAX_ANSWER = 8 * 1024 * 1024

_FORMATS = ("text/plain;", "application/openmetrics-text;")
_FIRST_LOOK, _LAST_LOOK = 0.05, 2.0
# asyncio's buffer of 256 KiB per TLS connection would be 250 MiB for a thousand of them; reports are a few KiB long.
_TLS_BUFFER = 1024

_PROBLEMS = {f"BS.{code}": code for code in ReasonCode}

_REPORT = TypeAdapter(HostReport)
_STORAGE_REPORT: TypeAdapter[StorageReport] = TypeAdapter(StorageReport)
_COMMAND = TypeAdapter(Command)
_PLAN = TypeAdapter(CleanupPlan)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """An agent as the client sees it. With `keep` it is asked over a connection that is kept for the next time.

    `next_pin` is the certificate that the agent has announced: it may show that one from any moment on.
    """

    name: str
    url: URL
    pin: Pin
    headers: dict[str, str] = field(repr=False)
    keep: bool = False
    next_pin: Pin | None = None


class Answer(NamedTuple):
    """What came back, and the certificate that was shown: its fingerprint, and until when it is good, if known."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    shown: str
    until: int | None = None


class Told(NamedTuple):
    """A report, or None in its place when it is still the one that the etag names; and what was shown with it.

    `date` is what the answer's header says: how the agent's clock goes.
    """

    report: HostReport | None
    etag: str
    shown: str
    date: str = ""
    until: int | None = None


class Scraped(NamedTuple):
    """An agent's metrics, in the format that the content type names."""

    body: bytes
    content_type: str


class _Connect(ConnectRequest):
    """The parameters of the storage stand beside what the class declares."""

    model_config = ConfigDict(extra="allow")


class _ShownError(BaseModel):
    code: Label
    description: Details = ""
    details: Details | None = None


class _ErrorAnswer(BaseModel):
    error: _ShownError


def target(
    hostname: str, port: int, fingerprint: str, token: str, *, keep: bool = False, next_fingerprint: str | None = None
) -> Target:
    """Return the target for an agent.

    `keep` holds its connection open between requests. Without it each request has one of its own, and shows that the
    agent can be reached now.
    """
    host = f"[{hostname}]" if ":" in hostname else hostname
    headers = {"Authorization": f"Bearer {token}"}
    if not keep:
        headers["Connection"] = "close"
    pinned = KeptPin if keep else Pin
    pin = pinned(bytes.fromhex(fingerprint))
    next_pin = pinned(bytes.fromhex(next_fingerprint)) if next_fingerprint else None
    if next_fingerprint:
        headers[KNOWS_NEXT] = next_fingerprint
    return Target(f"{host}:{port}", URL(f"https://{host}:{port}"), pin, headers, keep, next_pin)


class Agents:
    """Talks to agents.

    Every method raises StorageProblem when the agent does not answer as it should, InvalidArgument when it refuses
    what it was told, or Overloaded when this machine has nothing left to connect with.
    """

    _session: aiohttp.ClientSession

    def __init__(self, timeout: float, command_timeout: float) -> None:
        self.timeout = timeout
        self.command_timeout = command_timeout
        self.report_to: ReportTo | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, timeout: float, command_timeout: float) -> AsyncIterator["Agents"]:  # noqa: ASYNC109  a setting, not this call's deadline
        """Hold the pool of connections while the context is open.

        `timeout` is the deadline of one request. `command_timeout` is that of one for which the agent asks the storage:
        a hung one costs it its own deadline up to four times (the turn, the connect, its undoing, the fresh report).
        """
        sslproto.SSLProtocol.max_size = _TLS_BUFFER
        agents = cls(timeout, command_timeout)
        async with aiohttp.ClientSession(
            connector=Connections(lambda: agents.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", "User-Agent": "bs-management"},
            auto_decompress=False,
            trust_env=False,
        ) as agents._session:
            yield agents

    async def report(self, at: Target, etag: str = "") -> Told:
        """Return the report and its ETag; None in its place when it is still the one that `etag` names."""
        answer = await self._request(at, "GET", "/v1/report", headers={"If-None-Match": etag} if etag else None)
        date = answer.headers.get("Date", "")
        if answer.status == 304:
            return Told(None, etag, answer.shown, date, answer.until)
        etag = answer.headers.get("ETag", "")
        if not etag.isascii():  # no header could carry it back
            etag = ""
        return Told(_decode(at, _REPORT, answer), etag, answer.shown, date, answer.until)

    async def metrics(self, at: Target, accept: str) -> Scraped:
        """Return what the agent shows to Prometheus, in a format that `accept` names."""
        answer = await self._request(at, "GET", "/metrics", headers={"Accept": accept})
        kind = answer.headers.get("Content-Type", "")
        if not kind.startswith(_FORMATS) or not kind.isascii() or not kind.isprintable():
            raise _fault(at, "its metrics are in no format that Prometheus reads")
        return Scraped(answer.body, kind)

    async def is_alive(self, at: Target) -> bool:
        """Tell whether anything that shows the pinned certificate answers."""
        try:
            return (await self._request(at, "GET", "/livez")).status == 200
        except StorageProblem:
            return False

    async def connect(self, at: Target, storage_uuid: str, parameters: StorageParameters, number: int) -> StorageReport:
        """Run the connect command: fresh handles, then this storage's fresh report. Reports go to `report_to` then.

        `number` is that of the operation, here and in the commands below: the agent refuses an overtaken one.
        """
        path = f"/v1/storages/{storage_uuid}"
        content = _Connect(reportTo=self.report_to, number=number, **parameters.model_dump())
        answer = await self._request(at, "PUT", path, content, deadline=self.command_timeout)
        return _decode(at, _STORAGE_REPORT, answer)

    async def plan_cleanup(
        self, at: Target, storage_uuid: str, command_uuid: str, number: int, *, host_only: bool = False
    ) -> CleanupPlan:
        """Ask what a cleanup would do; nothing is changed."""
        request = CleanupRequest(commandUuid=command_uuid, number=number, dryRun=True, hostOnly=host_only)
        return _decode(at, _PLAN, await self._post_cleanup(at, storage_uuid, request))

    async def cleanup(
        self, at: Target, storage_uuid: str, command_uuid: str, number: int, *, deadline: float, host_only: bool = False
    ) -> Command:
        """Run the cleanup to its end; under the same `command_uuid` it is run once, however often it is asked for.

        With `host_only` the host lets go of the storage, which lives on through its other hosts.

        Raises:
            StorageProblem: it did not end well before the deadline, in seconds.
        """
        try:
            async with asyncio.timeout(deadline):
                request = CleanupRequest(commandUuid=command_uuid, number=number, hostOnly=host_only)
                command = await self._run_cleanup(at, storage_uuid, request)
        except TimeoutError:
            details = f"{at.name}: the cleanup did not end within {deadline:g} s"
            raise StorageProblem.of(ReasonCode.AGENT_TIMEOUT, details) from None
        if command.state != CommandState.DONE:
            failed = next((step.error for step in command.steps if step.error), None)
            interrupted = Reason(code=ReasonCode.COMMAND_INTERRUPTED, details=f"{at.name}: {command.state}")
            raise StorageProblem(command.error or failed or interrupted)
        return command

    async def forget(self, at: Target, enrollment_id: str) -> None:
        """Let the agent forget an enrolment; one that it does not know is forgotten already."""
        await self._request(at, "DELETE", f"/v1/enrollments/{enrollment_id}", allowed=(404,))

    async def forget_quietly(self, at: Target, enrollment_id: str) -> None:
        """Let the agent forget an enrolment that nobody uses any more, if it can be reached."""
        try:
            await self.forget(at, enrollment_id)
        except ApiError as problem:
            log.info("enrolment %s stays with agent %s: %s", enrollment_id, at.name, problem.details)

    async def _run_cleanup(self, at: Target, storage_uuid: str, request: CleanupRequest) -> Command:
        command = _decode(at, _COMMAND, await self._post_cleanup(at, storage_uuid, request))
        pause = _FIRST_LOOK
        while command.state not in FINAL_STATES:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)
            command = _decode(at, _COMMAND, await self._request(at, "GET", f"/v1/commands/{request.commandUuid}"))
        return command

    async def _post_cleanup(self, at: Target, storage_uuid: str, request: CleanupRequest) -> Answer:
        path = f"/v1/storages/{storage_uuid}/cleanup"
        return await self._request(at, "POST", path, request, deadline=self.command_timeout)

    async def _request(
        self,
        at: Target,
        method: str,
        path: str,
        content: BaseModel | None = None,
        *,
        headers: dict[str, str] | None = None,
        allowed: tuple[int, ...] = (),
        deadline: float | None = None,
    ) -> Answer:
        deadline = deadline or self.timeout
        sent = at.headers | (headers or {})
        data = None
        if content is not None:
            data = content.model_dump_json()
            sent["Content-Type"] = "application/json"
        with _translated(at, deadline):
            async with within(deadline):
                try:
                    answer = await self._send(at, at.pin, (method, path), data, sent)
                except aiohttp.ServerFingerprintMismatch as error:
                    # Nothing was sent yet: the certificate is looked at before.
                    if at.next_pin is None or error.got != at.next_pin.fingerprint:
                        raise
                    answer = await self._send(at, at.next_pin, (method, path), data, sent)
        if answer.status >= 300 and answer.status != 304 and answer.status not in allowed:
            raise _error(at, answer)
        return answer

    async def _send(
        self, at: Target, pin: Pin, what: tuple[str, str], data: str | None, headers: dict[str, str]
    ) -> Answer:
        """Send a request, and once more where its connection was closed meanwhile: nothing is done twice of it.

        aiohttp does so by itself for other methods than POST, before an answer has begun.
        """
        try:
            return await self._exchange(at, pin, what, data, headers)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError) as error:
            if what[0] != "POST" and not isinstance(error, aiohttp.ClientPayloadError):
                raise
            return await self._exchange(at, pin, what, data, headers)

    async def _exchange(
        self, at: Target, pin: Pin, what: tuple[str, str], data: str | None, headers: dict[str, str]
    ) -> Answer:
        method, path = what
        url = at.url.with_path(path, encoded=True)  # a tenth of what it takes to parse one
        request = self._session.request(
            method, url, data=data, headers=headers, ssl=pin, allow_redirects=False, timeout=_NONE
        )
        async with request as response:
            body = await _read(at, response)
            return Answer(response.status, body, response.headers, pin.fingerprint.hex(), pin.until)


_NONE = aiohttp.ClientTimeout(total=None)  # the deadline around the request holds for all of it


def words_of(error: OSError) -> str:
    """Say an error in the system's words; asyncio puts others in their place."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


async def _read(at: Target, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            response.close()
            raise _fault(at, f"its answer is larger than {MAX_ANSWER} bytes")
    return bytes(body)


def _decode(at: Target, model: TypeAdapter[M], answer: Answer) -> M:
    try:
        return model.validate_json(answer.body)
    except ValidationError as error:
        raise _fault(at, f"its answer is not of the protocol: {first_fault(error)}") from None


def _error(at: Target, answer: Answer) -> ApiError:
    """Return the agent's own error, where it is one of the vocabulary."""
    if answer.status == 401:
        return StorageProblem.of(ReasonCode.AGENT_UNAUTHORIZED, f"{at.name} refused the token")
    try:
        shown = _ErrorAnswer.model_validate_json(answer.body).error
    except ValidationError:
        return _fault(at, f"answered {answer.status}")
    details = shown.details or shown.description
    if shown.code == InvalidArgument.code and answer.status in {400, 429}:
        return InvalidArgument(f"{at.name}: {details}")
    try:
        return StorageProblem.of(_PROBLEMS[shown.code], details)
    except KeyError:
        return _fault(at, f"answered {answer.status} {shown.code}: {details}")


def _fault(at: Target, details: str) -> StorageProblem:
    return StorageProblem.of(ReasonCode.AGENT_FAULT, f"{at.name}: {details[:500]}")


@contextmanager
def _translated(at: Target, timeout: float) -> Iterator[None]:
    try:
        yield
    except aiohttp.ServerFingerprintMismatch as error:
        details = f"{at.name} showed a certificate with the fingerprint {error.got.hex()}"
        raise StorageProblem.of(ReasonCode.CERTIFICATE_CHANGED, details) from None
    except TimeoutError:
        raise StorageProblem.of(ReasonCode.AGENT_TIMEOUT, f"{at.name} did not answer within {timeout:g} s") from None
    except aiohttp.ClientSSLError as error:
        details = f"what listens at {at.name} does not speak TLS as an agent does: {error.os_error}"
        raise StorageProblem.of(ReasonCode.AGENT_UNREACHABLE, details) from None
    except aiohttp.ClientConnectorError as error:
        if error.os_error.errno in OUT_OF_RESOURCES:
            details = f"this machine cannot connect to {at.name}: {words_of(error.os_error)}"
            raise Overloaded(details) from None
        raise StorageProblem.of(ReasonCode.AGENT_UNREACHABLE, f"{at.name}: {words_of(error.os_error)}") from None
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        details = f"{at.name} closed the connection: {error}"
        raise StorageProblem.of(ReasonCode.AGENT_UNREACHABLE, details) from None
    except aiohttp.ClientError as error:
        raise _fault(at, f"{type(error).__name__}: {error}") from None
