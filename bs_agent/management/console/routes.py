"""The pages by their paths."""

from aiohttp import web

from bs_agent.management.console import account, add, delete, fleet, jobs, lists, served, storage, zones
from bs_agent.management.console.asking import Services
from bs_agent.management.console.log_in import LogIn
from bs_agent.management.console.pages import Page, Pages, set_up

_STORAGE = "/storages/{uuid}"
LOOKS: dict[str, Page] = {
    "/": fleet.show,
    _STORAGE: storage.show,
    f"{_STORAGE}/history.json": storage.history,
    f"{_STORAGE}/delete": delete.show,
    "/add": add.show,
    "/agents": lists.agents,
    "/events": lists.events,
    "/debts": lists.debts,
    "/jobs": jobs.show_all,
    "/jobs/{uuid}": jobs.show,
    "/zones": zones.show,
    "/sessions": account.sessions,
    "/access-keys": account.access_keys,
}
CHANGES: dict[str, Page] = {
    f"{_STORAGE}/reconnect": storage.reconnect,
    f"{_STORAGE}/state": storage.change_state,
    f"{_STORAGE}/edit": storage.edit,
    f"{_STORAGE}/tags": storage.add_tag,
    f"{_STORAGE}/tags/delete": storage.delete_tag,
    f"{_STORAGE}/zones": storage.attach,
    f"{_STORAGE}/zones/detach": storage.detach,
    f"{_STORAGE}/delete": delete.delete,
    "/add": add.add,
    "/add/check": add.check,
    "/zones": zones.create,
    "/zones/{uuid}/delete": zones.delete,
    "/sessions/end": account.end_session,
    "/sessions/end-others": account.end_others,
    "/access-keys": account.create_access_key,
    "/access-keys/delete": account.delete_access_key,
}


def open_console(app: web.Application, services: Services) -> None:
    """Let an application show the console, too."""
    set_up(app)
    pages = Pages(services)
    app.add_routes(served.routes())
    app.add_routes(LogIn(services, pages).routes())
    app.add_routes([pages.look(path, page) for path, page in LOOKS.items()])
    app.add_routes([pages.change(path, page) for path, page in CHANGES.items()])
