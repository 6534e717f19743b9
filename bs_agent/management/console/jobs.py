"""The calls that took long: a list of them, and one with its progress and its end."""

from typing import Any

from aiohttp import web

from bs_agent.contract.errors import ApiError, ResourceNotFound
from bs_agent.contract.inventory import JobInventory
from bs_agent.management.console.listing import listed
from bs_agent.management.console.outcome import faults, payload_of
from bs_agent.management.console.visit import Visit, equal, local
from bs_agent.management.store.jobs import RUNNING

_STATES = ("", "Running", "Failed", "Done")
WORDS = {
    "AddImageStoreBackupStorage": "Add an ImageStore",
    "AddCephBackupStorage": "Add a Ceph pool",
    "ReconnectBackupStorage": "Reconnect",
    "ReconnectImageStoreBackupStorage": "Reconnect",
    "DeleteBackupStorage": "Delete",
    "UpdateBackupStorage": "Edit",
    "ChangeBackupStorageState": "Enable or disable",
}
"""What a call is called on a page; another one by its own name."""


async def show_all(visit: Visit) -> web.StreamResponse:
    """List the jobs, the newest first."""
    state = visit.asked("state")
    conditions = [equal("state", state)] if state in _STATES and state else []
    jobs = await listed(visit, JobInventory, conditions, "-createDate", state=state)
    names = await visit.names({job.get("resourceUuid", "") for job in jobs.items})
    return visit.show("jobs.html", listing=jobs, names=names, states=_STATES, words=WORDS)


async def show(visit: Visit) -> web.StreamResponse:
    """Show how one goes, and how it has ended."""
    uuid = visit.request.match_info["uuid"]
    job = await visit.services.jobs.find(uuid)
    if job is None:
        raise ResourceNotFound("there is no such job; the results of jobs are kept for some hours")
    found = await visit.find(JobInventory, equal("uuid", uuid))
    about = found[0].get("resourceUuid", "") if found else ""
    context: dict[str, Any] = {"faults": [], "made": None}
    if job.state != RUNNING:
        try:
            inventory = payload_of(job).get("inventory", {})
            context["made"] = inventory if "totalCapacity" in inventory else None
        except ApiError as error:
            context["faults"] = faults(error)
    names = await visit.names({about})
    template = "_job.html" if visit.is_refresh else "job.html"
    again = local(visit.asked("again")) if visit.asked("again") else ""
    return visit.show(
        template, job=job, running=job.state == RUNNING, about=about, name=names.get(about, ""), again=again,
        title=WORDS.get(job.api_name, job.api_name), **context,
    )  # fmt: skip
