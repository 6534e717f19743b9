"""`bs-management run`: the node from its start to the signal that ends it."""

import logging
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack

from bs_agent.daemon import lifecycle
from bs_agent.daemon.certificate import CertificateError
from bs_agent.daemon.configuration import ConfigError
from bs_agent.daemon.descriptors import raise_limit
from bs_agent.daemon.logs import set_up_logging
from bs_agent.management.access.sessions import ADMIN
from bs_agent.management.app import Started, start
from bs_agent.management.config import ManagementSettings, ServerSettings

log = logging.getLogger(__name__)


async def serve(settings: ManagementSettings, load: Callable[[], ManagementSettings]) -> None:
    """Run the management node until a signal ends it; `load` reads the configuration again."""
    set_up_logging(settings.log.level, settings.log.format)
    raise_limit()
    running: list[Started] = []

    async def begin(stack: AsyncExitStack) -> None:
        started = await start(settings, stack)
        running.append(started)
        if started.new_password:
            # Standard output, not the log: it is shown this once and kept nowhere. In one piece with the end of its
            # line, which `print` writes apart when output is unbuffered: another process may write in between.
            sys.stdout.write(f"The password of the account {ADMIN} is {started.new_password}\n")
            sys.stdout.flush()

    async def reload() -> None:
        new = load()
        _apply_certificate(new.server, running[0])
        running[0].fleet.configure(new)
        set_up_logging(new.log.level, new.log.format)
        if later := _need_restart(settings, new):
            log.warning("these settings take effect after a restart: %s", ", ".join(later))

    def status() -> str:
        address, poller = running[0].address, running[0].fleet.poller
        where = f"the public API is at {'https' if running[0].tls else 'http'}://{address}/zstack/v1"
        return where + (f", {poller.away} of {poller.watching} agents do not answer" if poller.away else "")

    async def leave() -> None:
        await running[0].leaving.leave()

    await lifecycle.run(lifecycle.Daemon(begin, reload, lambda: running[0].fleet.poller.progressing, status, leave))


def _apply_certificate(server: ServerSettings, started: Started) -> None:
    """Let new connections see a renewed certificate."""
    if not (started.tls and server.tls_certificate and server.tls_key):
        return
    try:
        started.tls.reload(server.tls_certificate, server.tls_key)
    except CertificateError as error:
        raise ConfigError([f"server.tls_certificate: {error}"]) from error


def _need_restart(old: ManagementSettings, new: ManagementSettings) -> list[str]:
    return [
        f"{section}.{key}"
        for section in ("server", "database", "state", "session", "jobs", "hooks", "events")
        for key, value in getattr(old, section)
        if getattr(getattr(new, section), key) != value
    ]
