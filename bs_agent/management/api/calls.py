"""Runs the calls of the public API, whoever brings them: a request of a client, or a page of the console."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bs_agent.contract.api import APIS, Api, Parameters
from bs_agent.contract.inventory import Inventory
from bs_agent.contract.query import Condition, Operator, Query
from bs_agent.contract.uuids import is_uuid, one_form
from bs_agent.management.access.sessions import Caller
from bs_agent.management.api.decode import Raw, validate
from bs_agent.management.jobs.jobs import Job, Jobs, Order, Payload
from bs_agent.management.store.events import acting
from bs_agent.management.store.queries import Found, not_found

UseCase = Callable[[Any, Caller], Awaitable[Payload]]
Finder = Callable[[type[Inventory], Query], Awaitable[Found]]

_ABOUT = ("uuid", "resourceUuid", "backupStorageUuid", "monUuid")
"""Parameters that name what a call is about."""


class Calls:
    """The use case of each API that is no query, and what finds inventories for the others."""

    def __init__(self, use_cases: Mapping[str, UseCase], find: Finder, jobs: Jobs) -> None:
        self._use_cases = use_cases
        self._find = find
        self._jobs = jobs

    async def find(self, inventory: type[Inventory], query: Query) -> Found:
        """Run a query.

        Raises:
            InvalidArgument: it names fields that there are not, or values that do not fit them.
        """
        return await self._find(inventory, query)

    async def check(self, name: str, raw: Raw) -> Parameters:
        """Check the parameters of a call, and do nothing else; see `checked`."""
        return await self.checked(APIS[name], raw)

    async def call(self, name: str, raw: Raw, caller: Caller) -> Payload:
        """Run a call that is not long.

        Raises:
            ApiError: its parameters are wrong, or it fails.
        """
        return await self.use(APIS[name], validate(APIS[name], raw), caller)

    async def start(self, name: str, raw: Raw, caller: Caller) -> Job:
        """Start a long call as a job.

        Raises:
            ApiError: its parameters are wrong, or as many jobs run as are allowed.
        """
        api = APIS[name]
        return await self.run(api, await self.checked(api, raw), caller, Order())

    async def use(self, api: Api, parameters: Parameters, caller: Caller) -> Payload:
        """Run the use case of a call."""
        with acting(caller.account_uuid, caller.account_name):
            return await self._use_cases[api.name](parameters, caller)

    async def run(self, api: Api, parameters: Parameters, caller: Caller, order: Order) -> Job:
        """Run the use case of a long call as a job."""
        named = about(parameters.model_dump(include=set(_ABOUT)))
        return await self._jobs.start(
            order, api.name, caller.account_uuid, lambda: self.use(api, parameters, caller), named
        )

    async def checked(self, api: Api, raw: Raw) -> Parameters:
        """Check the parameters of a call; a uuid that must name something is looked up.

        Raises:
            ApiError: one is wrong.
        """
        parameters = validate(api, raw)
        for name, inventory in api.must_exist:
            uuid = getattr(parameters, name)
            by_uuid = Condition("uuid", Operator.EQUAL, uuid)
            result = await self.find(inventory, Query(conditions=(by_uuid,), fields=("uuid",)))
            if not result.inventories:
                raise not_found(inventory, uuid, name)
        return parameters


def about(parameters: Raw) -> str | None:
    """Return the uuid of what a call is about, if its parameters name one."""
    named = (one_form(value) for value in map(parameters.get, _ABOUT) if isinstance(value, str))
    return next((uuid for uuid in named if is_uuid(uuid)), None)
