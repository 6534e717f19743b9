"""From the rows that are kept to a point for each slot, and to the day on which a storage is full."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.management.model.history import DAY, HOLDS, HOUR, MINUTE, Point, days_until_full, filled

START = 1_700_000_000 - 1_700_000_000 % DAY
TOTAL = 10**12


def at(minute: int, available: int = 5, lost: int | None = None) -> Point:
    return Point(START + minute * MINUTE, 10, available, lost=None if lost is None else START + lost * MINUTE)


def shown(*kept: Point, minutes: int) -> list[int | None]:
    points = {point.slot: point.available for point in filled(kept, START, START + (minutes - 1) * MINUTE, MINUTE)}
    return [points.get(START + minute * MINUTE) for minute in range(minutes)]


def test_what_does_not_change_holds_and_what_is_lost_does_not() -> None:
    assert shown(at(0), at(3, 4), minutes=5) == [5, 5, 5, 4, 4]
    assert shown(at(0), at(1, 5, lost=2), at(4, 3), minutes=6) == [5, 5, None, None, 3, 3]
    assert shown(at(-2), minutes=2) == [5, 5], "what was before the period holds into it"
    assert shown(minutes=3) == [None] * 3


def test_nothing_holds_longer_than_it_is_confirmed() -> None:
    most = HOLDS[MINUTE] // MINUTE
    assert shown(at(0), minutes=most + 2) == [5] * most + [None] * 2


@given(st.lists(st.integers(0, 200), unique=True, min_size=1), st.integers(1, 300))
def test_each_slot_has_one_point_at_most_and_it_is_the_last_before(minutes: list[int], count: int) -> None:
    kept = [at(minute, minute) for minute in sorted(minutes)]
    points = filled(kept, START, START + (count - 1) * MINUTE, MINUTE)
    assert [point.slot for point in points] == sorted({point.slot for point in points})
    for point in points:
        minute = (point.slot - START) // MINUTE
        assert point.available == max(one for one in minutes if one <= minute)


def line(hours: int, per_hour: float, noise: float = 0.0) -> list[Point]:
    """Return points of a disk that fills by so many bytes an hour, from half full."""
    chance = random.Random(1)  # noqa: S311  the same each time
    used = [TOTAL // 2 + int(per_hour * hour + chance.uniform(-noise, noise)) for hour in range(hours)]
    return [Point(START + hour * HOUR, TOTAL, TOTAL - one) for hour, one in enumerate(used)]


def test_a_steady_growth_says_when_it_is_full() -> None:
    points = line(14 * 24, 10**9)
    left = points[-1].available
    assert days_until_full(points) == pytest.approx(left / 10**9 / 24, abs=0.1)
    assert days_until_full(line(14 * 24, 10**9, noise=5 * 10**9)) == pytest.approx(left / 10**9 / 24, rel=0.05)


def test_peaks_clean_ups_and_more_disks_do_not_move_the_trend() -> None:
    points = line(14 * 24, 10**9)
    expected = points[-1].available / 10**9 / 24
    with_peaks = [one._replace(available=0) if at % 11 == 3 else one for at, one in enumerate(points)]
    assert days_until_full(with_peaks) == pytest.approx(expected, rel=0.05)
    grown = [one._replace(total=2 * TOTAL, available=one.available + TOTAL) for one in points[200:]]
    assert days_until_full([*points[:200], *grown]) == pytest.approx(grown[-1].available / 10**9 / 24, rel=0.05)


@pytest.mark.parametrize(
    "points",
    [[], line(1, 10**9), line(20, 10**9), line(300, 0), line(300, -(10**9)), line(300, 1.0)],
    ids=["nothing", "one", "less than a day", "still", "emptying", "in thousands of years"],
)
def test_what_is_not_filling_is_never_full(points: list[Point]) -> None:
    assert days_until_full(points) is None


def test_a_pool_is_full_when_nothing_more_can_be_stored_in_it() -> None:
    points = [
        Point(one.slot, TOTAL * 9, TOTAL * 8, TOTAL - one.available, 0, one.available) for one in line(10 * 24, 10**9)
    ]
    assert days_until_full(points) == pytest.approx((points[-1].max_avail or 0) / 10**9 / 24, abs=0.1)
    assert days_until_full([*points[:-1], points[-1]._replace(max_avail=0)]) == 0.0
