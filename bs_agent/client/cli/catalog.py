"""What the command line knows of each API: its parameters, what can be queried, whose uuids a parameter takes.

All of it is read from the contract, so help, completion and checks cannot drift from it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import SecretStr

from bs_agent.client.actions.partial import kinds
from bs_agent.contract.api import APIS
from bs_agent.contract.declaration import Api, Parameters
from bs_agent.contract.inventory import BACKUP_STORAGE_KINDS, BackupStorageInventory, Inventory, TagInventory
from bs_agent.contract.query import Operator

Kind = Literal["text", "number", "date", "boolean"]

TAG_FIELDS = ("__systemTag__", "__userTag__")

OF_SEVERAL = {"tags": ("/system-tags", "/user-tags")}
"""Collections that hold what several others list."""

USUAL: dict[tuple[type[Inventory], str], tuple[str, ...]] = {
    (BackupStorageInventory, "type"): tuple(BACKUP_STORAGE_KINDS),
    (TagInventory, "resourceType"): ("BackupStorageVO", "ZoneVO"),
}
"""Values of fields that a newer management node may know more of."""

_LISTS = (Operator.IN, Operator.NOT_IN)
_TEXT = (Operator.EQUAL, Operator.NOT_EQUAL, Operator.LIKE, Operator.NOT_LIKE, *_LISTS)
_ORDER = (Operator.GREATER, Operator.GREATER_EQUAL, Operator.LESS, Operator.LESS_EQUAL)
_NUMBER = (Operator.EQUAL, Operator.NOT_EQUAL, *_ORDER, *_LISTS)
_KINDS: dict[Any, Kind] = {bool: "boolean", int: "number", float: "number", datetime: "date"}


@dataclass(frozen=True, slots=True)
class Field:
    """A value that can be given: a parameter of an API, or a field of an inventory.

    It is one of the `choices` if there are some; the `usual` ones are those that this version knows of.
    """

    name: str
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    description: str = ""
    needed: bool = False
    many: bool = False
    secret: bool = False
    nullable: bool = False
    usual: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators that make sense in a condition on this field."""
        if self.kind == "boolean":
            return (Operator.EQUAL, Operator.NOT_EQUAL)
        return _TEXT if self.kind == "text" else _NUMBER

    @property
    def values(self) -> tuple[str, ...]:
        """The values that are known beforehand."""
        return ("true", "false") if self.kind == "boolean" else self.choices or self.usual


@cache
def parameters(api: Api) -> dict[str, Field]:
    """Return the parameters of an API; the conditions of a query are not among them: they are written as such."""
    found = _fields(api.parameters)
    ordered = sorted(found.values(), key=lambda field: (field.name in {"systemTags", "userTags"}, not field.needed))
    return {field.name: field for field in ordered if not (api.queries and field.name == "conditions")}


@cache
def fields(inventory: type[Inventory]) -> dict[str, Field]:
    """Return the fields that a query of this inventory may name, those of its subtypes and the tags among them."""
    found = {
        name: replace(field, needed=False)
        for kind in reversed(kinds(inventory))
        for name, field in _fields(kind).items()
        if name in kind.queryable()
    }
    tags = {name: Field(name, description="A tag of the resource.") for name in TAG_FIELDS}
    return {**dict(sorted(found.items())), **tags}


@cache
def shown(inventory: type[Inventory]) -> list[str]:
    """Return the fields that an answer may hold: what `fields=` names."""
    return sorted({name for kind in kinds(inventory) for name in kind.model_fields})


@cache
def sortable(inventory: type[Inventory]) -> list[str]:
    """Return the fields of a single value: what `sortBy=` and `groupBy=` name."""
    return [name for name, field in fields(inventory).items() if not field.many and name not in TAG_FIELDS]


@cache
def tables(inventory: type[Inventory]) -> dict[str, type[Inventory]]:
    """Return the resources that a query of this inventory can reach across tables."""
    return dict(sorted((name, to) for kind in kinds(inventory) for name, to in kind.expands.items()))


def field_named(inventory: type[Inventory], name: str) -> Field | None:
    """Return the field of a condition; `zone.name` is the field of another table."""
    table, dot, rest = name.partition(".")
    if not dot:
        return fields(inventory).get(name)
    across = tables(inventory).get(table)
    return fields(across).get(rest) if across and rest in across.reachable() else None


def names(inventory: type[Inventory]) -> list[str]:
    """Return every name that a condition may have."""
    across = [f"{table}.{name}" for table, to in tables(inventory).items() for name in sorted(to.reachable())]
    return [*fields(inventory), *across]


def queries(inventory: type[Inventory]) -> Api | None:
    """Return the API that finds inventories of this class."""
    return next((api for api in APIS.values() if api.queries is inventory), None)


def named_by(api: Api, parameter: str, given: Mapping[str, str] | None = None) -> list[tuple[Api, str]]:
    """Return where the values of a parameter that names resources are found: query APIs, each with its field.

    A parameter of the path names what the collection before it lists; another one says by its name what it takes, or
    by the `resourceType` that is given beside it.
    """
    for path in api.paths:
        before, found, _ = path.partition(f"/{{{parameter}}}")
        if found:
            collection = before.rpartition("/")[2]
            paths = OF_SEVERAL.get(collection, (f"/{collection}",))
            named = [one for one in _query_apis() if one.paths[0].endswith(paths)]
            return [(one, "uuid") for one in named] or _across(parameter)
    if parameter == "resourceUuid":
        kind = (given or {}).get("resourceType", "").removesuffix("VO")
        return [(one, "uuid") for one in _query_apis() if kind and one.name == f"Query{kind}"]
    stem = re.sub("Uuids?$", "", parameter).casefold()
    named = [one for one in _query_apis() if stem != parameter.casefold() and stem.endswith(one.name[5:].casefold())]
    return [(one, "uuid") for one in named] or _across(parameter)


def _across(parameter: str) -> list[tuple[Api, str]]:
    """Find a parameter such as `monHostnames` as a field of a table that a query reaches: `mons.hostname`."""
    for api in _query_apis():
        for table, to in api.queries.expands.items() if api.queries else ():
            stem = table.removesuffix("s")
            rest = parameter.removeprefix(stem)
            for name in (parameter, rest[:1].lower() + rest[1:].removesuffix("s")):
                if rest != parameter and name in fields(to):
                    return [(api, f"{table}.{name}")]
    return []


def _query_apis() -> list[Api]:
    return [api for api in APIS.values() if api.queries]


def _fields(model: type[Inventory] | type[Parameters]) -> dict[str, Field]:
    hints = get_type_hints(model)
    found = {
        name: _field(name, hints[name], declared.description or "", declared.is_required())
        for name, declared in model.model_fields.items()
    }
    usual = {name: values for (kind, name), values in USUAL.items() if issubclass(model, kind)}
    return found | {name: replace(found[name], usual=values) for name, values in usual.items()}


def _field(name: str, annotation: Any, description: str, needed: bool) -> Field:
    nullable = False
    if get_origin(annotation) in {Union, UnionType}:
        inner = [one for one in get_args(annotation) if one is not type(None)]
        nullable, annotation = len(inner) < len(get_args(annotation)), inner[0]
    many = get_origin(annotation) is list
    if many:
        annotation = get_args(annotation)[0]
    choices = tuple(str(one) for one in get_args(annotation)) if get_origin(annotation) is Literal else ()
    kind = _KINDS.get(annotation, "text")
    return Field(name, kind, choices, description, needed, many, annotation is SecretStr, nullable)
