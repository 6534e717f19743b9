"""Conditions of the query language -> SQL. Values travel as parameters only, and fields come from the registry.

Text compares without regard to the case of ASCII letters, as existing servers do; uuids are stored in their one form.
`null` is matched by `is null` alone, as in SQL.
"""

import math
import operator
import re
import string
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select

from bs_agent.contract.dates import parse_date
from bs_agent.contract.errors import InvalidArgument
from bs_agent.contract.query import Condition, Operator
from bs_agent.contract.uuids import one_form
from bs_agent.management.store.columns import KEY_OF_LONG, indexed, is_long
from bs_agent.management.store.fields import Elements, Field, Kind, Resource

Value = str | int | float | bool

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
    Operator.GREATER: operator.gt,
    Operator.GREATER_EQUAL: operator.ge,
    Operator.LESS: operator.lt,
    Operator.LESS_EQUAL: operator.le,
}
_POSITIVE = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_LIKE: Operator.LIKE,
    Operator.IS_NULL: Operator.NOT_NULL,
}
SIGNS_OF_ORDER = {Operator.GREATER, Operator.GREATER_EQUAL, Operator.LESS, Operator.LESS_EQUAL}
_MAX_INTEGER = 2**63 - 1
_LAST = chr(0x10FFFF)


def where(resource: Resource, condition: Condition) -> ColumnElement[bool]:
    """Return the SQL of one condition.

    Raises:
        InvalidArgument: there is no such field, or its values do not compare that way.
    """
    if "\0" in condition.value:
        raise InvalidArgument(f"field[{condition.field}]: a value cannot hold the character NUL")
    if condition.field in resource.fields:
        return compare(resource.fields[condition.field], condition)
    if condition.field in resource.lists:
        return _among(resource, resource.lists[condition.field], condition.field, condition)
    table, _, name = condition.field.partition(".")
    if table in resource.expands and name in resource.expands[table].fields:
        return _among(resource, resource.expands[table], name, condition)
    raise unknown_field(resource, condition.field)


def compare(field: Field, condition: Condition) -> ColumnElement[bool]:
    """Return the SQL that compares one column.

    Raises:
        InvalidArgument: the values of the field do not compare that way.
    """
    column: ColumnElement[Any] = field.column
    match condition.operator:
        case Operator.IS_NULL:
            return indexed(field.column).is_(None)
        case Operator.NOT_NULL:
            return indexed(field.column).is_not(None)
    if field.kind is Kind.TEXT:
        column = func.lower(column)
    match condition.operator:
        case Operator.EQUAL if is_long(field.column):
            return _equals_long(field, [condition.value])
        case Operator.IN if is_long(field.column):
            return _equals_long(field, condition.values)
        case Operator.IN:
            return column.in_([read_value(field, value) for value in condition.values])
        case Operator.NOT_IN:
            return column.not_in([read_value(field, value) for value in condition.values])
        case Operator.LIKE | Operator.NOT_LIKE:
            if field.kind not in {Kind.TEXT, Kind.UUID, Kind.WRITTEN}:
                raise InvalidArgument(f"field[{field.name}] is no text: {condition.operator} does not apply to it")
            wanted = condition.operator is Operator.LIKE
            # Without an escape character the databases differ; with a doubled one nothing is escaped in either.
            pattern = ascii_lower(condition.value).replace("/", "//")
            like = column.like(pattern, escape="/")
            return and_(like, *_begins(field, ascii_lower(condition.value))) if wanted else ~like
    if field.kind is Kind.BOOLEAN and condition.operator in SIGNS_OF_ORDER:
        raise InvalidArgument(f"field[{field.name}] is true or false: {condition.operator} does not apply to it")
    compared: ColumnElement[bool] = _COMPARE[condition.operator](column, read_value(field, condition.value))
    return compared


def _equals_long(field: Field, values: list[str]) -> ColumnElement[bool]:
    """Compare a long text, and its beginning before, which its index holds."""
    wanted = [ascii_lower(value) for value in values]
    begins = indexed(field.column).in_([value[:KEY_OF_LONG] for value in wanted])
    return and_(begins, func.lower(field.column).in_(wanted))


def _begins(field: Field, pattern: str) -> list[ColumnElement[bool]]:
    """Say between which texts those lie that fit a pattern with a fixed beginning: an index finds them by that."""
    fixed = re.split("[%_]", pattern, maxsplit=1)[0][:KEY_OF_LONG]
    if not fixed or fixed[-1] == _LAST:
        return []
    # Both databases order text by its bytes, which is the order of the characters' numbers.
    after = fixed[:-1] + ("\ue000" if fixed[-1] == "\ud7ff" else chr(ord(fixed[-1]) + 1))
    column = indexed(field.column)
    return [column >= fixed, column < after]


def read_value(field: Field, text: str) -> Value:
    """Return the text as a value of the field's kind.

    Raises:
        InvalidArgument: it is none.
    """
    match field.kind:
        case Kind.TEXT | Kind.WRITTEN:
            return ascii_lower(text)
        case Kind.UUID:
            return ascii_lower(one_form(text))
        case Kind.BOOLEAN:
            if text.strip().lower() in {"true", "1", "false", "0"}:
                return text.strip().lower() in {"true", "1"}
            raise InvalidArgument(f"field[{field.name}] is true or false, not {text!r}")
        case Kind.DATE:
            try:
                return math.floor(parse_date(text).timestamp())
            except (ValueError, OverflowError):
                raise InvalidArgument(
                    f"field[{field.name}] is a date such as 'Apr 11, 2018 2:50:54 PM' or 2018-04-11T14:50:54Z, "
                    f"not {text!r}"
                ) from None
        case Kind.INTEGER:
            return _integer(field, text)
        case Kind.REAL:
            return _real(field, text)


def ascii_lower(text: str) -> str:
    """Return the text with its ASCII letters in lower case and all others as they are, as the databases do it."""
    return text.translate(_LOWER)


def unknown_field(resource: Resource, name: str) -> InvalidArgument:
    """Build the error for a field that there is not."""
    table, dot, _ = name.partition(".")
    if dot and table in resource.expands:
        known = sorted(f"{table}.{field}" for field in resource.expands[table].fields)
    else:
        known = resource.queryable
    return InvalidArgument(f"{resource.inventory.__name__} has no field[{name}]; its fields are {', '.join(known)}")


def _among(resource: Resource, elements: Elements, name: str, condition: Condition) -> ColumnElement[bool]:
    positive = _POSITIVE.get(condition.operator) if elements.whole else None
    matching = compare(elements.fields[name], Condition(name, positive or condition.operator, condition.value))
    owners = select(elements.owner).select_from(elements.rows).where(*elements.holds, matching)
    if Operator.NOT_NULL in {positive, condition.operator}:
        # Nearly every owner has such an element: it costs less to look for one than to list them all.
        theirs = owners.where(elements.owner == resource.key).correlate(resource.table).exists()
        return ~theirs if positive else and_(theirs, *elements.of_owner)
    owners = owners.correlate(None)
    return resource.key.not_in(owners) if positive else and_(resource.key.in_(owners), *elements.of_owner)


def _integer(field: Field, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        real = _real(field, text)  # 1.073741824E9 is a whole number too
        number = int(real)
        if number != real:
            raise InvalidArgument(f"field[{field.name}] is a whole number, not {text!r}") from None
    # The databases hold no larger ones, so the bound compares as the number does.
    return max(-_MAX_INTEGER, min(_MAX_INTEGER, number))


def _real(field: Field, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidArgument(f"field[{field.name}] is a number, not {text!r}")
    return number
