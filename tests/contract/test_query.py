"""The query language: the documented forms, the lenient ones, and every bad one."""

from contextlib import suppress
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.client.wire.encoding import encode
from bs_agent.contract.api import APIS, QueryParameters
from bs_agent.contract.errors import InvalidArgument, RequestError
from bs_agent.contract.query import MAX_CONDITIONS, MAX_LIMIT, Condition, Operator, Query, parse_condition, parse_query

FIELDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}(\.[A-Za-z0-9_]{1,10})?", fullmatch=True)
COMPARING = [operator for operator in Operator if operator not in (Operator.IS_NULL, Operator.NOT_NULL)]


@pytest.mark.parametrize(
    ("text", "field", "operator", "value"),
    [
        ("name=a=b", "name", "=", "a=b"),
        ("name=a!=b", "name", "=", "a!=b"),
        ("url=http://h/?=1", "url", "=", "http://h/?=1"),
        ("name==a", "name", "=", "a"),
        ("name=", "name", "=", ""),
        ("name = a ", "name", "=", " a "),
        ("name=null", "name", "=", "null"),
        ("name=it's", "name", "=", "it's"),
        ("totalCapacity>=5", "totalCapacity", ">=", "5"),
        ("totalCapacity<5", "totalCapacity", "<", "5"),
        ("uuid?=a,b", "uuid", "?=", "a,b"),
        ("uuid!?=a,b", "uuid", "!?=", "a,b"),
        ("name~=%a_", "name", "~=", "%a_"),
        ("name!~=%a_", "name", "!~=", "%a_"),
        ("zone.name!=x", "zone.name", "!=", "x"),
        ("description is null", "description", "is null", ""),
        ("description not null", "description", "not null", ""),
        ("description is not null", "description", "not null", ""),
        ("name=x is null", "name", "=", "x is null"),
    ],
)
def test_conditions(text: str, field: str, operator: str, value: str) -> None:
    assert parse_condition(text) == Condition(field, Operator(operator), value)


@given(FIELDS, st.sampled_from(COMPARING), st.text().filter(lambda text: not text.startswith("=")))
def test_a_value_may_hold_anything(field: str, operator: Operator, value: str) -> None:
    assert parse_condition(f"{field}{operator.value}{value}") == Condition(field, operator, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("uuid", "doesn't contain any query operator"), ("", "operator"), ("=a", "key-value pair split by =")],
)
def test_bad_conditions(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        parse_condition(text)


@given(st.text())
def test_any_text_is_a_condition_or_a_request_error(text: str) -> None:
    with suppress(RequestError):
        assert parse_condition(text).field


def test_a_whole_query() -> None:
    parameters = [("q", "name=a"), ("q", "name=a"), ("q", "status!=b"), ("limit", "5"), ("limit", "9"), ("start", "2")]
    parameters += [("count", "TRUE"), ("replyWithCount", "yes"), ("sort", "-createDate"), ("fields", "name, uuid,")]
    assert parse_query([*parameters, ("groupBy", "state"), ("unknown", "x")]) == Query(
        conditions=(Condition("name", Operator.EQUAL, "a"), Condition("status", Operator.NOT_EQUAL, "b")),
        limit=5,
        start=2,
        count=True,
        sort="createDate",
        descending=True,
        fields=("name", "uuid"),
        group_by="state",
    )


@pytest.mark.parametrize(("sort", "field", "descending"), [("+a", "a", False), (" a", "a", False), ("--a", "a", True)])
def test_sort_signs(sort: str, field: str, descending: bool) -> None:
    query = parse_query([("sort", sort)])
    assert (query.sort, query.descending) == (field, descending)


@pytest.mark.parametrize(("name", "text"), [("limit", "x"), ("start", "1.5"), ("limit", "9" * 30)])
def test_numbers_must_be_numbers(name: str, text: str) -> None:
    with pytest.raises(RequestError, match=f"'{name}' must be an integer"):
        parse_query([(name, text)])


@pytest.mark.parametrize("parameters", [[("limit", "-1")], [("limit", "10001")], [("start", "-5")]])
def test_numbers_have_a_range(parameters: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidArgument, match="must be within"):
        parse_query(parameters)


def test_the_number_of_conditions_is_bounded() -> None:
    with pytest.raises(InvalidArgument, match="at most"):
        parse_query([("q", f"name={number}") for number in range(MAX_CONDITIONS + 1)])


@pytest.mark.parametrize(
    ("name", "said"), [("flat", "must be formatted as"), ("ha:yes", r"there is no filter of the type\[ha\]")]
)
def test_a_filter_is_refused_rather_than_ignored(name: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        parse_query([("filterName", name)])


VALUES = st.text(st.characters(codec="utf-8")).filter(lambda text: not text.startswith("="))
CONDITIONS = st.lists(st.builds(Condition, FIELDS, st.sampled_from(COMPARING), VALUES), max_size=5, unique=True)


@given(CONDITIONS, st.integers(0, MAX_LIMIT), st.integers(0, 10**9), st.sampled_from(["asc", "desc", None]))
def test_a_query_arrives_as_a_client_sends_it(
    conditions: list[Condition], limit: int, start: int, direction: Literal["asc", "desc"] | None
) -> None:
    parameters = QueryParameters(
        conditions=[f"{one.field}{one.operator.value}{one.value}" for one in conditions],
        limit=limit,
        start=start,
        sortBy="name",
        sortDirection=direction,
        fields=["name", "uuid"],
    )
    target = encode(APIS["QueryBackupStorage"], parameters).target
    query = parse_query(parse_qsl(urlsplit(target).query, keep_blank_values=True))
    assert query.conditions == tuple(conditions)
    assert (query.limit, query.start, query.fields) == (limit, start, ("name", "uuid"))
    assert (query.sort, query.descending) == ("name", direction == "desc")


NAMES = st.sampled_from(["q", "limit", "start", "count", "sort", "fields", "groupBy", "replyWithCount", "x", ""])


@given(st.lists(st.tuples(NAMES, st.text()), max_size=8))
def test_any_parameters_are_a_query_within_bounds_or_an_error_of_ours(parameters: list[tuple[str, str]]) -> None:
    try:
        query = parse_query(parameters)
    except (RequestError, InvalidArgument):
        return
    assert 0 <= query.limit <= MAX_LIMIT
    assert query.start >= 0
    assert len(query.conditions) <= MAX_CONDITIONS
    assert all(condition.field for condition in query.conditions)
