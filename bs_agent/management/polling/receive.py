"""Takes the reports that agents send by themselves, when something has changed between two polls.

Who sends is known before a byte of the body is read; what is said enters by the same door as what a poll brings.
"""

import hmac
import re
import time
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from prometheus_client import Counter
from pydantic import TypeAdapter, ValidationError

from bs_agent.contract.enrollment import token_hash
from bs_agent.contract.errors import AgentUnauthorized, Overloaded, RequestError, TooManyRequests, explain
from bs_agent.contract.push import PUSH_PATH, ReportTo, push_token
from bs_agent.contract.report import HostReport
from bs_agent.daemon.certificate import fingerprint
from bs_agent.daemon.http import read_json
from bs_agent.management.config import ServerSettings
from bs_agent.management.hosts.agent_client import MAX_ANSWER
from bs_agent.management.hosts.trust import reveal
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.polling.places import AT_ONCE, Places
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.agents import AgentStore

Receive = Callable[[str, HostReport], bool]
Forward = Callable[[str], Awaitable[None]]

OUTCOMES = ("taken", "forwarded", "put_off", "refused", "unauthorized", "failed")

_REPORT = TypeAdapter(HostReport)
_ENROLLMENT = re.compile(r"[0-9a-f]{32}")


class Pushes:
    """The route for pushed reports.

    `receive` takes an agent's uuid and its report; of an agent that another node polls, `forward` tells that node.
    """

    def __init__(self, agents: AgentStore, keyring: Keyring, receive: Receive, forward: Forward) -> None:
        self._agents = agents
        self._keyring = keyring
        self._receive = receive
        self._forward = forward
        self.counter = Counter("bs_management_pushes", "Reports that agents sent.", ["outcome"], registry=None)
        for outcome in OUTCOMES:
            self.counter.labels(outcome)
        self._looked_up = 0
        self._places = Places(time.monotonic)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes for the application."""
        return [web.post(PUSH_PATH, self.handle)]

    async def handle(self, request: web.Request) -> web.Response:
        """Take one report."""
        outcome = "failed"
        try:
            outcome = await self._handle(request)
        except (Overloaded, TooManyRequests):
            outcome = "put_off"
            raise
        except RequestError:
            outcome = "refused"
            raise
        except AgentUnauthorized:
            outcome = "unauthorized"
            raise
        finally:
            self.counter.labels(outcome).inc()
        return web.json_response({})

    async def _handle(self, request: web.Request) -> str:
        """Take one report, and return what has become of it."""
        if self._looked_up >= AT_ONCE:
            raise self._places.put_off(f"{AT_ONCE} senders are being looked up")
        self._looked_up += 1
        try:
            sender = await self._sender(request)
        finally:
            self._looked_up -= 1
        with self._places.of(sender.uuid):
            try:
                report = _REPORT.validate_python(await read_json(request, MAX_ANSWER))
            except ValidationError as error:
                raise RequestError(explain(error)) from None
            if self._receive(sender.uuid, report):
                return "taken"
            await self._forward(sender.uuid)
            return "forwarded"

    async def _sender(self, request: web.Request) -> AgentRecord:
        """Return the agent of this enrolment.

        Raises:
            AgentUnauthorized: nobody is enrolled so, or the token is another.
        """
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        named = request.match_info["id"]
        looks_so = scheme.lower() == "bearer" and _ENROLLMENT.fullmatch(named)
        known = await self._agents.enrolled(named) if looks_so else None
        if known is None or not hmac.compare_digest(self._token_of(known), token.encode("utf-8", "surrogateescape")):
            raise AgentUnauthorized("no enrolment has this id and this token")
        return known

    def _token_of(self, agent: AgentRecord) -> bytes:
        return push_token(token_hash(reveal(self._keyring, agent.tokenSecret))).encode()


def advertised(server: ServerSettings) -> ReportTo | None:
    """Return what agents are told of where to push to, if anything.

    Raises:
        CertificateError: the certificate that they would pin cannot be read.
    """
    if not server.advertise_url:
        return None
    pinned = server.tls_certificate if server.advertise_url.startswith("https://") else None
    return ReportTo(url=server.advertise_url, fingerprint=fingerprint(pinned) if pinned else "")
