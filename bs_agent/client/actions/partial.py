"""Inventories of which only some fields were asked for: the same classes, with None where nothing came."""

from functools import cache
from typing import Annotated, Any, Optional

from pydantic import create_model

from bs_agent.contract.declaration import Api, Parameters, QueryParameters, Reply
from bs_agent.contract.inventory import Inventory


def parse_reply(api: Api, parameters: Parameters, answer: dict[str, Any]) -> Reply:
    """Turn the answer into the reply of the API.

    Raises:
        ValidationError: the answer has another form.
    """
    found = answer.get("inventories")
    if api.queries and isinstance(parameters, QueryParameters) and parameters.fields and isinstance(found, list):
        inventories = [_fitting(api.queries, entry).model_validate(entry) for entry in found]
        total = api.reply.model_validate({**answer, "inventories": []})
        return total.model_copy(update={"inventories": inventories})
    return api.reply.model_validate(answer)


def kinds(inventory: type[Inventory]) -> list[type[Inventory]]:
    """Return an inventory's class and those of its subtypes, the most general first."""
    children = [child for child in inventory.__subclasses__() if child.__module__ != __name__]
    return [inventory, *(kind for child in children for kind in kinds(child))]


def _fitting(inventory: type[Inventory], entry: object) -> type[Inventory]:
    keys = set(entry) if isinstance(entry, dict) else set()
    fitting = [kind for kind in kinds(inventory) if keys <= set(kind.model_fields)]
    return _partial(fitting[0] if fitting else inventory)


@cache
def _partial(inventory: type[Inventory]) -> type[Inventory]:
    fields: dict[str, Any] = {
        name: (Optional[Annotated[field.annotation, field.description, *field.metadata]], None)  # noqa: UP045  a value
        for name, field in inventory.model_fields.items()
    }
    return create_model(inventory.__name__, __base__=inventory, **fields)
