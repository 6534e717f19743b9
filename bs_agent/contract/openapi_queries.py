"""The parameters of queries as the OpenAPI document shows them: `conditions` are repeated `q=`, a sort has one sign."""

from typing import Any

from bs_agent.contract.declaration import QueryParameters
from bs_agent.contract.examples import QUERY
from bs_agent.contract.inventory import BACKUP_STORAGE_KINDS, BackupStorageInventory, Inventory
from bs_agent.contract.query import DEFAULT_LIMIT, MAX_CONDITIONS, MAX_LIMIT, Operator

Schema = dict[str, Any]

ON_THE_WIRE = {
    "conditions": "q",
    "limit": "limit",
    "start": "start",
    "count": "count",
    "groupBy": "groupBy",
    "replyWithCount": "replyWithCount",
    "filterName": "filterName",
    "sortBy": "sort",
    "sortDirection": "sort",
    "fields": "fields",
}

_SCHEMAS: dict[str, Schema] = {
    "q": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_CONDITIONS},
    "limit": {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    "start": {"type": "integer", "minimum": 0, "maximum": 10**17, "default": 0},
    "count": {"type": "boolean", "default": False},
    "replyWithCount": {"type": "boolean", "default": False},
    "fields": {"type": "array", "items": {"type": "string"}},
    "sort": {"type": "string"},
    "groupBy": {"type": "string"},
    "filterName": {"type": "string", "description": "Refused: there are no filters."},
}


def query_parameters(inventory: type[Inventory]) -> list[Schema]:
    """Return the parameters of a query of this inventory."""
    fields = queryable(inventory)
    operators = " ".join(f"`{operator.value}`" for operator in Operator)
    said = {
        ON_THE_WIRE[name]: field.description
        for name, field in QueryParameters.model_fields.items()
        if name in ON_THE_WIRE and field.description
    }
    said["q"] = f"A condition such as `name~=%store%`; repeated ones all hold. Operators: {operators}."
    said["sort"] = f"{said['sort']} `+` or `-` before it says which way."
    shown: list[Schema] = []
    for name in dict.fromkeys(ON_THE_WIRE.values()):
        schema = {key: value for key, value in _SCHEMAS[name].items() if key != "description"}
        parameter: Schema = {"name": name, "in": "query", "required": False, "schema": schema}
        if description := said.get(name) or _SCHEMAS[name].get("description"):
            parameter["description"] = description
        if schema["type"] == "array":
            parameter |= {"style": "form", "explode": name == "q"}
        if name in QUERY and (name not in {"fields", "groupBy", "sort"} or _fits(QUERY[name], fields)):
            parameter["example"] = QUERY[name]
        if name == "q":
            parameter["x-fields"] = fields
            if "status" not in fields:
                parameter["example"] = ["uuid!=0"]
        shown.append(parameter)
    return shown


def queryable(inventory: type[Inventory]) -> list[str]:
    """Return the fields that a condition may name: own ones, those of subtypes, and across tables."""
    kinds = [kind for kind in (inventory, *_subtypes(inventory)) if issubclass(kind, inventory)]
    own = {name for kind in kinds for name in kind.queryable()}
    across = {
        f"{table}.{name}" for kind in kinds for table, below in kind.expands.items() for name in below.reachable()
    }
    return [*sorted(own), *sorted(across), "__systemTag__", "__userTag__"]


def _subtypes(inventory: type[Inventory]) -> list[type[Inventory]]:
    return list(BACKUP_STORAGE_KINDS.values()) if inventory is BackupStorageInventory else []


def _fits(example: str | list[str], fields: list[str]) -> bool:
    named = example if isinstance(example, list) else [example]
    return all(name.lstrip("+-") in fields for name in named)
