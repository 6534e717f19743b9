"""Agents played in this process, for what real ones cannot do on request: be slow, refuse, count what they are asked.

Each has a loopback address of its own, where every address answers.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from bs_agent.contract.enrollment import encode
from bs_agent.contract.reasons import Reason
from bs_agent.contract.report import (
    Command,
    CommandState,
    DirectoryUsage,
    HostReport,
    ImageStoreReport,
    Section,
    StorageReport,
)
from bs_agent.daemon.certificate import fingerprint, server_context
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.http import serving
from tests.beds.certificate import ensure_certificate

TOKEN = "played-agents-token"

Build = Callable[[str, dict[str, Any]], StorageReport]


def image_store(uuid: str, parameters: dict[str, Any]) -> ImageStoreReport:
    """Report a directory that is well."""
    usage = DirectoryUsage(totalCapacity=1000, availableCapacity=500, totalInodes=10, availableInodes=5, readOnly=False)
    section = Section[DirectoryUsage](value=usage, collectedAt=1.0, ageSeconds=0.0)
    return ImageStoreReport(uuid=uuid, url=parameters["url"], usage=section)


@dataclass
class Played:
    """One agent; a test changes what it says."""

    build: Build = image_store
    storages: dict[str, StorageReport] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    refuses: dict[str, Reason] = field(default_factory=dict)
    holds: dict[str, asyncio.Event] = field(default_factory=dict)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    outdated: int = 0
    code: str = ""
    token: str = TOKEN
    tokens: set[str] = field(default_factory=set)
    boot: str = ""
    next: str = ""
    enrolled: int = 1

    def enrol(self) -> None:
        """Have an enrolment again, as by the command on the host."""
        self.enrolled = 1

    def is_outdated(self, uuid: str, number: int) -> bool:
        """Tell whether a newer operation on a storage is known, as a real agent does."""
        if number < self.numbers.get(uuid, 0):
            self.outdated += 1
            return True
        self.numbers[uuid] = number
        return False

    def report(self) -> HostReport:
        """Return what it reports."""
        return HostReport(
            agentVersion="1",
            hostname="played",
            startedAt=0,
            bootId=self.boot,
            nextFingerprint=self.next,
            storages=list(self.storages.values()),
        )

    def change(self, uuid: str, **sections: Any) -> None:
        """Report other sections of a storage from now on."""
        self.storages[uuid] = self.storages[uuid].model_copy(update=sections)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer as this agent."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.tokens.add(token)
        if token != self.token:
            return _refusal("AgentUnauthorized", 401)
        what, *rest = [part for part in request.path.split("/") if part and part != "v1"]
        kind = f"{request.method} {'cleanup' if rest[-1:] == ['cleanup'] else what}"
        self.asked[kind] += 1
        if hold := self.holds.get(kind):
            await hold.wait()
        if refusal := self.refuses.get(kind):
            error = {"code": f"BS.{refusal.code}", "description": "", "details": refusal.details}
            return web.json_response({"error": error}, status=503)
        answer: Callable[..., Any] = {
            "GET report": _report,
            "PUT storages": _connect,
            "POST cleanup": _cleanup,
            "GET commands": _command,
            "DELETE enrollments": _forget,
        }.get(kind, _nothing)
        response: web.StreamResponse = await answer(self, request, rest)
        return response


class Players:
    """The agents by address, each a machine of its own: with a certificate of its own, and all at one port."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.port = 0
        self.by_host: dict[str, Played] = {}
        self._folder = folder
        self._stack = stack

    async def add(self, host: str, build: Build = image_store, token: str = TOKEN) -> Played:
        """Play an agent at an address within 127.0.0.0/8."""
        certificate, key = await ensure_certificate(self._folder / host, host)
        agent = self.by_host[host] = Played(build, token=token)
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", agent.handle)
        where = serving(app, Address(host, self.port), server_context(certificate, key))
        self.port = (await self._stack.enter_async_context(where)).port
        agent.code = encode(self.port, token, fingerprint(certificate))
        return agent


@asynccontextmanager
async def players(folder: Path) -> AsyncIterator[Players]:
    """Play agents while the context is open."""
    async with AsyncExitStack() as stack:
        yield Players(folder / "played", stack)


def _refusal(code: str, status: int) -> web.Response:
    return web.json_response({"error": {"code": f"BS.{code}", "details": "seen"}}, status=status)


async def _nothing(_agent: Played, _request: web.BaseRequest, _rest: list[str]) -> web.Response:
    return web.json_response({})


async def _report(agent: Played, request: web.BaseRequest, _rest: list[str]) -> web.Response:
    report = agent.report()
    etag = report.etag()
    if request.headers.get("If-None-Match") == etag:
        agent.asked["304"] += 1
        return web.Response(status=304, headers={"ETag": etag})
    return web.Response(text=report.model_dump_json(), headers={"ETag": etag})


async def _connect(agent: Played, request: web.BaseRequest, rest: list[str]) -> web.Response:
    parameters = json.loads(await request.text())
    if agent.is_outdated(rest[0], parameters["number"]):
        return _refusal("CommandOutdated", 409)
    agent.parameters.append(parameters)
    report = agent.storages.setdefault(rest[0], agent.build(rest[0], parameters))
    return web.Response(text=report.model_dump_json())


async def _cleanup(agent: Played, request: web.BaseRequest, rest: list[str]) -> web.Response:
    wanted = json.loads(await request.text())
    if known := agent.commands.get(wanted["commandUuid"]):
        return web.Response(text=known.model_dump_json(), status=202)
    if agent.is_outdated(rest[0], wanted["number"]):
        return _refusal("CommandOutdated", 409)
    if rest[0] not in agent.storages:
        return _refusal("StorageUnknown", 404)
    if wanted["dryRun"]:
        agent.asked["plan"] += 1
        return web.json_response({"storageUuid": rest[0], "steps": []})
    agent.asked["clean"] += 1
    del agent.storages[rest[0]]
    command = Command(uuid=wanted["commandUuid"], storageUuid=rest[0], state=CommandState.DONE, steps=[], createdAt=0.0)
    agent.commands[command.uuid] = command
    return web.Response(text=command.model_dump_json(), status=202)


async def _forget(agent: Played, _request: web.BaseRequest, _rest: list[str]) -> web.Response:
    agent.enrolled = 0
    return web.json_response({})


async def _command(agent: Played, _request: web.BaseRequest, rest: list[str]) -> web.Response:
    return web.Response(text=agent.commands[rest[0]].model_dump_json())
