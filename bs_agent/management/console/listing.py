"""A list over several pages, with what the URL asks of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from bs_agent.contract.inventory import Inventory
from bs_agent.contract.query import Condition, Query
from bs_agent.management.console.visit import Item, Visit

PAGE = 50
MOST_PAGES = 10**6


@dataclass(frozen=True)
class Listing:
    """One page of a list. `values` are the filters, by their names in the URL."""

    path: str
    items: Sequence[Item]
    total: int
    page: int
    values: Mapping[str, str]

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // PAGE))

    def url(self, **changes: Any) -> str:  # noqa: ANN401 RUF100  what a template names
        """Return the URL of the list with some things changed; a changed filter begins at the first page."""
        values = {**self.values, "page": 1 if changes else self.page, **changes}
        said = {name: value for name, value in values.items() if value and not (name == "page" and value == 1)}
        return f"{self.path}?{urlencode(said)}" if said else self.path


def page_of(visit: Visit) -> int:
    """Return which page the URL asks for; the first one when it names none."""
    page = visit.asked("page")
    return min(max(int(page), 1), MOST_PAGES) if re.fullmatch(r"[0-9]{1,9}", page) else 1


async def listed(
    visit: Visit, inventory: type[Inventory], conditions: Sequence[Condition], order: str, **values: str
) -> Listing:
    """Return the page that the URL asks for, in an order such as `-createDate`."""
    page = page_of(visit)
    query = Query(
        tuple(conditions), PAGE, (page - 1) * PAGE, reply_with_count=True, sort=order.lstrip("-"),
        descending=order.startswith("-"),
    )  # fmt: skip
    found = await visit.services.calls.find(inventory, query)
    return Listing(visit.request.path, found.inventories or [], found.total or 0, page, values)
