"""Whether a field can have a value that a condition asks for: one that it never has finds nothing, and nobody sees why.

Values are taken as the management node takes them: text in any case, a uuid in any form.
"""

import math
import re
from collections.abc import Callable

from bs_agent.client.cli import catalog
from bs_agent.client.cli.catalog import Field, Kind
from bs_agent.client.cli.faults import UsageFault, near, nearest
from bs_agent.contract import uuids
from bs_agent.contract.dates import parse_date
from bs_agent.contract.inventory import Inventory
from bs_agent.contract.query import Condition, Operator

TEXTS = (Operator.LIKE, Operator.NOT_LIKE)
NULLS = (Operator.IS_NULL, Operator.NOT_NULL)
ORDERS = (Operator.GREATER, Operator.GREATER_EQUAL, Operator.LESS, Operator.LESS_EQUAL)
HANDLES = ("name", "tag", "AccessKeyID", "hostname")
"""The fields by which people know a resource, the best first."""


def check_value(inventory: type[Inventory], word: str, condition: Condition) -> None:
    """Check the value of a condition on a field that there is.

    Raises:
        UsageFault: the field never has it; the message says which it has.
    """
    field = catalog.field_named(inventory, condition.field)
    if field is None or condition.operator in NULLS:
        return
    if condition.operator in TEXTS:
        if field.kind != "text":
            signs = " ".join(field.operators)
            raise UsageFault(f"{word!r}: {condition.field} is no text; compare it by {signs}")
        return
    several = condition.operator in {Operator.IN, Operator.NOT_IN}
    for value in condition.values if several else [condition.value]:
        if why := _fault(inventory, field, condition, value):
            raise UsageFault(f"{word!r}: {why}")


def is_uuid(text: str) -> bool:
    """Tell whether a text is a uuid in any of its forms."""
    return uuids.is_uuid(uuids.one_form(text))


def names_uuids(name: str) -> bool:
    """Tell whether a parameter or a field of this name holds uuids."""
    return re.search(r"(^|\.)uuids?$|Uuids?$", name) is not None


def handle(inventory: type[Inventory]) -> str:
    """Return the field by which people know a resource; nothing where there is none."""
    return next((name for name in HANDLES if name in inventory.model_fields), "")


def _fault(inventory: type[Inventory], field: Field, condition: Condition, value: str) -> str:
    if value == "null":
        return ""
    if field.kind in _KINDS:
        fits, allowed = _KINDS[field.kind]
        if not _does(fits, value):
            return f"{value!r} is no {field.kind}: {condition.field} is {allowed}"
        if field.kind == "boolean" and condition.operator in ORDERS:
            return f"{condition.field} is true or false: {condition.operator} does not apply to it"
    if field.choices and value.casefold() not in {one.casefold() for one in field.choices}:
        close = near(value, field.choices)[:1] or field.choices
        return f"{condition.field} is never {value!r}; {nearest(value, close)}"
    if field.usual and value.casefold() not in {one.casefold() for one in field.usual}:
        # One that only a newer management node knows may be asked for; a slip of the pen may not.
        begun = [one for one in field.usual if one.casefold().startswith(value.casefold()) and value]
        close = begun or near(value, field.usual)
        return f"{condition.field} is never {value!r}; did you mean {close[0]}?" if close else ""
    if names_uuids(condition.field) and not is_uuid(value):
        return f"{value!r} is no uuid, which has 32 hexadecimal digits{_by_handle(inventory, condition, value)}"
    return ""


def _by_handle(inventory: type[Inventory], condition: Condition, value: str) -> str:
    """Say how to look for what people call by another name than its uuid."""
    table, dot, _ = condition.field.rpartition(".")
    if condition.field == "attachedZoneUuids":
        return f"; write zone.name{condition.operator}{value}"
    owner = catalog.tables(inventory)[table] if dot else inventory
    known = handle(owner)
    whole = condition.field.removeprefix(f"{table}.") in {"uuid", "monUuid"}
    return f"; write {table}{dot}{known}{condition.operator}{value}" if known and whole else ""


def _does(read: Callable[[str], object], text: str) -> bool:
    try:
        return bool(read(text))
    except (ValueError, OverflowError):
        return False


_KINDS: dict[Kind, tuple[Callable[[str], object], str]] = {
    "boolean": (lambda text: text.strip().lower() in {"true", "1", "false", "0"}, "true or false"),
    "number": (
        lambda text: math.isfinite(float(text)),
        "a number; capacities are bytes, and 1099511627776 of them are 1 TiB",
    ),
    "date": (parse_date, "a date such as 'Apr 11, 2018 2:50:54 PM' or 2018-04-11T14:50:54Z"),
}
