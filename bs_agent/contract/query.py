"""The query language of the public API: repeated `q=` conditions, paging, sorting -> one `Query` value. Pure.

The server's store turns a `Query` into SQL, the CLI completes it. A condition is split at the first operator after the
field name, so that a value may contain any operator; where existing servers are laxer, so is this.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bs_agent.contract.errors import InvalidArgument, RequestError

DEFAULT_LIMIT = 1000
MAX_LIMIT = 10_000
MAX_CONDITIONS = 100


class Operator(StrEnum):
    """The operators of conditions."""

    EQUAL = "="
    NOT_EQUAL = "!="
    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="
    IN = "?="
    NOT_IN = "!?="
    LIKE = "~="
    NOT_LIKE = "!~="
    IS_NULL = "is null"
    NOT_NULL = "not null"


_CONDITION = re.compile(r"\s*([A-Za-z0-9_.]+)\s*(!\?=|!~=|\?=|~=|!=|>=|<=|=+|>|<)(.*)", re.DOTALL)
_NULL = re.compile(r"\s*([A-Za-z0-9_.]+)\s+(is\s+null|is\s+not\s+null|not\s+null)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: a field (dotted when it lies in another table), an operator and the text it compares with."""

    field: str
    operator: Operator
    value: str = ""

    @property
    def values(self) -> list[str]:
        """The values of a list operator; commas separate, nothing escapes them."""
        return self.value.split(",")


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query: all conditions hold (AND), then sorting, then paging."""

    conditions: tuple[Condition, ...] = ()
    limit: int = DEFAULT_LIMIT
    start: int = 0
    count: bool = False
    reply_with_count: bool = False
    sort: str = ""
    descending: bool = False
    fields: tuple[str, ...] = ()
    group_by: str = ""


def parse_condition(text: str) -> Condition:
    """Parse one condition such as `name~=%store%` or `description is null`.

    Raises:
        RequestError: the text has no field or no operator.
    """
    if found := _NULL.fullmatch(text):
        field, words = found.groups()
        return Condition(field, Operator.NOT_NULL if "not" in words.lower() else Operator.IS_NULL)
    if found := _CONDITION.fullmatch(text):
        field, sign, value = found.groups()
        return Condition(field, Operator(sign if sign.strip("=") else "="), value)
    if re.match(r"\s*(!\?=|!~=|\?=|~=|!=|>=|<=|=|>|<)", text):
        raise RequestError(
            f"Invalid query parameter. The '{text}' in the parameter[q] is not a key-value pair split by ="
        )
    operators = ", ".join(operator.value for operator in Operator)
    raise RequestError(
        f"Invalid query parameter. The '{text}' in the parameter[q] doesn't contain any query operator. "
        f"Valid query operators are [{operators}]"
    )


def parse_query(parameters: Iterable[tuple[str, str]]) -> Query:
    """Build the query from the URL's decoded parameters; of each but `q` the first counts, unknown ones are ignored.

    Raises:
        RequestError: a condition has no operator, or a number is none.
        InvalidArgument: a number is out of its range, there are too many conditions, or a filter is named.
    """
    conditions: dict[Condition, None] = {}
    single: dict[str, str] = {}
    for name, value in parameters:
        if name == "q":
            conditions.setdefault(parse_condition(value))
        else:
            single.setdefault(name, value)
    if len(conditions) > MAX_CONDITIONS:
        raise InvalidArgument(f"at most {MAX_CONDITIONS} conditions are allowed, not {len(conditions)}")
    if "filterName" in single:
        _refuse_filter(single["filterName"])
    sort = single.get("sort", "").strip()
    return Query(
        conditions=tuple(conditions),
        limit=_number(single, "limit", DEFAULT_LIMIT, MAX_LIMIT),
        start=_number(single, "start", 0, 2**62),
        count=single.get("count", "").lower() == "true",
        reply_with_count=single.get("replyWithCount", "").lower() == "true",
        sort=sort.lstrip("+- "),
        descending=sort.startswith("-"),
        fields=tuple(field.strip() for field in single.get("fields", "").split(",") if field.strip()),
        group_by=single.get("groupBy", "").strip(),
    )


def _refuse_filter(name: str) -> None:
    """Refuse a filter: there are none here, and an answer that was not filtered would be taken for one that was."""
    kind, colon, _ = name.partition(":")
    if not colon:
        raise InvalidArgument("filterName must be formatted as [filterType:condition(s)]")
    raise InvalidArgument(f"there is no filter of the type[{kind}]")


def _number(parameters: dict[str, str], name: str, default: int, most: int) -> int:
    text = parameters.get(name, "").strip()
    if not text:
        return default
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise RequestError(f"Invalid query parameter. '{name}' must be an integer")
    if not 0 <= int(text) <= most:
        raise InvalidArgument(f"'{name}' must be within 0..{most}, not {text}")
    return int(text)
