"""An enrolment code is known wherever it stands in a text, so that no text that is shown can hold one."""

import base64
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.contract.enrollment import decode, encode, holds_code
from bs_agent.contract.errors import InvalidArgument

BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

codes = st.builds(
    encode,
    st.integers(1, 65535),
    st.text(BASE64, min_size=43, max_size=60),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
)


@given(codes, st.text(max_size=50) | st.text(BASE64, max_size=50), st.text(max_size=50) | st.text(BASE64, max_size=50))
def test_a_code_is_found_in_any_text(code: str, before: str, after: str) -> None:
    assert holds_code(before + code + after)


@given(codes, st.integers(0, 30))
def test_a_code_that_was_cut_short_still_shows_its_token(code: str, lost: int) -> None:
    assert holds_code(code[: len(code) - lost])


@given(codes, st.integers(1, 100), st.sampled_from(["\n", " ", "\r\n", "\t", "\u2028"]))
def test_a_code_that_was_wrapped_is_found(code: str, width: int, between: str) -> None:
    assert holds_code(between.join(code[at : at + width] for at in range(0, len(code), width)))


@given(codes)
def test_a_code_is_found_as_programs_write_it(code: str) -> None:
    assert holds_code(json.dumps({"port": 7765, "code": code}))
    assert holds_code(f"agentEnrollment::images-1::{code}")
    padded = code + "=" * (-len(code) % 4)
    assert holds_code(base64.b64encode(base64.urlsafe_b64decode(padded)).decode())
    assert decode(padded) == decode(code)


@given(st.text())
def test_any_text_is_looked_at(text: str) -> None:
    assert holds_code(text) in {True, False}


def test_other_long_texts_are_no_codes() -> None:
    chance = random.Random(7)  # noqa: S311  the same texts each time, no secret
    assert not any(holds_code("".join(chance.choices(BASE64, k=2048))) for _ in range(300))
    for text in ("A" * 2048, "AQ" * 1024, "a" * 64, "0123456789abcdef" * 8, "/a/long/path-of_words" * 50):
        assert not holds_code(text)
    assert not holds_code(base64.b64encode(b"the images of the first floor, kept for ten years, " * 20).decode())


@pytest.mark.parametrize("code", ["", "x", "AQ", "Zm9v" * 30, "ä" * 100, "=" * 200])
def test_what_is_no_code_is_refused_and_not_repeated(code: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode(code)
    assert not code or len(code) < 3 or code not in refused.value.details
