"""The examples of every call, sent as the OpenAPI document and its page show them: each is answered, none refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert

from bs_agent.contract.api import PREFIX
from bs_agent.contract.examples import HASHED, VALUES, path_example
from bs_agent.contract.openapi import JOB_PATH, document
from bs_agent.management.store.tables import host
from tests.management.server import Server, ceph_row, mon_row, storage_row

pytestmark = pytest.mark.asyncio

CEPH = path_example("/backup-storage/ceph/{uuid}", "uuid")
ORDER = ("put", "get", "post", "delete")


async def _fill(server: Server) -> None:
    """Make what the examples name."""
    await server.store(storage_row(uuid=VALUES["uuid"]), ceph_row(uuid=CEPH))
    mons = [mon_row(CEPH, "172.20.1.116") | {"monUuid": VALUES["monUuid"]}, mon_row(CEPH, "172.20.1.117")]
    async with server.database.writing() as connection:
        await connection.execute(insert(host), mons)
    await server.call("POST", "/zones", json={"params": {"name": "z", "resourceUuid": VALUES["zoneUuid"]}})


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation, with what is needed before what is taken away."""
    served = [
        (method, path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if "x-calls" in operation and path != JOB_PATH
    ]
    yield from sorted(served, key=lambda one: (ORDER.index(one[0]), one[1].endswith("/login"), -len(one[1])))


def _requests(path: str, operation: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]], Any]]:
    """Yield the path, the query and the body of each example of an operation."""
    shown = [one for one in operation["parameters"] if "example" in one]
    for one in shown:
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", one["example"])
    pairs = [_pairs(one) for one in shown if one["in"] == "query"]
    whole = [pair for some in pairs for pair in some]
    is_query = operation["x-calls"][0]["name"].startswith("Query")
    examples = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
    for example in examples.values() or [None]:
        for query in [[], *pairs] if is_query else [whole]:
            yield path, query, example and example["value"]


def _pairs(parameter: dict[str, Any]) -> list[tuple[str, str]]:
    value = parameter["example"]
    if parameter["name"] == "fields":
        return [("fields", ",".join(value))]
    texts = value if isinstance(value, list) else [value]
    return [(parameter["name"], text if isinstance(text, str) else json.dumps(text)) for text in texts]


async def test_every_example_is_answered(server: Server) -> None:
    await _fill(server)
    sent = set()
    for method, path, operation in _operations():
        for target, query, body in _requests(path.removeprefix(PREFIX), operation):
            status, answer = await server.call(method.upper(), target, params=query, json=body)
            assert status == 200, (method, target, query, body, answer)
            assert "error" not in answer, (method, target, query, body, answer)
        sent |= {call["name"] for call in operation["x-calls"]}
    assert {"LogInByAccount", "UpdateAccount", "DeleteBackupStorage", "QueryBackupStorage"} <= sent


async def test_the_example_of_a_log_in_is_the_hash_of_the_password(server: Server) -> None:
    body = {"updateAccount": {"password": HASHED}}
    account = path_example("/accounts/{uuid}", "uuid")
    assert (await server.call("PUT", f"/accounts/{account}", json=body))[0] == 200
    assert await server.auth.log_in("admin", "password", "127.0.0.1")
