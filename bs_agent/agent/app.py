"""The agent as a whole: its parts in the order in which they start, undone in reverse."""

import logging
from asyncio import sslproto
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from pydantic import ValidationError

from bs_agent.agent import http, state
from bs_agent.agent.commands import Commands
from bs_agent.agent.config import AgentSettings
from bs_agent.agent.journal import journal
from bs_agent.agent.metrics import Metrics
from bs_agent.agent.probing.reporter import Reporter
from bs_agent.agent.push.push import Pushing, open_session
from bs_agent.agent.served import Served
from bs_agent.agent.storages.base import Host
from bs_agent.agent.trust.enrollment import Enrollments
from bs_agent.agent.trust.told import Told
from bs_agent.contract.errors import StorageProblem, explain
from bs_agent.daemon.certificate import CertificateError, ServedCertificate
from bs_agent.daemon.configuration import Address, ConfigError
from bs_agent.daemon.cures import cannot_listen
from bs_agent.daemon.http import serving
from bs_agent.daemon.lifecycle import Daemon, enter_guarded
from bs_agent.daemon.logs import set_up_logging
from bs_agent.daemon.notify import inherited_sockets

log = logging.getLogger(__name__)

# A TLS record is 16 KiB at most; asyncio's 256 KiB of buffer per connection would be most of the agent's memory.
TLS_BUFFER = 16 * 1024
# How many of the connections may come from one address: whoever has no token must not keep the management nodes out.
PART_OF_ONE_PEER = 1 / 4
APPLIED_AT_ONCE = {("probe", "interval"), ("probe", "deadline"), ("log", "level"), ("log", "format")}


@dataclass(frozen=True)
class Agent:
    """A running agent."""

    parts: http.Parts
    address: Address
    kept: state.State

    @property
    def host(self) -> Host:
        """What the storages need of the host."""
        return self.parts.host

    @property
    def reporter(self) -> Reporter:
        """What watches the storages."""
        return self.parts.reporter

    @property
    def served(self) -> Served:
        """The storages."""
        return self.parts.served

    @property
    def status(self) -> str:
        """What the service manager shows: where it serves, and how many storages are not well."""
        storages = self.reporter.report(self.served.uuids).storages
        ill = sum(bool(storage.reasons()) for storage in storages)
        return f"serving {len(self.served.uuids)} backup storages on {self.address}" + (f", {ill} not well" * bool(ill))


async def start(settings: AgentSettings, stack: AsyncExitStack) -> Agent:
    """Start the parts one after the other; the stack stops them in reverse.

    Raises:
        StateError: a part cannot be started; the message says what to do.
    """
    sslproto.SSLProtocol.max_size = TLS_BUFFER
    kept = await state.prepare(settings.state.directory)
    host = Host(settings)
    reporter = Reporter(host)
    reporter.next_fingerprint = kept.next_fingerprint
    try:
        announce = await enter_guarded(stack, state.running(kept.directory))
        store = await enter_guarded(stack, journal.opened(kept.database))
        await enter_guarded(stack, host.workers.running())
        await enter_guarded(stack, reporter.running())
        served = Served(host, store, reporter)
        await served.load()
        commands = Commands(store, served)
        await enter_guarded(stack, commands.running())
        told = Told(store)
        await enter_guarded(stack, told.running())
        session = await enter_guarded(stack, open_session(host.names))
        pushing = Pushing(session, store, reporter, served)
        await enter_guarded(stack, pushing.running())
    except ValidationError as error:
        raise state.StateError(f"the journal {kept.database} cannot be used: {explain(error)}") from error
    except (StorageProblem, ValueError) as error:
        raise state.StateError(f"the journal {kept.database} cannot be used: {error}") from error
    metrics = Metrics(reporter, host.workers, store, pushing)
    tls = ServedCertificate(kept.certificate)
    parts = http.Parts(host, store, reporter, served, commands, Enrollments(store), told, pushing, metrics, tls)
    app = http.build(parts, settings.server.max_requests)
    where = inherited_sockets() or settings.server.listen
    most = settings.server.max_connections
    share = max(1, int(most * PART_OF_ONE_PEER))
    server = serving(app, where, tls, max_connections=most, max_per_peer=share, known_only=True)
    try:
        address = await enter_guarded(stack, server)
    except OSError as error:
        raise state.StateError(cannot_listen(settings.server.listen, error)) from error
    announce(address)
    return Agent(parts, address, kept)


def daemon(settings: AgentSettings, load: Callable[[], AgentSettings]) -> Daemon:
    """Return the agent as the shell of the daemon runs it; `load` reads the configuration again."""
    running: list[Agent] = []

    async def begin(stack: AsyncExitStack) -> None:
        agent = await start(settings, stack)
        running.append(agent)
        log.info("certificate fingerprint %s", agent.kept.fingerprint)

    async def reload() -> None:
        for agent in running:
            await take_up(agent)
            apply(agent, load())

    return Daemon(
        begin,
        reload,
        progressing=lambda: all(agent.reporter.progressing for agent in running),
        status=lambda: "; ".join(agent.status for agent in running),
    )


async def take_up(agent: Agent) -> None:
    """Take up what commands have changed in the state directory: whose tokens hold, and the certificates.

    Each for itself: a certificate that cannot be read must not keep a token valid that was taken away.

    Raises:
        ConfigError: one of them cannot be read; the old one stays.
    """
    faults = []
    try:
        await agent.parts.enrollments.reread()
        agent.parts.served.retain_owners(agent.parts.enrollments.ids)
        await agent.parts.pushing.follow()
    except StorageProblem as error:
        faults.append(error.details)
    try:
        found = await state.read_pairs(agent.kept.directory)
        agent.parts.tls.reload(found.certificate)
        agent.parts.reporter.next_fingerprint = found.next_fingerprint
    except (state.StateError, CertificateError) as error:
        faults.append(str(error))
    if faults:
        raise ConfigError(faults)


def apply(agent: Agent, wanted: AgentSettings) -> None:
    """Apply what can be changed while the agent runs, and name in the log what needs a restart."""
    present = agent.host.settings
    applied: dict[str, dict[str, object]] = {}
    for section in AgentSettings.model_fields:
        old, new = getattr(present, section), getattr(wanted, section)
        for key in type(old).model_fields:
            if getattr(old, key) == getattr(new, key):
                continue
            if (section, key) in APPLIED_AT_ONCE:
                applied.setdefault(section, {})[key] = getattr(new, key)
            else:
                log.warning("%s.%s has changed: restart the agent to apply it", section, key)
    changed = {section: getattr(present, section).model_copy(update=keys) for section, keys in applied.items()}
    agent.host.settings = present.model_copy(update=changed)
    set_up_logging(agent.host.settings.log.level, agent.host.settings.log.format)
    agent.reporter.reschedule()
