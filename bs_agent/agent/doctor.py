"""The doctor: says on the host what is wrong and what to do, one line for each thing it looked at.

It looks with the rights of the service's user, so that what it can read the service can read.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bs_agent.agent import doctor_ceph, doctor_clock, doctor_host, doctor_service, doctor_storages
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.doctor_finding import Finding
from bs_agent.daemon.privileges import become_owner

Check = Callable[[AgentSettings], Awaitable[list[Finding]]]


async def examine(settings: AgentSettings) -> list[Finding]:
    """Look at everything there is to look at; as root, go on as the owner of the state directory first."""
    with suppress(OSError):
        become_owner(settings.state.directory)
    checks: tuple[Check, ...] = (
        doctor_host.python,
        doctor_clock.clock,
        doctor_service.unit,
        doctor_service.port,
        doctor_service.certificate,
        doctor_ceph.librados,
        doctor_ceph.keyring,
        doctor_ceph.admin_sockets,
        doctor_storages.storages,
    )
    found = await asyncio.gather(*(check(settings) for check in checks))
    return [finding for findings in found for finding in findings]
