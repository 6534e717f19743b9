"""The fleet: how many storages are how, and which of them to look at first."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bs_agent.contract.errors import ApiError
from bs_agent.contract.inventory import BACKUP_STORAGE_KINDS, BackupStorageInventory, ZoneInventory
from bs_agent.contract.query import Condition, Operator, parse_condition
from bs_agent.management.console.listing import Listing, listed, page_of
from bs_agent.management.console.visit import Visit, at_least, below, equal

_SHOWN: dict[str, tuple[str, tuple[Condition, ...]]] = {
    "": ("All", ()),
    "trouble": ("In trouble", (at_least("urgency", 100),)),
    "away": ("Disconnected", (at_least("urgency", 300),)),
    "connecting": ("Connecting", (at_least("urgency", 200), below("urgency", 300))),
    "attention": ("Attention", (at_least("urgency", 100), below("urgency", 200))),
    "well": ("Connected and well", (below("urgency", 100),)),
    "disabled": ("Disabled", (equal("state", "Disabled"),)),
}
_SORTS = {
    "": ("worst first", "-urgency"),
    "name": ("name", "name"),
    "free": ("least free", "availableCapacity"),
    "size": ("largest", "-totalCapacity"),
    "age": ("oldest numbers", "capacityDate"),
    "new": ("newest", "-createDate"),
}
_IS_CONDITION = re.compile(r"\s*[A-Za-z_.]+\s*(!?\?=|!?~=|!=|>=|<=|=|>|<)|.*\s(is|not) null\s*", re.DOTALL)
_TILES = ("away", "connecting", "attention", "well")


@dataclass(frozen=True)
class Wanted:
    """What the URL asks for."""

    text: str
    shown: str
    kind: str
    zone: str
    sort: str

    @classmethod
    def of(cls, visit: Visit) -> "Wanted":
        """Read the URL; what it says of no use is left aside."""
        shown, kind, sort = (visit.asked(name) for name in ("show", "type", "sort"))
        return cls(
            visit.asked("q"),
            shown if shown in _SHOWN else "",
            kind if kind in BACKUP_STORAGE_KINDS else "",
            visit.asked("zone"),
            sort if sort in _SORTS else "",
        )

    def conditions(self) -> tuple[Condition, ...]:
        """Return what all storages of the list meet.

        Raises:
            RequestError: the text looks like a condition and is none.
        """
        found = [*_SHOWN[self.shown][1]]
        if self.text:
            is_condition = _IS_CONDITION.match(self.text)
            named = Condition("name", Operator.LIKE, f"%{self.text}%")
            found.append(parse_condition(self.text) if is_condition else named)
        if self.kind:
            found.append(equal("type", self.kind))
        if self.zone:
            found.append(equal("attachedZoneUuids", self.zone))
        return tuple(found)

    @property
    def values(self) -> dict[str, str]:
        """The filters by their names in the URL."""
        return {"q": self.text, "show": self.shown, "type": self.kind, "zone": self.zone, "sort": self.sort}


async def show(visit: Visit) -> web.StreamResponse:
    """Show the totals and one page of the list; a refresh, these alone."""
    wanted = Wanted.of(visit)
    totals, found, zones = await asyncio.gather(
        _totals(visit), _listed(visit, wanted), visit.find(ZoneInventory, sort="name", fields=("uuid", "name"))
    )
    context = {
        "wanted": wanted, "choices": {name: word for name, (word, _) in _SHOWN.items()}, "kinds": BACKUP_STORAGE_KINDS,
        "sorts": {name: word for name, (word, _) in _SORTS.items()}, "zones": zones, "tiles": _TILES,
    }  # fmt: skip
    template = "_fleet.html" if visit.is_refresh else "fleet.html"
    return visit.show(template, **context, **totals, **found)


async def _totals(visit: Visit) -> dict[str, Any]:
    counts = (visit.count(BackupStorageInventory, *_SHOWN[name][1]) for name in ("", *_TILES))
    capacity, every, *others = await asyncio.gather(visit.call("GetBackupStorageCapacity", all=True), *counts)
    return {"capacity": capacity, "every": every, "counts": dict(zip(_TILES, others, strict=True))}


async def _listed(visit: Visit, wanted: Wanted) -> dict[str, Any]:
    """Return a page of the list; what is wrong with the text that is searched for is said above an empty one."""
    _, order = _SORTS[wanted.sort]
    try:
        found = await listed(visit, BackupStorageInventory, wanted.conditions(), order, **wanted.values)
    except ApiError as error:
        if not wanted.text:
            raise
        return {"listing": Listing("/", [], 0, page_of(visit), wanted.values), "problem": error.details}
    return {"listing": found, "problem": ""}
