"""The management node as a whole: what starts in which order."""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from bs_agent.contract.errors import InternalError
from bs_agent.daemon.certificate import ServedCertificate
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.cures import cannot_listen
from bs_agent.daemon.deadlines import within
from bs_agent.daemon.http import serving
from bs_agent.daemon.lifecycle import background, enter_guarded
from bs_agent.daemon.notify import inherited_sockets
from bs_agent.management.access.access_keys import AccessKeys
from bs_agent.management.access.scrape_tokens import ScrapeTokens
from bs_agent.management.access.sessions import Auth
from bs_agent.management.access.signature import Signatures
from bs_agent.management.api.calls import Calls
from bs_agent.management.api.routes import Services, application
from bs_agent.management.api.scraping import Scraping
from bs_agent.management.api.use_cases import use_cases
from bs_agent.management.config import EventSettings, ManagementSettings, ServerSettings
from bs_agent.management.console import asking
from bs_agent.management.console.routes import open_console
from bs_agent.management.fleet import FleetService, open_fleet
from bs_agent.management.jobs.hooks import Hooks
from bs_agent.management.jobs.jobs import Jobs
from bs_agent.management.leaving import Leaving
from bs_agent.management.metrics.counts import Tally
from bs_agent.management.metrics.handed_on import AgentScrape
from bs_agent.management.metrics.registry import Metrics
from bs_agent.management.metrics.scrape import FleetScrape
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.access_keys import AccessKeyStore
from bs_agent.management.store.accounts import AccountStore
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.events import prune_events
from bs_agent.management.store.figures import places
from bs_agent.management.store.history import prune_history
from bs_agent.management.store.leases import Node
from bs_agent.management.store.queries import find
from bs_agent.management.store.schema import any_secret, opened
from bs_agent.management.store.scrape_tokens import ScrapeTokenStore
from bs_agent.management.store.signatures import SignatureStore
from bs_agent.management.store.upkeep import learn

log = logging.getLogger(__name__)

_READY_DEADLINE = 5.0
_HOUSEKEEPING = 600.0
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Started:
    """A running management node. `new_password` is the one of `admin` when it was just made."""

    address: Address
    tls: ServedCertificate | None
    fleet: FleetService
    new_password: str | None
    leaving: Leaving


async def start(settings: ManagementSettings, stack: AsyncExitStack) -> Started:
    """Start everything, in this order; the stack undoes it in reverse.

    Raises:
        SchemaError: the database cannot be used.
        SecretsError: the key file cannot be used, or is not the one of the database.
        CertificateError: the TLS certificate cannot be used.
    """
    tls = _tls(settings.server)
    keyring = Keyring.open(settings.state.directory)
    database = await enter_guarded(stack, opened(settings.database.url))
    if secret := await any_secret(database):
        keyring.decrypt(secret)
    auth = await enter_guarded(stack, Auth.open(AccountStore(database), settings.session))
    keys = AccessKeys(AccessKeyStore(database), keyring)
    signatures = await enter_guarded(stack, Signatures.open(keys, SignatureStore(database)))
    node = await enter_guarded(stack, Node.open(database, settings.database.lease))
    hooks = await enter_guarded(stack, Hooks.open(database, node, settings.hooks))
    fleet = await enter_guarded(stack, open_fleet(database, keyring, settings, node))
    # After the fleet, so that it stops before: a job that is cut short takes back what it has begun on the hosts.
    jobs = await enter_guarded(stack, Jobs.open(database, node, settings.jobs, hooks))
    leaving = Leaving(jobs, settings.server.stop_notice, settings.jobs.finish)
    metrics = Metrics()
    metrics.gauge("bs_management_jobs_running", "Jobs that run in this node.", lambda: jobs.running)
    metrics.add(
        Tally("bs_management_log_ins", "Log-ins, by how they ended.", auth.log_ins), jobs.ended, fleet.pushes.counter
    )
    FleetScrape(database, node.uuid, fleet.poller, fleet.check).enter(metrics, fleet.means.intake, settings)
    of_agent = AgentScrape(fleet.means.client, fleet.poller, fleet.means.agents, keyring)
    tokens, url = ScrapeTokens(ScrapeTokenStore(database)), settings.server.public_url
    calls = Calls(use_cases(auth, keys, fleet, database), partial(find, database), jobs)
    proxies = settings.server.trusted_proxies
    services = Services(
        auth=auth,
        signatures=signatures,
        jobs=jobs,
        hooks=hooks,
        calls=calls,
        ready=lambda: _ask(fleet, leaving),
        metrics=metrics,
        scraping=Scraping(metrics, tokens, lambda: places(database), of_agent.of, url),
        public_url=url,
        trusted_proxies=proxies,
    )
    await enter_guarded(stack, background(_keep_house(auth, database, settings.events), "housekeeping"))
    where = inherited_sockets() or settings.server.listen
    web = application(services)
    web.middlewares.append(leaving.middleware)
    web.add_routes(fleet.pushes.routes())
    open_console(web, asking.Services(auth, jobs, calls, url, proxies))
    try:
        address = await enter_guarded(stack, serving(web, where, tls))
    except OSError as error:
        raise OSError(cannot_listen(settings.server.listen, error)) from error
    # Last, because the password is shown only when all has started.
    return Started(address, tls, fleet, await auth.ensure_admin(), leaving)


async def _ask(fleet: FleetService, leaving: Leaving) -> None:
    leaving.check()
    try:
        await within(_READY_DEADLINE, fleet.check())
    except TimeoutError:
        raise InternalError(f"the database did not answer within {_READY_DEADLINE:.0f} s") from None


async def _keep_house(auth: Auth, database: Database, events: EventSettings) -> None:
    known = -1
    while True:
        try:
            await auth.forget_expired()
            await prune_events(database, events.days * _DAY, events.rows)
            await prune_history(database)
            known = await learn(database, known)
        except DatabaseUnavailable as error:
            log.warning("housekeeping: %s", error.details)
        except Exception:  # edge: it goes on as long as the node lives
            log.exception("housekeeping failed")
        await asyncio.sleep(_HOUSEKEEPING)


def _tls(server: ServerSettings) -> ServedCertificate | None:
    if server.tls_certificate and server.tls_key:
        return ServedCertificate(server.tls_certificate, server.tls_key)
    return None
