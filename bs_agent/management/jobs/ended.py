"""How a job ended, as JSON, with the `schema` by which existing clients read it."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from aiohttp import web
from pydantic_core import from_json, to_json

from bs_agent.contract.api import APIS, Api
from bs_agent.contract.inventory import BACKUP_STORAGE_KINDS, Inventory
from bs_agent.management.store.jobs import DONE, StoredJob

Item = Mapping[str, Any]


def encoded(body: bytes | str, status: int = 200) -> web.Response:
    """Return JSON that is encoded already."""
    content = body.encode() if isinstance(body, str) else body
    return web.Response(body=content, status=status, headers={"Content-Type": "application/json;charset=utf-8"})


def ended_body(job: StoredJob, *, with_schema: bool) -> bytes:
    """Return the JSON that tells how a job ended; a call that only another version has goes without its schema."""
    result, api = (job.result or "{}").encode(), APIS.get(job.api_name)
    if api is None or job.state != DONE or not with_schema:
        return result
    payload = from_json(result)
    return to_json(payload | {"schema": schema(api, payload)})


def schema(api: Api, payload: Item) -> dict[str, str]:
    """Say which class each inventory of a reply is, parents before children; texts of a list have one too."""
    if "inventory" not in payload:
        lists = {name: value for name, value in payload.items() if isinstance(value, list)}
        return {
            f"{name}[{index}]": _class_in(api.reply.model_fields[name].annotation)
            for name, value in lists.items()
            for index in range(len(value))
        }
    item = payload["inventory"]
    declared = api.reply.model_fields["inventory"].annotation
    kinds = [
        kind for kind in get_args(declared) or [declared] if isinstance(kind, type) and issubclass(kind, Inventory)
    ]
    if len(kinds) == 1:
        return dict(classes("inventory", kinds[0], item))
    return dict(classes("inventory", BACKUP_STORAGE_KINDS[item["type"]], item))


def _class_in(declared: Any) -> str:  # noqa: ANN401 RUF100  an annotation is anything
    """Return the class of what a list holds: an inventory, or text."""
    kinds = [kind for kind in get_args(declared) if isinstance(kind, type) and issubclass(kind, Inventory)]
    return kinds[0].java_class if kinds else "java.lang.String"


def classes(path: str, kind: type[Inventory], item: Item) -> Iterator[tuple[str, str]]:
    """Yield the path and the class of an inventory, and of those within it."""
    yield path, kind.java_class
    for name, below in kind.expands.items():
        for index, _ in enumerate(item.get(name, ())):
            yield f"{path}.{name}[{index}]", below.java_class
