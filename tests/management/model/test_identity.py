"""Whether what answers is the storage that was added: its cluster by the fsid, its pool by name and number."""

from dataclasses import replace

import pytest

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.report import CEPH, CephReport, Section
from bs_agent.management.model.identity import verify
from bs_agent.management.model.records import StorageRecord
from tests.beds.stores import storage
from tests.management.store.known import pool_report

ADDED = replace(storage(CEPH), uuid="0" * 32, poolId=1)


def _report() -> CephReport:
    return pool_report(500, 10, 0.0, 0.0)


@pytest.mark.parametrize("added", [ADDED, replace(ADDED, poolId=None), replace(ADDED, fsid=None)])
def test_the_storage_that_was_added_is_taken(added: StorageRecord) -> None:
    assert verify(_report(), added).status == "Connected"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"fsid": "another"}, "FsidMismatch"),
        ({"poolName": "another"}, "PoolMissing"),
        ({"poolId": 2}, "PoolReplaced"),
        ({"poolId": 0}, "PoolReplaced"),
        ({"uuid": "1" * 32}, "AgentFault"),
    ],
)
def test_another_storage_is_refused_with_its_reason(change: dict[str, object], code: str) -> None:
    with pytest.raises(StorageProblem) as caught:
        verify(_report(), replace(ADDED, **change))  # type: ignore[arg-type]
    assert caught.value.reason.code == code


def test_without_its_pools_a_report_is_believed_for_now() -> None:
    assert verify(_report().model_copy(update={"pools": Section()}), replace(ADDED, poolId=2)).status == "Connected"
