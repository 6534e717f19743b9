"""What leaves the server: envelopes, and the `schema` by which existing clients read them."""

from typing import Any

from aiohttp import web
from pydantic_core import to_json

from bs_agent.management.jobs.ended import Item, classes, encoded, ended_body
from bs_agent.management.store.jobs import DONE, StoredJob
from bs_agent.management.store.queries import Found


def answer(payload: Item, status: int = 200) -> web.Response:
    """Return the payload as JSON."""
    return encoded(to_json(payload), status)


def found(result: Found, *, with_schema: bool) -> web.Response:
    """Answer a query."""
    payload: dict[str, Any] = {}
    if result.inventories is not None:
        payload["inventories"] = result.inventories
    if result.total is not None:
        payload["total"] = result.total
    if with_schema:
        items = zip(result.kinds, result.inventories or [], strict=True)
        entries = (classes(f"inventories[{index}]", kind, item) for index, (kind, item) in enumerate(items))
        payload["schema"] = {path: name for classes in entries for path, name in classes}
    payload["success"] = True
    return answer(payload)


def job_ended(job: StoredJob, *, with_schema: bool) -> web.Response:
    """Answer with the result of a job: what the call itself would have answered."""
    return encoded(ended_body(job, with_schema=with_schema), 200 if job.state == DONE else 503)
