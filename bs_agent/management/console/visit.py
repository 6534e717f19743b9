"""One visit of a page: who looks, what they send, what they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

import aiohttp_jinja2
from aiohttp import hdrs, web

from bs_agent.contract.errors import RequestError, ResourceNotFound, UnsupportedEncoding
from bs_agent.contract.inventory import BackupStorageInventory, Inventory
from bs_agent.contract.query import Condition, Operator, Query
from bs_agent.contract.tags import ENROLLMENT
from bs_agent.contract.uuids import one_form
from bs_agent.daemon.http import read_body
from bs_agent.management.access.sessions import Caller
from bs_agent.management.console.asking import Services
from bs_agent.management.console.outcome import payload_of
from bs_agent.management.console.served import SECURITY
from bs_agent.management.jobs.jobs import Payload

Item = dict[str, Any]

PAGE_HEADERS = SECURITY | {hdrs.CACHE_CONTROL: "no-store"}
MOST_NAMED = 1000

_MAX_FORM, _MOST_FIELDS = 256 * 1024, 100
_FORM_TYPE = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Visit:
    """A request of a browser. `token` is what a form must carry; `form` is what one has sent, with its last values."""

    request: web.Request
    services: Services
    caller: Caller
    token: str
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_refresh(self) -> bool:
        """Whether a script asks for a part of the page, to put it where the old one was."""
        return self.request.headers.get("HX-Request") == "true"

    def asked(self, name: str) -> str:
        """Return what the URL says of a name; "" when it says nothing."""
        return self.request.query.get(name, "").strip()

    def sent(self, name: str) -> str:
        """Return a field of the form; "" when there is none."""
        return self.form.get(name, "").strip()

    def show(self, template: str, status: int = 200, **context: Any) -> web.Response:  # noqa: ANN401 RUF100  what a template names
        """Return a page."""
        return rendered(self.request, template, status, {"visit": self} | context)

    def go(self, path: str) -> web.Response:
        """Send the browser to another page; a reload of that sends no form again."""
        return redirect(path)

    async def find(self, inventory: type[Inventory], *conditions: Condition, **more: Any) -> list[Item]:  # noqa: ANN401 RUF100  fields of a query
        """Return the inventories that meet all conditions."""
        query = Query(conditions=conditions, **({"limit": MOST_NAMED} | more))
        return (await self.services.calls.find(inventory, query)).inventories or []

    async def count(self, inventory: type[Inventory], *conditions: Condition) -> int:
        """Return how many inventories meet all conditions."""
        return (await self.services.calls.find(inventory, Query(conditions=conditions, count=True))).total or 0

    async def storage(self) -> Item:
        """Return the storage that the path names.

        Raises:
            ResourceNotFound: there is none.
        """
        uuid = one_form(self.request.match_info["uuid"])
        found = await self.find(BackupStorageInventory, equal("uuid", uuid))
        if not found:
            raise ResourceNotFound("there is no backup storage of this uuid; it may have been deleted")
        return found[0]

    async def names(self, uuids: set[str]) -> dict[str, str]:
        """Return the names of storages; one that is gone has none."""
        some = sorted(uuid for uuid in uuids if uuid)[:MOST_NAMED]
        if not some:
            return {}
        among = Condition("uuid", Operator.IN, ",".join(some))
        return {
            item["uuid"]: item["name"]
            for item in await self.find(BackupStorageInventory, among, fields=("uuid", "name"))
        }

    async def call(self, name: str, /, **raw: Any) -> Payload:  # noqa: ANN401 RUF100  the parameters of any call
        """Run a call that is not long."""
        return await self.services.calls.call(name, raw, self.caller)

    async def start(self, name: str, /, **raw: Any) -> str:  # noqa: ANN401 RUF100  the parameters of any call
        """Start a long call; returns the uuid of its job."""
        return (await self.services.calls.start(name, raw, self.caller)).uuid

    async def finish(self, name: str, /, **raw: Any) -> Payload:  # noqa: ANN401 RUF100  the parameters of any call
        """Run a long call to its end, where that comes soon.

        Raises:
            ApiError: it failed, or it takes longer than a request may wait.
        """
        job = await self.services.calls.start(name, raw, self.caller)
        return payload_of(await self.services.jobs.wait(job))


def enrolment(code: str, hostname: str = "") -> list[str]:
    """Return the system tag of a code, which may be given as that tag, as `bs-agent enroll` prints it."""
    words = code.split()  # what else the command prints may have been taken along
    plain = words[0].rpartition("::")[2] if words else ""
    return [ENROLLMENT + (f"{hostname}::" if hostname else "") + plain] if plain else []


def equal(name: str, value: str) -> Condition:
    """Return the condition that a field has a value."""
    return Condition(name, Operator.EQUAL, value)


def at_least(name: str, value: int) -> Condition:
    """Return the condition that a field has a value or a greater one."""
    return Condition(name, Operator.GREATER_EQUAL, str(value))


def below(name: str, value: int) -> Condition:
    """Return the condition that a field has a lesser value."""
    return Condition(name, Operator.LESS, str(value))


def rendered(request: web.Request, template: str, status: int, context: Item) -> web.Response:
    """Return a page, with the headers that all of them have."""
    response = aiohttp_jinja2.render_template(template, request, context, status=status)
    response.headers.update(PAGE_HEADERS)
    return response


def redirect(path: str) -> web.Response:
    """Send the browser to a page of ours."""
    return web.Response(status=303, headers=PAGE_HEADERS | {hdrs.LOCATION: path})


def local(path: str) -> str:
    """Return a path of this console, whatever was named: "/" when that leads elsewhere."""
    fits = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return quote(path, safe="/?&=%+:,~._-") if fits and len(path) <= 2048 else "/"


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form; of one that comes twice, the last value.

    Raises:
        RequestError: it is too large, too slow, or no form.
    """
    if request.content_type != _FORM_TYPE:
        raise UnsupportedEncoding(f"a form must be sent as {_FORM_TYPE}")
    body = await read_body(request, _MAX_FORM, "form")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise RequestError("the form cannot be read") from None
