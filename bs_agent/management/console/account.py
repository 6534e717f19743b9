"""What belongs to who is logged in: the open sessions, and the access keys.

A page names sessions by a hash: neither what opens one nor what the API calls it stands in a page.
"""

import hashlib

from aiohttp import web

from bs_agent.contract.errors import ResourceNotFound
from bs_agent.contract.inventory import AccessKeyInventory, OpenSessionInventory
from bs_agent.management.console.visit import Item, Visit, equal


async def sessions(visit: Visit) -> web.StreamResponse:
    """List the open sessions of the account, the newest first."""
    found = await _sessions(visit)
    here = handle(visit.caller.session)
    return visit.show("sessions.html", sessions={handle(one["uuid"]): one for one in found}, here=here)


async def end_session(visit: Visit) -> web.StreamResponse:
    """End one of them."""
    wanted = visit.sent("session")
    uuid = next((one["uuid"] for one in await _sessions(visit) if handle(one["uuid"]) == wanted), None)
    if uuid is None:
        raise ResourceNotFound("the session has ended already")
    await visit.finish("RevokeSession", uuid=uuid)
    return visit.go("/sessions")


async def end_others(visit: Visit) -> web.StreamResponse:
    """End all but this one."""
    for one in await _sessions(visit):
        if one["uuid"] != visit.caller.session:
            await visit.finish("RevokeSession", uuid=one["uuid"])
    return visit.go("/sessions")


async def access_keys(visit: Visit) -> web.StreamResponse:
    """List the access keys of the account."""
    return await _keys(visit, None)


async def create_access_key(visit: Visit) -> web.StreamResponse:
    """Make one, and show its secret this once: it is in this answer and nowhere else."""
    description = visit.sent("description")
    made = await visit.call("CreateAccessKey", **({"description": description} if description else {}))
    return await _keys(visit, made["inventory"])


async def delete_access_key(visit: Visit) -> web.StreamResponse:
    """Delete one."""
    uuid = visit.sent("key")
    if not await visit.find(AccessKeyInventory, equal("uuid", uuid), equal("accountUuid", visit.caller.account_uuid)):
        raise ResourceNotFound("this account has no such access key")
    await visit.finish("DeleteAccessKey", uuid=uuid)
    return visit.go("/access-keys")


def handle(uuid: str) -> str:
    """Return by what a page names a session."""
    return hashlib.sha256(f"session {uuid}".encode()).hexdigest()[:20]


async def _sessions(visit: Visit) -> list[Item]:
    mine = equal("accountUuid", visit.caller.account_uuid)
    return await visit.find(OpenSessionInventory, mine, sort="createDate", descending=True)


async def _keys(visit: Visit, made: Item | None) -> web.Response:
    mine = equal("accountUuid", visit.caller.account_uuid)
    keys = await visit.find(AccessKeyInventory, mine, sort="createDate", descending=True)
    return visit.show("access_keys.html", keys=keys, made=made)
