"""An ImageStore: a directory on this host that carries our marker file, and the TCP service that serves its images."""

import asyncio
import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydantic import BaseModel

from bs_agent.agent.storages.base import Host, Probe, Reading
from bs_agent.agent.storages.own_addresses import own_addresses
from bs_agent.agent.worker.process import Worker, WorkerBusyError
from bs_agent.contract.errors import RequestError, StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import (
    IMAGESTORE,
    DirectoryUsage,
    ImageStoreParameters,
    ImageStoreReport,
    Section,
    ServiceAnswer,
    Step,
)

_REMOVE = "remove"
LONGEST_PORT = 5


class Memory(BaseModel):
    """What is remembered of a directory: where it was, by which mount, and on which file system."""

    url: str
    realPath: str
    mount: str
    fsid: int
    device: int
    readOnly: bool


class ImageStore:
    """One ImageStore; every touch of its directory happens in the worker of that directory."""

    kind = IMAGESTORE

    def __init__(
        self, uuid: str, parameters: ImageStoreParameters, remembered: dict[str, Any] | None, host: Host
    ) -> None:
        self.uuid = uuid
        self._owner: str | None = uuid
        self._path = parameters.url
        self._place = place(parameters, host)
        self._service = parameters.service
        self._remembered = remembered
        self._host = host
        self._worker: Worker | None = None
        self._closed = False
        self._found: list[str] | None = None  # what was ours there before the first connect
        service = (Probe("service", self._read_service),) if self._service else ()
        self.probes = (Probe("usage", self._read_usage), *service)

    def report(self, sections: Mapping[str, Section[Any]]) -> ImageStoreReport:
        """Return the report with these sections."""
        return ImageStoreReport(
            uuid=self.uuid, url=self._path, usage=sections["usage"], service=sections.get("service")
        )

    async def connect(self, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Put the marker in the directory, or see that it is there."""
        if self._service:
            service_address(self._service)
        if self._remembered and self._remembered["url"] != self._path:
            details = f"{self._path}: this backup storage is at {self._remembered['url']}; delete it there first"
            raise StorageProblem.of(ReasonCode.DIRECTORY_NOT_ALLOWED, details)
        self._probing().renew(at_once=True)  # a probe may hang on what is no longer mounted here
        if self._remembered is None:
            self._found = await self._do("directory_leftovers", remembered=None)
        taken = [other["realPath"] for other in others]
        found = await self._do(
            "directory_connect", remembered=self._remembered, taken=taken, followed=self._path in self._host.followed
        )
        self._note_following(found)
        self._remembered = Memory.model_validate({**found, "url": self._path}).model_dump()
        return self._remembered

    async def undo(self) -> None:
        """Remove the marker, if it was not there before."""
        if self._found is None:
            return
        for step in await self.plan_cleanup():
            if _name(step) not in self._found:
                await self.clean(step)

    async def plan_cleanup(self) -> list[Step]:
        """Return one step for each name of ours in the directory."""
        names = await self._do("directory_leftovers", remembered=self._remembered)
        return [Step(action=_REMOVE, target=f"{self._path.rstrip('/')}/{name}") for name in names]

    async def clean(self, step: Step) -> None:
        """Remove the name that the step says, if it is ours."""
        await self._do("directory_remove", name=_name(step), remembered=self._remembered)

    def repeatable(self, step: Step) -> bool:
        """Tell that removing a name of ours may be done twice."""
        return step.action == _REMOVE

    async def close(self) -> None:
        """Give the worker back."""
        self._closed = True
        if self._worker:
            await self._host.workers.give_back(self._worker)

    def probed_by(self) -> str:
        """Return the name of the worker that probes: the storages of one mount share it, for they hang together.

        The path may lead through other mounts than the one that it ends at.
        """
        places = [self._path] + ([self._remembered["realPath"]] if self._remembered else [])
        return "mount " + " ".join(dict.fromkeys(self._host.mounts.of(place) for place in places))

    def _note_following(self, found: dict[str, Any]) -> None:
        if found.get("follows"):
            self._host.followed.add(self._path)

    def _probing(self) -> Worker:
        """Return the worker that probes, as things are mounted now."""
        name = self.probed_by()
        if self._worker is None or self._worker.name != name:
            if self._worker:
                self._host.workers.let_go(self._worker)
            self._worker = self._host.workers.borrow(name)
        return self._worker

    async def _read_usage(self) -> Reading:
        if self._closed:
            raise StorageProblem.of(ReasonCode.PROBE_TIMEOUT, "the storage was connected anew meanwhile")
        followed = self._path in self._host.followed
        found = await self._ask(self._probing(), "directory_usage", followed=followed)
        self._note_following(found)
        usage = DirectoryUsage.model_validate(found)
        if not usage.totalCapacity:
            raise StorageProblem.of(ReasonCode.DIRECTORY_FAULT, f"the file system of {self._path} tells no size")
        return Reading(usage, usage_reason(self._path, usage))

    async def _read_service(self) -> Reading:
        try:
            host, port = service_address(self._service)
        except RequestError as error:  # an address that this host has lost since the connect
            raise StorageProblem.of(ReasonCode.SERVICE_DOWN, error.details) from None
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            async with asyncio.timeout(self._host.deadline):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            details = f"{address} does not answer within {self._host.deadline:g} s"
            raise StorageProblem.of(ReasonCode.SERVICE_DOWN, details) from None
        except OSError as error:
            raise StorageProblem.of(ReasonCode.SERVICE_DOWN, f"{address}: {error.strerror}") from None
        # With nobody listening on a port of the dynamic range, TCP may have connected us to ourselves.
        own_end = writer.get_extra_info("sockname") == writer.get_extra_info("peername")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        if own_end:
            raise StorageProblem.of(ReasonCode.SERVICE_DOWN, f"{address}: nothing listens there")
        return Reading(ServiceAnswer(address=address))

    async def _do(self, operation: str, **parameters: Any) -> Any:  # noqa: ANN401 RUF100  what the worker's JSON holds
        """Ask a worker of this directory's own: whatever others wait for, it begins at once."""
        async with self._host.workers.lent(self._place) as worker:
            return await self._ask(worker, operation, **parameters)

    async def _ask(self, worker: Worker, operation: str, **parameters: Any) -> Any:  # noqa: ANN401 RUF100  the same
        try:
            return await worker.call(operation, self._host.deadline, path=self._path, storage=self._owner, **parameters)
        except WorkerBusyError:
            raise
        except StorageProblem as error:
            if error.reason.code == ReasonCode.PROBE_TIMEOUT:
                details = f"{self._path} does not answer within {self._host.deadline:g} s"
                raise StorageProblem.of(ReasonCode.DIRECTORY_HUNG, details) from None
            raise


class PlainDirectory(ImageStore):
    """A directory that is not connected: its usage is read whatever marker it carries, and nothing else is done."""

    def __init__(self, path: str, host: Host) -> None:
        uuid = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        super().__init__(uuid, ImageStoreParameters(url=path), None, host)
        self._owner = None

    def probed_by(self) -> str:
        """Return a name of its own: where the path leads to is not known."""
        return self._place


def place(parameters: ImageStoreParameters, _host: Host) -> str:
    """Name the directory, by the path that was given."""
    return f"directory {parameters.url}"


def usage_reason(path: str, usage: DirectoryUsage) -> Reason | None:
    """Say what is not well although the numbers are true."""
    if usage.readOnly:
        return Reason(code=ReasonCode.READ_ONLY, details=f"{path} is mounted read-only")
    if usage.availableCapacity == 0:
        return Reason(code=ReasonCode.DIRECTORY_FULL, details=f"{path} has no room left")
    if usage.totalInodes and usage.availableInodes == 0:  # a file system that counts none has no limit
        return Reason(code=ReasonCode.INODES_EXHAUSTED, details=f"{path} has no inodes left")
    return None


def _name(step: Step) -> str:
    return step.target.rpartition("/")[2]


def service_address(service: str) -> tuple[str, int]:
    """Parse `port` or `address:port`; only an address of this host is allowed, else the agent would probe others.

    Raises:
        RequestError: it is something else.
    """
    host, _, port = service.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and len(port) <= LONGEST_PORT and 0 < int(port) < 65536):
        raise RequestError(f"service must be a port or address:port of this host, not {service[:100]!r}")
    if not _is_local(host):
        raise RequestError(f"service must be at an IP address of this host, not at {host[:100]!r}")
    return host, int(port)


def _is_local(host: str) -> bool:
    try:
        wanted = ipaddress.ip_address(host)
    except ValueError:
        return False
    return wanted.is_loopback or str(wanted) in own_addresses()
