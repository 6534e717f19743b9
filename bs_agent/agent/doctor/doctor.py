"""The doctor: says on the host what is wrong and what to do, one line for each thing it looked at.

It looks with the rights of the service's user, so that what it can read the service can read.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Protocol

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.doctor import ceph, clock, host, service, storages
from bs_agent.agent.doctor.finding import Finding
from bs_agent.daemon.privileges import become_owner


class Check(Protocol):
    """Looks at one thing of the host."""

    __name__: str

    def __call__(self, settings: AgentSettings, /) -> Awaitable[list[Finding]]:
        """Return what was found."""
        ...


async def examine(settings: AgentSettings) -> list[Finding]:
    """Look at everything there is to look at; as root, go on as the owner of the state directory first."""
    groups = await service.groups()
    with suppress(OSError):
        become_owner(settings.state.directory, groups)
    checks: tuple[Check, ...] = (
        host.python,
        service.configuration,
        clock.clock,
        service.unit,
        service.port,
        service.certificate,
        ceph.librados,
        ceph.configuration,
        ceph.keyring,
        ceph.admin_sockets,
        storages.storages,
    )
    found = await asyncio.gather(*(_looked(check, settings) for check in checks))
    return [finding for findings in found for finding in findings]


def misconfigured(faults: Sequence[str]) -> list[Finding]:
    """Return what is wrong with a configuration that does not hold: without one there is nothing else to look at."""
    found = []
    for fault in faults:
        text, _, cure = fault.partition(" -> ")
        found.append(
            Finding("FAIL", "configuration", text, cure or "Correct it; `bs-agent check-config` reads it anew.")
        )
    return found


async def _looked(check: Check, settings: AgentSettings) -> list[Finding]:
    """Look at one thing; a fault in this must not hide what is said of the others."""
    try:
        return await check(settings)
    except Exception as error:  # noqa: BLE001  edge: it is told in full
        cure = "This is a fault of the doctor: report it."
        return [Finding("FAIL", check.__name__, f"could not be looked at: {error!r}", cure)]
