"""The curve of a storage: where nothing is known no line is drawn."""

from typing import Any

from bs_agent.contract.dates import format_seconds
from bs_agent.management.console import curve

_NOON = 1_800_000_000


def _points(*minutes: int) -> list[dict[str, Any]]:
    return [
        {"date": format_seconds(_NOON + 60 * at), "totalCapacity": 1000, "availableCapacity": 1000 - at}
        for at in minutes
    ]


def test_lines_end_where_a_point_is_missing() -> None:
    drawing = curve.drawn(_points(0, 1, 2, 5, 6), 60)
    assert drawing
    assert [line.count(",") for line in drawing.lines] == [3, 2]
    answer = curve.series(_points(0, 1, 2, 5, 6), 60, is_ceph=True)
    assert [date - _NOON for date in answer["dates"]] == [0, 60, 120, 121, 300, 360, 361]
    assert answer["series"][0]["values"] == [1000, 999, 998, None, 995, 994, None]
    assert [line["label"] for line in answer["series"]] == ["Available", "Total", "Pool stored", "Pool max_avail"]


def test_nothing_and_one_point_are_drawn_too() -> None:
    assert curve.drawn([], 60) is None
    assert curve.series([], 60, is_ceph=False)["dates"] == []
    one = curve.drawn(_points(0), 60)
    assert one
    assert list(one.lines) == ["0,0"]
    full = curve.drawn([{"date": format_seconds(_NOON), "totalCapacity": 0, "availableCapacity": 0}], 60)
    assert full
    assert list(full.lines) == ["0,240"]
