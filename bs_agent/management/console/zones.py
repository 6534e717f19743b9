"""The zones: named groups of storages."""

import asyncio

from aiohttp import web

from bs_agent.contract.inventory import BackupStorageInventory, ZoneInventory
from bs_agent.management.console.listing import listed
from bs_agent.management.console.visit import Visit, equal


async def show(visit: Visit) -> web.StreamResponse:
    """List the zones with the numbers of their storages."""
    zones = await listed(visit, ZoneInventory, [], "name")
    counts = await asyncio.gather(
        *(visit.count(BackupStorageInventory, equal("attachedZoneUuids", zone["uuid"])) for zone in zones.items)
    )
    of_zone = {zone["uuid"]: count for zone, count in zip(zones.items, counts, strict=True)}
    return visit.show("zones.html", listing=zones, counts=of_zone)


async def create(visit: Visit) -> web.StreamResponse:
    """Make a zone."""
    given = {"name": visit.sent("name")} | ({"description": text} if (text := visit.sent("description")) else {})
    await visit.finish("CreateZone", **given)
    return visit.go("/zones")


async def delete(visit: Visit) -> web.StreamResponse:
    """Delete a zone; its storages stay."""
    await visit.finish("DeleteZone", uuid=visit.request.match_info["uuid"])
    return visit.go("/zones")
