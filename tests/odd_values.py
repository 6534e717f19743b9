"""Values that nobody expects in what is read from outside, for the property tests."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

LARGE = 2**63
TEXTS = st.sampled_from(["x" * 300, "x" * 5000, "9" * 5000, "", "\0", "\ud800", "-1", "nan"]) | st.text(max_size=20)
NUMBERS = st.sampled_from([-1, 0, 1, LARGE - 1, LARGE, 2 * LARGE - 1, 2 * LARGE, -LARGE - 1, 10**30, 1e300, 0.5, -0.0])
ODD = st.none() | st.booleans() | NUMBERS | st.integers() | TEXTS
JSON = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
# What is no JSON, or none that everybody reads.
LINES = st.binary(max_size=40) | st.sampled_from(
    [b"", b"\0", b"\xff\xfe", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"NaN", b"-Infinity", b"1e999", b"9" * 5000,
     b'"\\ud800"', b'{"a": 1, "a": 2}', b" " * 5000]
)  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, well: Any) -> Any:
    """A value that is well but in one to three places, or something else altogether."""
    if draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    value = {"": copy.deepcopy(well)}
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = value
        key: Any = ""
        while isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 9)):
            holder = holder[key]
            key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        match draw(st.sampled_from(["replaced", "twice", "gone"])):
            case "twice" if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(holder[key]))
            case "gone" if holder is not value:
                del holder[key]
            case _:
                holder[key] = draw(_like(holder[key]))
    return value[""]


def _like(well: Any) -> st.SearchStrategy[Any]:
    """Something of the same type for the most part: what is of another one is refused soon."""
    if isinstance(well, str):
        return TEXTS | JSON
    return NUMBERS | JSON if isinstance(well, int | float) else JSON


def as_text(value: Any) -> str:
    """Write a value as Ceph would, be it finite or not."""
    return json.dumps(value)
