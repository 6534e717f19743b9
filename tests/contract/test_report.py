"""What a report says by itself."""

import pytest

from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CephReport, Mon, Section

MONS = [
    Mon(rank=rank, name=name, addresses=[], inQuorum=name != "c", leader=name == "a")
    for rank, name in enumerate(("a", "b", "c"))
]


@pytest.mark.parametrize(
    ("seen", "code", "there"),
    [
        (MONS, None, 2),
        (MONS, ReasonCode.MON_OUT_OF_QUORUM, 2),
        (MONS, ReasonCode.NO_QUORUM, 0),
        (None, ReasonCode.NO_QUORUM, None),
        (None, None, None),
        ([], None, 0),
    ],
)
def test_without_a_quorum_no_mon_is_in_it(seen: list[Mon] | None, code: ReasonCode | None, there: int | None) -> None:
    reason = Reason(code=code, details="seen") if code else None
    report = CephReport(
        uuid="1" * 32, poolName="p", cluster=Section(reason=reason), pools=Section(), mons=Section(value=seen),
        localMon=Section(),
    )  # fmt: skip
    assert report.mons_in_quorum() == there
