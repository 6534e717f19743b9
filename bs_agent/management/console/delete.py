"""The deletion of a storage: first what it would do, host by host; then the name, typed, and how."""

from aiohttp import web

from bs_agent.contract.errors import InvalidArgument
from bs_agent.management.console.visit import Item, Visit


async def show(visit: Visit) -> web.StreamResponse:
    """Show what a deletion would do."""
    return await _form(visit, await visit.storage(), "")


async def delete(visit: Visit) -> web.StreamResponse:
    """Delete it, once its name is typed."""
    storage = await visit.storage()
    if visit.form.get("name", "") != storage["name"]:
        return await _form(visit, storage, "This is not the name of the storage: nothing was deleted.")
    job = await visit.start("DeleteBackupStorage", uuid=storage["uuid"], deleteMode=visit.sent("mode"))
    return visit.go(f"/jobs/{job}")


async def _form(visit: Visit, storage: Item, problem: str) -> web.Response:
    answer = await visit.finish("DeleteBackupStorage", uuid=storage["uuid"], dryRun=True)
    preview = answer.get("inventory")
    if preview is None:
        raise InvalidArgument("the storage has been deleted meanwhile")
    return visit.show("delete.html", 400 if problem else 200, storage=storage, preview=preview, problem=problem)
