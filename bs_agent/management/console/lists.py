"""Lists of what there is and what has happened: agents, events, debts."""

import asyncio
from typing import get_args

from aiohttp import web

from bs_agent.contract.inventory import AgentInventory, DebtInventory, EventInventory, EventType
from bs_agent.contract.query import Condition, Operator
from bs_agent.management.console.listing import listed
from bs_agent.management.console.visit import Visit, equal

AGENT_SORTS = {
    "": ("worst first", "-status"),
    "host": ("host", "hostname"),
    "version": ("version", "version"),
    "certificate": ("certificate's end", "certificateEndDate"),
    "poll": ("longest not heard of", "lastPollDate"),
}
_TYPES = get_args(EventType)


async def agents(visit: Visit) -> web.StreamResponse:
    """List the agents."""
    text, status, sort = visit.asked("q"), visit.asked("status"), visit.asked("sort")
    conditions = [Condition("hostname", Operator.LIKE, f"%{text}%")] if text else []
    if status in {"Connected", "Connecting", "Disconnected"}:
        conditions.append(equal("status", status))
    _, order = AGENT_SORTS.get(sort, AGENT_SORTS[""])
    found, away = await asyncio.gather(
        listed(visit, AgentInventory, conditions, order, q=text, status=status, sort=sort),
        visit.count(AgentInventory, equal("status", "Disconnected")),
    )
    names = await visit.names({uuid for agent in found.items for uuid in agent.get("backupStorageUuids", [])[:3]})
    sorts = {name: word for name, (word, _) in AGENT_SORTS.items()}
    return visit.show("agents.html", listing=found, names=names, sorts=sorts, away=away)


async def events(visit: Visit) -> web.StreamResponse:
    """List what has happened, the newest first."""
    text, type_, about = visit.asked("q"), visit.asked("type"), visit.asked("resource")
    conditions = [Condition("resourceName", Operator.LIKE, f"%{text}%")] if text else []
    if type_ in _TYPES:
        conditions.append(equal("type", type_))
    if about:
        conditions.append(equal("resourceUuid", about))
    found = await listed(visit, EventInventory, conditions, "-uuid", q=text, type=type_, resource=about)
    return visit.show("events.html", listing=found, types=_TYPES)


async def debts(visit: Visit) -> web.StreamResponse:
    """List what is still owed to agents, the oldest first."""
    return visit.show("debts.html", listing=await listed(visit, DebtInventory, [], "createDate"))
