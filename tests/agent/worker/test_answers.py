"""Whatever the probe program writes on a line: an answer of the form of its operation, or none."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bs_agent.agent.storages import imagestore
from bs_agent.agent.worker import probe
from bs_agent.agent.worker.answers import FORMS
from bs_agent.agent.worker.child import Answer, ChildGoneError, read_answer
from bs_agent.contract.reasons import Reason
from bs_agent.contract.report import DirectoryUsage
from tests.odd_values import JSON, LINES, spoilt

PLACE = {"realPath": "/a", "mount": "/ /", "follows": False, "fsid": 2**64 - 1, "device": 1, "readOnly": False}
USAGE = {
    "totalCapacity": 2**63 - 1, "availableCapacity": 0, "totalInodes": 0, "availableInodes": 0, "readOnly": True,
    "follows": False,
}  # fmt: skip
WELL: dict[str, Any] = {
    "ceph_ask": [[0, "{}"], [110, "timed out"]],
    "ceph_objects": {"ours": True, "others": False},
    "ceph_remove": True,
    "ceph_write": 0.01,
    "directory_connect": PLACE,
    "directory_usage": USAGE,
    "directory_leftovers": [".bs-agent.json"],
    "directory_remove": False,
}
OPERATIONS = st.sampled_from(list(WELL))


def _read(line: bytes, operation: str) -> Answer | None:
    """What is taken of a line; it must be of use to those who ask."""
    try:
        answer = read_answer(line, operation)
    except ChildGoneError:
        return None
    if answer.refusal:
        assert Reason.model_validate_json(answer.refusal.model_dump_json()) == answer.refusal
    elif operation == "ceph_ask":
        assert all(isinstance(code, int) and isinstance(text, str) for code, text in answer.value)
    elif operation == "ceph_objects":
        assert {type(answer.value["ours"]), type(answer.value["others"])} == {bool}
    elif operation == "ceph_write":
        assert round(answer.value, 4) >= 0
    elif operation == "directory_connect":
        imagestore.Memory.model_validate({**answer.value, "url": "/a"})
    elif operation == "directory_usage":
        DirectoryUsage.model_validate(answer.value)
        assert isinstance(answer.value.get("follows"), bool)
    elif operation == "directory_leftovers":
        assert all(isinstance(name, str) for name in answer.value)
    return answer


def test_every_operation_has_its_form() -> None:
    assert probe.OPERATIONS.keys() == FORMS.keys() == WELL.keys()


@pytest.mark.parametrize("operation", list(WELL))
def test_what_an_operation_returns_is_taken(operation: str) -> None:
    answer = _read(json.dumps({"value": WELL[operation]}).encode(), operation)
    assert answer is not None
    assert json.loads(json.dumps(answer.value)) == WELL[operation]


@settings(max_examples=200)
@given(LINES, OPERATIONS)
@example(b'{"error": {"code": "DirectoryFull", "details": ' + b"[" * 900 + b"]" * 900 + b"}}", "ceph_ask")
@example(b'{"error": {"code": ["DirectoryFull"], "details": ""}}', "ceph_ask")
@example(b'{"error": {"code": "DirectoryFull"}}', "ceph_ask")
@example(b'{"value": NaN}', "ceph_write")
@example(b'{"value": 1e999}', "ceph_write")
@example(b'{"value": [[0, "\\ud800"]]}', "ceph_ask")
def test_a_line_of_any_bytes(line: bytes, operation: str) -> None:
    _read(line, operation)


@settings(max_examples=300)
@given(st.data(), OPERATIONS)
def test_a_line_that_is_spoilt_in_places(data: st.DataObject, operation: str) -> None:
    _read(json.dumps({"value": data.draw(spoilt(WELL[operation]))}).encode(), operation)


@settings(max_examples=200)
@given(spoilt({"error": {"code": "DirectoryFull", "details": "no room"}}) | JSON, OPERATIONS)
def test_a_refusal_that_is_spoilt_in_places(said: Any, operation: str) -> None:
    _read(json.dumps(said).encode(), operation)
