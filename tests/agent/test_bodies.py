"""Whatever the body of a command says: what is taken of it can be kept and read again, the rest is refused."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from pydantic import TypeAdapter
from pydantic_core import from_json

from bs_agent.agent import http
from bs_agent.agent.served import parameters_adapter
from bs_agent.contract.errors import RequestError
from bs_agent.contract.report import CephParameters, ImageStoreParameters
from tests.agent.conftest import UUID
from tests.odd_values import as_text, spoilt

CEPH = CephParameters(poolName="images", poolId=1, fsid="f", monAddress="[::1]:6789").model_dump()
DIRECTORY = ImageStoreParameters(url="/a", service="80").model_dump()
CONNECT = {"number": 5, "reportTo": {"url": "https://node:8080", "fingerprint": "0" * 64}}
CLEANUP = {"commandUuid": UUID, "number": 5, "dryRun": True, "hostOnly": False}


def _check(adapter: TypeAdapter[Any], said: Any) -> None:
    try:
        body = from_json(as_text(said), allow_inf_nan=False)
        taken = http._decode(adapter, body)
    except (RequestError, ValueError):  # what is no JSON is refused before
        return
    assert adapter.validate_json(taken.model_dump_json()) == taken


@pytest.mark.parametrize("well", [CEPH, DIRECTORY, CONNECT, CLEANUP], ids=["ceph", "directory", "connect", "cleanup"])
def test_what_is_well_is_taken(well: dict[str, Any]) -> None:
    adapter: TypeAdapter[Any] = http._cleanup if "dryRun" in well else http._connect
    adapter = parameters_adapter if "type" in well else adapter
    assert http._decode(adapter, well).model_dump() == well


@settings(max_examples=200, deadline=None)
@given(spoilt(CEPH) | spoilt(DIRECTORY))
@example({**CEPH, "poolId": -1})
@example({**CEPH, "poolId": 2**63})
@example({**CEPH, "poolName": "\ud800"})
@example({**DIRECTORY, "url": "\0"})
def test_the_parameters_of_a_storage_are_taken_or_refused(said: Any) -> None:
    _check(parameters_adapter, said)


@settings(max_examples=100, deadline=None)
@given(spoilt(CONNECT), spoilt(CLEANUP))
@example({**CONNECT, "number": 2**63}, {**CLEANUP, "commandUuid": UUID.upper()})
@example({"reportTo": {"url": "https://node:99999", "fingerprint": "0" * 64}}, [])
@example({"reportTo": {"url": "https://[::1", "fingerprint": "0" * 64}}, None)
def test_what_a_command_says_beside_them_is_taken_or_refused(connect: Any, cleanup: Any) -> None:
    _check(http._connect, connect)
    _check(http._cleanup, cleanup)
