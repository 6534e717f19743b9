"""Which of several measurements of a capacity counts: pure, so the rules are stated on values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CephReport, DirectoryUsage, ImageStoreReport, Section
from bs_agent.management.model.capacity import REFRESH, Measured, capacity_of, counts, is_fresh, measured

NOW = 10_000.0
FRESH, STALE_HERE, STALE = (True, False), (False, False), (False, True)
"""Whether the host calls it fresh, and whether no other host does."""
ROW = {"availableCapacity": 1, "capacityDate": None, "capacityStale": False}


def said(available: int, *, fresh: bool = True) -> Measured:
    return Measured({"availableCapacity": available}, "capacityDate", 0.0, fresh)


def image_store(**section: Any) -> ImageStoreReport:
    usage = DirectoryUsage(totalCapacity=9, availableCapacity=5, totalInodes=2, availableInodes=1, readOnly=False)
    return ImageStoreReport(uuid="0" * 32, url="/x", usage=Section[DirectoryUsage](**{"value": usage, **section}))


@pytest.mark.parametrize(
    ("before", "date", "available", "seen", "wanted"),
    [
        (None, 0, 1, STALE_HERE, True),
        (5000, 6000, 2, FRESH, True),
        (5000, 5000, 2, FRESH, True),
        (5000, 4999, 2, FRESH, False),
        (NOW + 1, 3000, 2, FRESH, True),
        (NOW + 1, 3000, 1, FRESH, True),
        (5000, 5000 + REFRESH - 1, 1, FRESH, False),
        (5000, 5000 + REFRESH, 1, FRESH, True),
        (5000, 6000, 2, STALE_HERE, False),
        (NOW + 1, 6000, 2, STALE_HERE, False),
        (5000, 6000, 2, STALE, True),
        (5000, 4000, 2, STALE, False),
    ],
)
def test_which_measurement_counts(
    before: float | None, date: float, available: int, seen: tuple[bool, bool], wanted: bool
) -> None:
    fresh, stale = seen
    row = ROW | {"capacityDate": before, "capacityStale": stale}
    assert counts(said(available, fresh=fresh), date, row, NOW) == wanted


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 3)), min_size=1, unique_by=lambda one: one[0]))
def test_the_newest_measurement_stays_in_whatever_order_they_come(told: list[tuple[int, int]]) -> None:
    row: dict[str, Any] = dict(ROW)
    for date, available in [(int(date * REFRESH), available) for date, available in told]:
        if counts(said(available), date, row, NOW):
            row |= {"availableCapacity": available, "capacityDate": date}
    assert row["availableCapacity"] == max(told)[1]


def test_a_capacity_is_as_old_as_the_agent_says_whatever_its_clock() -> None:
    (part,) = measured(image_store(ageSeconds=30.0, collectedAt=1e10))
    assert (part.age, part.fresh, part.dated) == (30.0, True, "capacityDate")
    assert part.columns == {"totalCapacity": 9, "availableCapacity": 5}
    assert capacity_of(image_store(value=None)) == {}


def test_what_was_out_of_bounds_is_not_fresh() -> None:
    told = image_store().model_dump()
    told["usage"]["value"]["availableCapacity"] = -1
    report = ImageStoreReport.model_validate(told)
    assert (measured(report), is_fresh(report)) == ([], False)
    reason = Reason(code=ReasonCode.CEPH_FAULT, details="seen")
    spoilt = {"value": {"fsid": 5}, "reason": reason}
    told = {"uuid": "0" * 32, "poolName": "a", **dict.fromkeys(("cluster", "pools", "mons", "localMon"), spoilt)}
    ceph = CephReport.model_validate(told)
    assert (measured(ceph), is_fresh(ceph)) == ([], False)
