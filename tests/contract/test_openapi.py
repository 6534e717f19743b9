"""The OpenAPI document: valid, complete, and with examples that are calls and answers of the contract."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from bs_agent.contract.api import APIS, Api
from bs_agent.contract.errors import ApiError, StorageProblem
from bs_agent.contract.examples import QUERY, VALUES, inventory_example
from bs_agent.contract.inventory import Inventory
from bs_agent.contract.openapi import JOB_PATH, body_example, document
from bs_agent.contract.openapi_queries import ON_THE_WIRE, queryable
from bs_agent.contract.query import parse_query

DOCUMENT = document()
PAIRS = [(api, path) for api in APIS.values() for path in api.paths]
INVENTORIES = sorted({api.queries for api in APIS.values() if api.queries}, key=lambda kind: kind.__name__)


def _operation(api: Api, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][api.method.lower()]
    return found


def _parameters(api: Api, path: str, where: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in _operation(api, path)["parameters"] if one.get("in") == where}


def _valid(schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(value)


def test_the_document_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    validate(DOCUMENT)


def test_it_has_the_calls_that_are_declared_and_no_others() -> None:
    paths = {path: set(methods) for path, methods in DOCUMENT["paths"].items()}
    declared: dict[str, set[str]] = {JOB_PATH: {"get"}}
    for api, path in PAIRS:
        declared.setdefault(path, set()).add(api.method.lower())
    assert paths == declared
    for api, path in PAIRS:
        assert {"name": api.name, "summary": api.summary, "long": api.long}.items() <= {
            key: value for call in _operation(api, path)["x-calls"] if call["name"] == api.name
            for key, value in call.items()
        }.items()  # fmt: skip


@pytest.mark.parametrize(("api", "path"), PAIRS, ids=[f"{api.name} {path}" for api, path in PAIRS])
def test_each_parameter_stands_where_it_travels(api: Api, path: str) -> None:
    variables = set(_parameters(api, path, "path"))
    assert variables == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    query = _parameters(api, path, "query")
    if api.queries:
        assert set(query) == (set() if variables else set(ON_THE_WIRE.values()))
        assert {*ON_THE_WIRE, "systemTags", "userTags"} == set(api.parameters.model_fields)
        return
    names = set(api.parameters.model_fields) - variables
    if api.body_key:
        body = DOCUMENT["components"]["schemas"][f"{api.name}Body"]["properties"]
        assert {*body[api.body_key]["properties"], "systemTags", "userTags"} == names
        needed = set(body[api.body_key].get("required", []))
    else:
        assert set(query) == names
        needed = {name for name, one in query.items() if one["required"]}
    assert needed == {name for name in names if api.parameters.model_fields[name].is_required()}


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_examples_are_valid_calls(api: Api) -> None:
    values = {name: VALUES[name] for name in api.path_variables}
    if api.body_key:
        body = body_example(api)
        _valid({"$ref": f"#/components/schemas/{api.name}Body"}, body)
        values |= body[api.body_key]
    elif not api.queries:
        values |= {name: VALUES[name] for name in api.parameters.model_fields if name in VALUES}
    api.parameters.model_validate(values)


@pytest.mark.parametrize("kind", INVENTORIES, ids=lambda kind: kind.__name__)
def test_examples_of_inventories_are_valid(kind: type[Inventory]) -> None:
    example = inventory_example(kind)
    kind.model_validate(example)
    _valid({"$ref": f"#/components/schemas/{kind.__name__}"}, example)
    assert "uuid" in queryable(kind)
    assert not [name for name in queryable(kind) if "Secret" in name or "Password" in name]


def test_the_example_of_a_query_is_one() -> None:
    pairs = [("q", condition) for condition in QUERY["q"]]
    pairs += [(name, ",".join(value) if isinstance(value, list) else str(value)) for name, value in QUERY.items()][1:]
    query = parse_query(pairs)
    assert (query.limit, query.sort, query.descending, query.fields) == (20, "createDate", True, ("name", "uuid"))


def test_each_operation_shows_its_errors_and_who_may_call() -> None:
    for api, path in PAIRS:
        operation = _operation(api, path)
        assert {"200", "400", "503"} <= set(operation["responses"])
        assert ("202" in operation["responses"]) == api.long
        assert ("callbacks" in operation) == api.long
        assert ("security" in operation) != api.needs_session
    codes = {error.code for error in ApiError.__subclasses__() if error is not StorageProblem and "code" in vars(error)}
    failed = DOCUMENT["components"]["responses"]["Failed"]["description"]
    assert all(f"`{code}`" in failed for code in codes)
