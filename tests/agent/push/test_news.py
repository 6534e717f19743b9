"""What is worth a push: reasons, staleness, the quorum, and capacities that have moved by more than one per cent."""

import pytest

from bs_agent.agent.push.news import Facts, facts, is_news
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import (
    CephReport,
    Cluster,
    DirectoryUsage,
    ImageStoreReport,
    LocalMon,
    Mon,
    Pool,
    Section,
)

UUID = "1" * 32
FULL = Reason(code=ReasonCode.DIRECTORY_FULL, details="full")


def directory(available: int = 1000, *, reason: Reason | None = None, stale: bool = False) -> Facts:
    usage = DirectoryUsage(
        totalCapacity=10_000, availableCapacity=available, totalInodes=1, availableInodes=1, readOnly=False
    )
    section = Section[DirectoryUsage](value=usage, collectedAt=1.0, ageSeconds=2.0, reason=reason, stale=stale)
    return told(ImageStoreReport(uuid=UUID, url="/images", usage=section))


def told(report: ImageStoreReport | CephReport) -> Facts:
    found = facts(report)
    assert found
    return found


def news(before: Facts, now: Facts) -> bool:
    return is_news({UUID: before}, {UUID: now})


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [(1000, 1000, False), (1000, 990, False), (1000, 1010, False), (1000, 989, True), (1000, 1011, True),
     (0, 1, True), (1, 0, True), (0, 0, False)],
)  # fmt: skip
def test_an_available_capacity_counts_when_it_has_moved(before: int, now: int, expected: bool) -> None:
    assert news(directory(before), directory(now)) is expected


def test_a_slow_move_counts_from_what_was_told_last() -> None:
    known = directory(1000)
    assert [news(known, directory(1000 - step)) for step in (4, 8, 12)] == [False, False, True]


def test_reasons_and_staleness_count_and_their_words_do_not() -> None:
    well, full = directory(), directory(reason=FULL)
    assert news(well, full)
    assert news(full, well)
    assert news(well, directory(stale=True))
    assert not news(full, directory(reason=FULL.model_copy(update={"details": "still full"})))


def test_a_new_storage_counts_and_one_that_was_let_go_does_not() -> None:
    assert is_news({}, {UUID: directory()})
    assert not is_news({UUID: directory()}, {})
    assert not is_news({}, {})


def test_a_storage_that_was_not_looked_at_yet_has_no_facts() -> None:
    empty = Section[DirectoryUsage]()
    assert facts(ImageStoreReport(uuid=UUID, url="/images", usage=empty)) is None
    hung = empty.model_copy(update={"reason": Reason(code=ReasonCode.DIRECTORY_HUNG, details="")})
    assert facts(ImageStoreReport(uuid=UUID, url="/images", usage=hung)) is not None


def ceph(
    *, quorum: tuple[str, ...] = ("a", "b", "c"), available: int = 1000, pool: int = 500, other: int = 500
) -> Facts:
    pools = [
        Pool(
            id=number, name=name, securityPolicy="Copy", replicatedSize=3, crushRule="r", crushRoot="default",
            failureDomain="host", relatedOsds=[0], usedCapacity=0, availableCapacity=size, totalCapacity=size,
            diskUtilization=0.3, poolMaxAvail=size, poolStored=0,
        )
        for number, (name, size) in enumerate({"images": pool, "other": other}.items())
    ]  # fmt: skip
    mons = [
        Mon(rank=rank, name=name, addresses=[], inQuorum=name in quorum, leader=rank == 0)
        for rank, name in enumerate("abc")
    ]
    cluster = Cluster(
        fsid="f", totalCapacity=10_000, availableCapacity=available, health="HEALTH_OK", checks=[], mgrActive=True,
        vendor="ceph",
    )  # fmt: skip
    return told(
        CephReport(
            uuid=UUID,
            poolName="images",
            cluster=Section[Cluster](value=cluster, collectedAt=1.0),
            pools=Section[list[Pool]](value=pools, collectedAt=1.0),
            mons=Section[list[Mon]](value=mons, collectedAt=1.0),
            localMon=Section[LocalMon](value=LocalMon(name="a", state="leader", rank=0, addresses=[]), collectedAt=1.0),
        )
    )


def test_a_mon_that_leaves_the_quorum_counts() -> None:
    assert news(ceph(), ceph(quorum=("a", "b")))
    assert news(ceph(quorum=("a", "b")), ceph())
    assert not news(ceph(), ceph())


def test_of_the_pools_that_of_the_storage_counts() -> None:
    assert news(ceph(), ceph(available=900))
    assert news(ceph(), ceph(pool=490))
    assert not news(ceph(), ceph(other=1))
