"""The query language evaluated in plain Python over plain rows: what the SQL is compared with."""

import re
import string
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from bs_agent.contract.dates import parse_date
from bs_agent.contract.query import Condition, Operator, Query

Row = dict[str, Any]

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_WHOLE_LISTS = {"attachedZoneUuids", "__systemTag__", "__userTag__"}
_NEGATIVE = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_LIKE: Operator.LIKE,
    Operator.IS_NULL: Operator.NOT_NULL,
}
_ORDER: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQUAL: lambda a, b: bool(a == b),
    Operator.NOT_EQUAL: lambda a, b: bool(a != b),
    Operator.GREATER: lambda a, b: bool(a > b),
    Operator.GREATER_EQUAL: lambda a, b: bool(a >= b),
    Operator.LESS: lambda a, b: bool(a < b),
    Operator.LESS_EQUAL: lambda a, b: bool(a <= b),
}


def matches(row: Row, condition: Condition) -> bool:
    """Tell whether the row meets the condition."""
    if condition.field in _WHOLE_LISTS:
        elements = row[condition.field]
        if condition.operator in _NEGATIVE:
            positive = Condition(condition.field, _NEGATIVE[condition.operator], condition.value)
            return not any(_compare(element, positive, is_date=False) for element in elements)
        return any(_compare(element, condition, is_date=False) for element in elements)
    table, dot, name = condition.field.partition(".")
    if dot:
        return any(_compare(element.get(name), condition, is_date=name.endswith("Date")) for element in row[table])
    return _compare(row.get(table), condition, is_date=table.endswith("Date"))


def page(rows: Iterable[Row], query: Query) -> tuple[list[str], int]:
    """Return the uuids of the page, and the number of all matches."""
    found = [row for row in rows if all(matches(row, condition) for condition in query.conditions)]
    if query.group_by:
        first: dict[Any, Row] = {}
        for row in sorted(found, key=lambda row: str(row["uuid"])):
            first.setdefault(_folded(row.get(query.group_by)), row)
        found = list(first.values())
    found.sort(key=lambda row: (_sortable(row.get(query.sort)), row["uuid"]), reverse=query.descending)
    return [row["uuid"] for row in found[query.start : query.start + query.limit]], len(found)


def _compare(value: Any, condition: Condition, *, is_date: bool) -> bool:
    if condition.operator is Operator.IS_NULL:
        return value is None
    if value is None or condition.operator is Operator.NOT_NULL:
        return value is not None
    if condition.operator in {Operator.IN, Operator.NOT_IN}:
        among = any(_folded(value) == _wanted(value, text, is_date=is_date) for text in condition.values)
        return among is (condition.operator is Operator.IN)
    if condition.operator in {Operator.LIKE, Operator.NOT_LIKE}:
        parts = {"%": ".*", "_": "."}
        pattern = "".join(parts.get(char, re.escape(char)) for char in condition.value.translate(_LOWER))
        like = re.fullmatch(pattern, str(_folded(value)), re.DOTALL) is not None
        return like is (condition.operator is Operator.LIKE)
    return _ORDER[condition.operator](
        _order_of(_folded(value)), _order_of(_wanted(value, condition.value, is_date=is_date))
    )


def _wanted(value: Any, text: str, *, is_date: bool) -> Any:
    if is_date:
        return int(parse_date(text).timestamp())
    if isinstance(value, bool):
        return text.strip().lower() in {"true", "1"}
    if isinstance(value, int):
        return Decimal(text)  # a float would round what the databases hold exactly
    return float(text) if isinstance(value, float) else text.translate(_LOWER)


def _folded(value: Any) -> Any:
    return value.translate(_LOWER) if isinstance(value, str) else value


def _order_of(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, _order_of(_folded(value)) if value is not None else 0)
