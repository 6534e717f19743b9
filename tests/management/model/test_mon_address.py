"""Where a mon listens, as its report says it: addresses that are none are no reason to fail."""

import pytest

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import CephReport, Cluster, LocalMon, Mon, MonAddress, Pool, Section
from bs_agent.management.model.mon_address import Place, learn_place


def report(*addresses: str) -> CephReport:
    told = [MonAddress(type="v1", address=address) for address in addresses]
    mon = LocalMon(name="a", state="probing", rank=-1, addresses=told)
    return CephReport(
        uuid="0" * 32,
        poolName="pool",
        cluster=Section[Cluster](),
        pools=Section[list[Pool]](),
        mons=Section[list[Mon]](),
        localMon=Section[LocalMon](value=mon),
    )


@pytest.mark.parametrize(
    "nonsense", ["", ":", ":/0", "-", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "h:99999", "h:\u00b2", "[::1]"]
)
def test_an_address_that_nobody_can_listen_at_is_passed_over(nonsense: str) -> None:
    assert learn_place(report(nonsense), "host", None) == Place("host", 6789)
    assert learn_place(report(nonsense), "host", 3300) == Place("host", 3300)
    assert learn_place(report(nonsense, "[::1]:3300"), "host", None) == Place("::1", 3300)


def test_a_mon_that_is_elsewhere_is_told() -> None:
    with pytest.raises(StorageProblem, match=r"not at port 3300 but at 10\.0\.0\.1:6789") as problem:
        learn_place(report("", "10.0.0.1:6789"), "host", 3300)
    assert problem.value.reason.code == ReasonCode.MON_ADDR_CHANGED
