"""No text of a request, however odd its bytes, is a fault of ours: on both databases, by every way into every call."""

from itertools import product
from typing import Any

import pytest
from yarl import URL

from bs_agent.contract.api import APIS, Api
from bs_agent.contract.examples import VALUES
from bs_agent.management.store.database import Database
from tests.management.server import Server, serving_node

pytestmark = pytest.mark.asyncio

ODD = ["%00", "%FF", "%ED%A0%80", "%F0%9F%92%BE", "%E2%84%AA", "'"]


async def _send(server: Server, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    headers = {"Authorization": f"OAuth {server.session}", "X-JSON-Schema": "true"}
    url = URL(f"{server.url}{path}", encoded=True)
    async with server.http.request(method, url, headers=headers, data=body) as response:
        return response.status, await response.text()


def _paths(api: Api, odd: str) -> list[str]:
    """Return the paths of a call, with the odd text in the place of each variable."""
    return [
        path.format(**{name: odd if name == place else str(VALUES[name]) for name in api.path_variables})
        for path in api.paths
        for place in api.path_variables
        if f"{{{place}}}" in path
    ]


async def test_odd_texts_in_paths(database: Database) -> None:
    async with serving_node(database) as server:
        for api, odd in product(APIS.values(), ODD):
            for path in [*_paths(api, odd), f"/api-jobs/{odd}", f"/{odd}"]:
                status, answer = await _send(server, api.method, path, f'{{"{api.body_key}": {{}}}}')
                assert "SYS.1000" not in answer, (api.method, path)
                assert status in {200, 400, 404, 405, 503}
                if "%00" in odd:
                    assert (status, "NUL" in answer) == (400, True), (api.method, path)


QUERY_STRINGS = {
    "GET /backup-storage": (
        "q=name=",
        "q=uuid=",
        "q=name~=",
        "q=uuid?=",
        "q=",
        "sort=",
        "fields=",
        "groupBy=",
        "limit=",
    ),
    "GET /backup-storage/capacities": ("backupStorageUuids=", "zoneUuids="),
    f"DELETE /zones/{'7' * 32}": ("systemTags=", "userTags=", "deleteMode="),
}


async def test_odd_texts_in_query_strings(database: Database) -> None:
    async with serving_node(database) as server:
        for call, names in QUERY_STRINGS.items():
            method, path = call.split()
            for name, odd in product(names, ODD):
                _, answer = await _send(server, method, f"{path}?{name}{odd}")
                assert "SYS.1000" not in answer, (call, name, odd)


TEXTS: list[Any] = [
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\ud83d\\udcbe",
    "\\uffff",
    "\\u202e",
    "'",
    "\\\\",
    "%",
    "\\u212a" * 250,
]


async def test_odd_texts_in_bodies(database: Database) -> None:
    async with serving_node(database) as server:
        for text in TEXTS:
            for path, parameters in (
                ("/zones", '{"name": "TEXT", "description": "TEXT", "userTags": ["TEXT"], "systemTags": ["TEXT"]}'),
                ("/user-tags", '{"resourceType": "ZoneVO", "resourceUuid": "TEXT", "tag": "TEXT"}'),
                ("/accesskeys", '{"description": "TEXT", "accountUuid": "TEXT"}'),
                ("/backup-storage/ceph", '{"name": "TEXT", "monUrls": ["TEXT:TEXT@h"], "poolName": "TEXT"}'),
                (
                    "/backup-storage/image-store",
                    '{"name": "TEXT", "url": "/TEXT", "hostname": "h", "username": "TEXT"}',
                ),
            ):
                body = f'{{"params": {parameters.replace("TEXT", text)}}}'
                _, answer = await _send(server, "POST", path, body)
                assert "SYS.1000" not in answer, (path, text)
