"""What the console asks of the management node: the calls of the public API, and nothing beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Protocol

from bs_agent.contract.declaration import Parameters
from bs_agent.contract.inventory import Inventory
from bs_agent.contract.query import Query
from bs_agent.management.access.sessions import Auth, Caller
from bs_agent.management.jobs.jobs import Job, Jobs, Payload
from bs_agent.management.store.queries import Found


class Calls(Protocol):
    """Runs the calls of the public API by their names."""

    async def find(self, inventory: type[Inventory], query: Query) -> Found:
        """Run a query."""

    async def check(self, name: str, raw: dict[str, Any]) -> Parameters:
        """Check the parameters of a call, and do nothing else."""

    async def call(self, name: str, raw: dict[str, Any], caller: Caller) -> Payload:
        """Run a call that is not long."""

    async def start(self, name: str, raw: dict[str, Any], caller: Caller) -> Job:
        """Start a long call as a job."""


@dataclass(frozen=True)
class Services:
    """What the pages are made of."""

    auth: Auth
    jobs: Jobs
    calls: Calls
    public_url: str = ""
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()
