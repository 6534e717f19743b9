"""What derives from the contract does not drift from it: use cases, routes, validation, completion, OpenAPI."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bs_agent.client.cli import catalog
from bs_agent.client.cli.commands import COMMANDS
from bs_agent.contract.api import APIS, Api
from bs_agent.contract.inventory import AgentInventory, DebtInventory, Inventory, SystemTagInventory
from bs_agent.contract.openapi import document
from bs_agent.contract.openapi_queries import queryable
from bs_agent.management.access.access_keys import AccessKeys
from bs_agent.management.access.sessions import Auth
from bs_agent.management.api.use_cases import use_cases
from bs_agent.management.config import SessionSettings
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.access_keys import AccessKeyStore
from bs_agent.management.store.accounts import AccountStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.fields import RESOURCES
from tests.management.server import Server, TableFleet, storage_row

pytestmark = pytest.mark.asyncio

CEPH_ROW = {"type": "Ceph", "hostname": None, "username": None, "sshPort": None, "fsid": "f", "poolName": "p"}


async def test_each_api_has_a_use_case_or_is_a_query(tmp_path: Path) -> None:
    database = Database.connect(f"sqlite:///{tmp_path}/management.db")
    keys = AccessKeys(AccessKeyStore(database), Keyring.open(tmp_path))
    async with Auth.open(AccountStore(database), SessionSettings()) as auth:
        served = set(use_cases(auth, keys, TableFleet(database).acts, database))
    assert served == {name for name, api in APIS.items() if not api.queries}
    await database.close()


async def test_each_inventory_that_is_queried_has_its_tables() -> None:
    assert {api.queries for api in APIS.values() if api.queries} <= set(RESOURCES)


@pytest.mark.parametrize("inventory", RESOURCES, ids=lambda inventory: inventory.__name__)
async def test_each_field_that_may_be_queried_is_found(inventory: type[Inventory]) -> None:
    resource = RESOURCES[inventory]
    for kind in resource.kinds.values() or [inventory]:
        assert set(kind.queryable()) <= {*resource.fields, *resource.lists}
        assert set(kind.expands) <= set(resource.expands)


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
async def test_each_call_has_its_route_and_its_validation(server: Server, api: Api) -> None:
    """Without a session every route says so, and with a wrong parameter the validation of its own call speaks."""
    for path in api.paths:
        url = path.format(
            **dict.fromkeys(("uuid", "zoneUuid", "backupStorageUuid", "monUuid", "sessionUuid"), "0" * 32)
        )
        body = {api.body_key: {"systemTags": 1}} if api.body_key else None
        headers = {} if api.needs_session else {"Authorization": "OAuth x"}
        async with server.http.request(api.method, server.url + url, headers=headers, json=body) as response:
            said = str((await response.json()).get("error", {}).get("details"))
        if api.needs_session:
            assert (response.status, said) == (400, "missing header 'Authorization'")
        if api.body_key:
            status, refused = await server.call(api.method, url, json=body)
            assert (status, "field[systemTags]" in refused["error"]["details"]) == (400, True)


async def test_each_call_has_its_command_and_its_completion() -> None:
    assert {name for names in COMMANDS.values() for name in names} == set(APIS)
    for api in APIS.values():
        hidden = {"conditions"} if api.queries else set()
        assert set(catalog.parameters(api)) == set(api.parameters.model_fields) - hidden
        if api.queries:
            assert set(catalog.names(api.queries)) == set(queryable(api.queries))


async def test_every_field_that_is_documented_and_completed_can_be_queried(server: Server) -> None:
    for path, methods in document()["paths"].items():
        for parameter in methods.get("get", {}).get("parameters", []):
            for name in parameter.get("x-fields", []):
                answered = await server.call("GET", path, params={"q": f"{name} not null"})
                assert answered == (200, {"inventories": answered[1].get("inventories"), "success": True})


async def test_answers_hold_nothing_that_is_not_documented(server: Server) -> None:
    """Schemas allow more fields, for clients that are older than the server; here they do not."""
    described = document()
    for schema in described["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    await server.store(storage_row(statusReason={"code": "NoRoute", "details": "d"}), storage_row(**CEPH_ROW))
    body = {"params": {"name": "zone", "description": "d"}, "userTags": ["a"]}
    assert (await server.call("POST", "/zones", json=body))[0] == 200
    assert (await server.call("POST", "/accesskeys", json={"params": {"description": "d"}}))[0] == 200
    for api in APIS.values():
        if api.queries:
            status, answer = await server.call("GET", api.paths[0], headers={"X-JSON-Schema": "true"})
            assert status == 200
            reference = {"$ref": f"#/components/schemas/{api.reply.__name__}"}
            Draft202012Validator(reference | {"components": described["components"]}).validate(answer)
            assert answer["inventories"] or api.queries in {SystemTagInventory, AgentInventory, DebtInventory}
