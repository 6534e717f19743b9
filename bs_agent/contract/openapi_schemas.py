"""From the models of the contract to the schemas of the OpenAPI document: what is sent, and what comes back."""

import re
from collections.abc import Collection
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from bs_agent.contract.declaration import Api, QueryReply, Reply
from bs_agent.contract.errors import ErrorCode
from bs_agent.contract.examples import inventory_example
from bs_agent.contract.inventory import Inventory

Schema = dict[str, Any]

TAGS = ("systemTags", "userTags")

_REFERENCE = "#/components/schemas/{model}"
_CLASSES: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "Which class each inventory is, by its place; with the header X-JSON-Schema.",
    "examples": [{"inventory": "org.zstack.header.storage.backup.BackupStorageInventory"}],
}


def reference(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": _REFERENCE.format(model=name)}


def parameter_schemas(api: Api) -> dict[str, Schema]:
    """Return the schema of each parameter of an API."""
    found = api.parameters.model_json_schema(mode="validation")["properties"]
    return {name: _plain(schema) for name, schema in found.items()}


def required(api: Api) -> list[str]:
    """Return the parameters that an API needs."""
    return [name for name, field in api.parameters.model_fields.items() if field.is_required()]


def reply_name(reply: type[Reply]) -> str:
    """Return the name of a reply's schema."""
    return "EmptyReply" if reply is Reply else reply.__name__


def reply_schema(reply: type[Reply]) -> Schema:
    """Return the schema of a reply, as it is sent: nulls are left out."""
    properties = {name: _field(field.annotation) for name, field in reply.model_fields.items()}
    holds_inventories = issubclass(reply, QueryReply) or "inventory" in properties
    if holds_inventories:
        properties["schema"] = _CLASSES
    if issubclass(reply, QueryReply):
        properties["success"] = {"const": True}
    needed = [name for name, field in reply.model_fields.items() if field.is_required()]
    schema: Schema = {"type": "object", "description": _sentence(reply), "properties": properties}
    return schema | ({"required": needed} if needed else {})


def model_schemas(replies: Collection[type[Reply]]) -> dict[str, Schema]:
    """Return the schemas of the inventories in the replies, of what they consist of, and of errors.

    No field of an inventory is required there: a query may ask for some only. A reply with one inventory says more.
    """
    found: dict[str, Schema] = {}
    inventories = {kind for reply in replies for kind in _inventories(reply)}
    models: list[type[BaseModel]] = [*sorted(inventories, key=lambda kind: kind.__name__), ErrorCode]
    for model in models:
        schema = model.model_json_schema(mode="serialization", ref_template=_REFERENCE)
        found |= schema.pop("$defs", {})
        if "$ref" not in schema:  # a model that holds itself stands among the definitions
            found[model.__name__] = schema
    cleaned = {name: _plain(schema) for name, schema in found.items()}
    for kind in inventories:
        cleaned[kind.__name__].pop("required", None)
        cleaned[kind.__name__]["examples"] = [inventory_example(kind)]
    return cleaned


def _inventories(reply: type[Reply]) -> set[type[Inventory]]:
    return {kind for field in reply.model_fields.values() for kind in _kinds(field.annotation)}


def _kinds(annotation: Any) -> list[type[Inventory]]:  # noqa: ANN401 RUF100  an annotation is anything
    if isinstance(annotation, type) and issubclass(annotation, Inventory):
        return [annotation]
    return [kind for inner in get_args(annotation) for kind in _kinds(inner)]


def _field(annotation: Any) -> Schema:  # noqa: ANN401 RUF100  an annotation is anything
    """Return the schema of a field of a reply."""
    if get_origin(annotation) in {Union, UnionType}:
        inner = [_field(one) for one in get_args(annotation) if one is not type(None)]
        return inner[0] if len(inner) == 1 else {"anyOf": inner}
    if get_origin(annotation) is list:
        items = [_item(kind) for kind in _kinds(annotation)]
        plain: Schema = {"type": "string"}
        return {"type": "array", "items": {"anyOf": items} if len(items) > 1 else items[0] if items else plain}
    if isinstance(annotation, type) and issubclass(annotation, Inventory):
        needed = [name for name, field in annotation.model_fields.items() if field.is_required()]
        return {"allOf": [reference(annotation.__name__), {"required": needed}]}
    return {"type": {int: "integer", float: "number", bool: "boolean", str: "string"}[annotation]}


def _item(kind: type[Inventory]) -> Schema:
    return reference(kind.__name__)


def _plain(schema: Any) -> Any:  # noqa: ANN401 RUF100  JSON
    """Leave out what says nothing: titles made from names, and null, which is never sent."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    options = schema.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [one for one in options if one != {"type": "null"}]
        outer = {name: value for name, value in schema.items() if name != "anyOf"}
        schema = (rest[0] | outer) if len(rest) == 1 else outer | {"anyOf": rest}
    return {
        name: {key: _plain(value) for key, value in inner.items()} if name == "properties" else _plain(inner)
        for name, inner in schema.items()
        if not (name == "title" and isinstance(inner, str)) and not (name == "default" and inner is None)
    }


def _sentence(model: type[BaseModel]) -> str:
    return re.sub(r"\s+", " ", (model.__doc__ or "").strip())
