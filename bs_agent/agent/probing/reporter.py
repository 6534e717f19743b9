"""Runs every probe of every storage on its schedule and says what they saw, each value with its age."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bs_agent import __version__
from bs_agent.agent.probing.monitor import Monitor
from bs_agent.agent.storages.base import Host, Storage
from bs_agent.contract.report import BOOT_ID, CephReport, HostReport, ImageStoreReport, Section
from bs_agent.daemon.lifecycle import background

LONGEST_BOOT_ID = 100


class SectionName(NamedTuple):
    """Where a section belongs."""

    storage: str
    kind: str
    section: str


@dataclass
class _Watched:
    storage: Storage
    monitors: dict[str, Monitor] = field(default_factory=dict)
    running: dict[str, AsyncExitStack] = field(default_factory=dict)


class Reporter:
    """Watches storages; what it holds of them is the report."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._watched: dict[str, _Watched] = {}
        self._started_at = round(time.time(), 3)
        self._hostname = socket.gethostname()
        self._boot_id = read_boot_id(host.settings.probe.boot_id)
        self._next_fingerprint = ""
        self.changes = 0  # another number whenever something else than ages changed
        self._listeners: set[asyncio.Event] = set()

    @property
    def next_fingerprint(self) -> str:
        """The fingerprint of the certificate that the agent will show after its next rotation; empty for none."""
        return self._next_fingerprint

    @next_fingerprint.setter
    def next_fingerprint(self, fingerprint: str) -> None:
        if fingerprint != self._next_fingerprint:
            self._next_fingerprint = fingerprint
            self._count_change()

    async def watch(self, storage: Storage) -> None:
        """Begin to probe the storage; one of the same uuid is replaced, its last good values stay."""
        self._count_change()
        watched = self._watched.setdefault(storage.uuid, _Watched(storage))
        watched.storage = storage
        probes = {probe.section: probe for probe in storage.probes}
        for section in watched.monitors.keys() - probes.keys():
            await watched.running.pop(section).aclose()
            del watched.monitors[section]
        for section, probe in probes.items():
            if section in watched.monitors:
                watched.monitors[section].probe = probe
                continue
            monitor = watched.monitors[section] = Monitor(storage.uuid, probe, self._host, self._count_change)
            stack = watched.running[section] = AsyncExitStack()
            await stack.enter_async_context(background(monitor.run(), f"probe {storage.uuid} {section}"))

    async def unwatch(self, uuid: str) -> None:
        """Stop probing the storage; it is no longer in the report."""
        self._count_change()
        watched = self._watched.pop(uuid, None)
        for stack in watched.running.values() if watched else ():
            await stack.aclose()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stop all probes at the end."""
        try:
            yield
        finally:
            await asyncio.gather(*(self.unwatch(uuid) for uuid in list(self._watched)))

    async def refresh(self, uuids: Collection[str], deadline: float) -> None:
        """Probe these storages anew; those that take longer than `deadline` seconds go on without the caller."""
        monitors = [monitor for uuid in uuids for monitor in self._monitors_of(uuid)]
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await asyncio.gather(*(monitor.refresh() for monitor in monitors))

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever something else than ages has changed."""
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            yield changed
        finally:
            self._listeners.discard(changed)

    def reschedule(self) -> None:
        """Take up changed settings at once."""
        for monitor in self._all_monitors():
            monitor.reschedule()

    def storage_report(self, uuid: str) -> ImageStoreReport | CephReport:
        """Return the report of one watched storage as of now."""
        watched = self._watched[uuid]
        return watched.storage.report({name: monitor.section() for name, monitor in watched.monitors.items()})

    def report(self, uuids: Collection[str]) -> HostReport:
        """Return the report of those of the storages that are watched, as of now."""
        return HostReport(
            agentVersion=__version__,
            hostname=self._hostname,
            startedAt=self._started_at,
            bootId=self._boot_id,
            nextFingerprint=self._next_fingerprint,
            storages=[self.storage_report(uuid) for uuid in sorted(uuids) if uuid in self._watched],
        )

    def sections(self) -> Iterator[tuple[SectionName, Section[Any]]]:
        """Go through all sections of all watched storages."""
        for uuid, watched in self._watched.items():
            for name, monitor in watched.monitors.items():
                yield SectionName(uuid, watched.storage.kind, name), monitor.section()

    @property
    def watched(self) -> list[str]:
        """The uuids of the watched storages."""
        return sorted(self._watched)

    @property
    def progressing(self) -> bool:
        """Whether all probes still come to an end, well or not."""
        return all(monitor.progressing for monitor in self._all_monitors())

    def _count_change(self) -> None:
        self.changes += 1
        for listener in self._listeners:
            listener.set()

    def _all_monitors(self) -> Iterable[Monitor]:
        return (monitor for watched in self._watched.values() for monitor in watched.monitors.values())

    def _monitors_of(self, uuid: str) -> Iterable[Monitor]:
        return self._watched[uuid].monitors.values() if uuid in self._watched else ()


def read_boot_id(file: Path) -> str:
    """Return the name of this boot, or nothing where the kernel does not say it."""
    try:
        with file.open() as said:
            found = re.fullmatch(BOOT_ID, said.read(LONGEST_BOOT_ID).strip().lower())
    except (OSError, ValueError):
        return ""
    return found[0] if found else ""
