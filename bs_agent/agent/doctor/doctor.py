"""The doctor: says on the host what is wrong and what to do, one line for each thing it looked at.

It looks with the rights of the service's user, so that what it can read the service can read.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.doctor import ceph, clock, host, service, storages
from bs_agent.agent.doctor.finding import Finding
from bs_agent.daemon.privileges import become_owner

Check = Callable[[AgentSettings], Awaitable[list[Finding]]]


async def examine(settings: AgentSettings) -> list[Finding]:
    """Look at everything there is to look at; as root, go on as the owner of the state directory first."""
    with suppress(OSError):
        become_owner(settings.state.directory)
    checks: tuple[Check, ...] = (
        host.python,
        clock.clock,
        service.unit,
        service.port,
        service.certificate,
        ceph.librados,
        ceph.keyring,
        ceph.admin_sockets,
        storages.storages,
    )
    found = await asyncio.gather(*(check(settings) for check in checks))
    return [finding for findings in found for finding in findings]
