"""One storage: how it is now, how it was, what belongs to it, and what can be done to it."""

import asyncio
from collections.abc import Mapping
from typing import Any, get_args

from aiohttp import web
from pydantic_core import to_json

from bs_agent.contract.calls_past import Period
from bs_agent.contract.inventory import (
    DebtInventory,
    EventInventory,
    JobInventory,
    SystemTagInventory,
    UserTagInventory,
    ZoneInventory,
)
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CEPH
from bs_agent.management.console import curve
from bs_agent.management.console.visit import PAGE_HEADERS, Item, Visit, enrolment, equal

PERIODS = get_args(Period)

_LATEST = 8


async def show(visit: Visit) -> web.StreamResponse:
    """Show the page."""
    storage = await visit.storage()
    uuid, period = storage["uuid"], _period(visit)
    user_tags, system_tags, zones, debts, jobs, events = await asyncio.gather(
        visit.find(UserTagInventory, equal("resourceUuid", uuid), sort="tag"),
        visit.find(SystemTagInventory, equal("resourceUuid", uuid), sort="tag"),
        visit.find(ZoneInventory, sort="name"),
        visit.find(DebtInventory, equal("backupStorageUuid", uuid)),
        visit.find(JobInventory, equal("resourceUuid", uuid), sort="createDate", descending=True, limit=_LATEST),
        visit.find(EventInventory, equal("resourceUuid", uuid), sort="uuid", descending=True, limit=_LATEST),
    )
    history = await visit.call("GetBackupStorageCapacityHistory", uuid=uuid, period=period)
    return visit.show(
        "storage.html", storage=storage, user_tags=user_tags, system_tags=system_tags, zones=zones, debts=debts,
        jobs=jobs, events=events, period=period, periods=PERIODS, quorum=_quorum(storage), history=history,
        drawn=curve.drawn(history["points"], history["resolution"]),
    )  # fmt: skip


async def history(visit: Visit) -> web.StreamResponse:
    """Return the curve's numbers, for a script that draws it."""
    storage = await visit.storage()
    answer = await visit.call("GetBackupStorageCapacityHistory", uuid=storage["uuid"], period=_period(visit))
    body = to_json(curve.series(answer["points"], answer["resolution"], is_ceph=storage["type"] == CEPH))
    return web.Response(body=body, content_type="application/json", headers=PAGE_HEADERS)


async def reconnect(visit: Visit) -> web.StreamResponse:
    """Connect to the hosts afresh; a code of the form serves an agent that no longer knows us."""
    storage = await visit.storage()
    tags = enrolment(visit.sent("code"))
    job = await visit.start("ReconnectBackupStorage", uuid=storage["uuid"], systemTags=tags)
    return visit.go(f"/jobs/{job}")


async def change_state(visit: Visit) -> web.StreamResponse:
    """Enable or disable it."""
    storage = await visit.storage()
    await visit.finish("ChangeBackupStorageState", uuid=storage["uuid"], stateEvent=visit.sent("event"))
    return _back(visit, storage)


async def edit(visit: Visit) -> web.StreamResponse:
    """Change its name and its description."""
    storage = await visit.storage()
    changed = {"name": visit.sent("name"), "description": visit.sent("description")}
    await visit.finish("UpdateBackupStorage", uuid=storage["uuid"], **changed)
    return _back(visit, storage)


async def add_tag(visit: Visit) -> web.StreamResponse:
    """Give it a user tag."""
    storage = await visit.storage()
    about = {"resourceType": "BackupStorageVO", "resourceUuid": storage["uuid"]}
    await visit.finish("CreateUserTag", tag=visit.sent("tag"), **about)
    return _back(visit, storage)


async def delete_tag(visit: Visit) -> web.StreamResponse:
    """Take a tag from it."""
    storage = await visit.storage()
    await visit.finish("DeleteTag", uuid=visit.sent("tag"))
    return _back(visit, storage)


async def attach(visit: Visit) -> web.StreamResponse:
    """Attach it to a zone."""
    storage = await visit.storage()
    await visit.finish("AttachBackupStorageToZone", **_zone(visit, storage))
    return _back(visit, storage)


async def detach(visit: Visit) -> web.StreamResponse:
    """Detach it from a zone."""
    storage = await visit.storage()
    await visit.finish("DetachBackupStorageFromZone", **_zone(visit, storage))
    return _back(visit, storage)


def _zone(visit: Visit, storage: Item) -> dict[str, str]:
    return {"zoneUuid": visit.sent("zone"), "backupStorageUuid": storage["uuid"]}


def _back(visit: Visit, storage: Item) -> web.Response:
    return visit.go(f"/storages/{storage['uuid']}")


def _period(visit: Visit) -> str:
    asked = visit.asked("period")
    return asked if asked in PERIODS else "day"


def _quorum(storage: Mapping[str, Any]) -> str:
    """Say how the mons of a cluster stand together, as far as their agents see it."""
    mons = storage.get("mons", [])
    out = {_code(mon) for mon in mons} & {ReasonCode.NO_QUORUM}
    if out or _code(storage) == ReasonCode.NO_QUORUM:
        return "There is no quorum."
    alone = [mon["hostname"] for mon in mons if _code(mon) == ReasonCode.MON_OUT_OF_QUORUM]
    if alone:
        return f"There is a quorum; out of it: {', '.join(alone)}."
    answering = sum(mon["status"] == "Connected" for mon in mons)
    if not answering:
        return "Not known: no mon host answers."
    return f"There is a quorum; {answering} of {len(mons)} mon hosts see it."


def _code(item: Mapping[str, Any]) -> str:
    return str((item.get("statusReason") or {}).get("code", ""))
