"""The forms of an answer: YAML that others read the same, lines of cells that a shell can cut."""

import importlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.client.cli.output import to_tsv, to_yaml

yaml: Any = importlib.import_module("yaml")  # it is untyped
texts = st.text(max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4),
    max_leaves=12,
)


@given(values)
def test_yaml_is_read_as_what_was_written(value: Any) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["no", "1", "0x1F", "1_000", "2018-04-11", "~", "- a", "a: b", "#a", "é", "1e3", "=", "/a"]
)
def test_yaml_takes_no_text_for_something_else(text: str) -> None:
    assert yaml.safe_load(to_yaml({text: [text]})) == {text: [text]}


def test_yaml_can_be_read_by_people() -> None:
    answer = {"inventories": [{"name": "a", "tags": ["x", "y"], "mons": []}], "total": 1}
    assert to_yaml(answer).splitlines() == [
        "inventories:", "  - mons: []", "    name: a", "    tags:", "      - x", "      - \"y\"", "total: 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "fields", "lines"),
    [
        ({"inventories": [{"b": 1, "a": "x\ty\\\n"}, {"c": True}]}, [], ["a\tb\tc", "x\\ty\\\\\\n\t1\t", "\t\ttrue"]),
        ({"inventories": [{"b": 1, "a": "x"}]}, ["b", "a"], ["b\ta", "1\tx"]),
        ({"inventories": [], "success": True}, ["a"], ["a"]),
        ({"inventory": {"zones": ["a", "b"], "reason": {"code": "X"}}}, [], ["reason\tzones", '{"code": "X"}\ta,b']),
        ({"total": 3, "success": True}, [], ["total", "3"]),
    ],
)  # fmt: skip
def test_lines_of_cells(answer: dict[str, Any], fields: list[str], lines: list[str]) -> None:
    assert list(to_tsv(answer, fields)) == lines
