"""A curve of capacities: as numbers for a script that draws it, and as a plain drawing for a browser without one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bs_agent.contract.dates import parse_date
from bs_agent.management.console.words import size

Points = Sequence[Mapping[str, Any]]

WIDTH, HEIGHT = 1000, 240


@dataclass(frozen=True)
class Drawing:
    """The corners of the lines of what is available, one for each time that is known, and what they show in words."""

    lines: Sequence[str]
    said: str


def series(points: Points, resolution: int, *, is_ceph: bool) -> dict[str, Any]:
    """Return dates in Unix seconds and a line for each number, in bytes; None where one was not known."""
    lines = [("Available", "availableCapacity", False), ("Total", "totalCapacity", True)]
    if is_ceph:
        lines += [("Pool stored", "poolStored", False), ("Pool max_avail", "poolMaxAvail", True)]
    # A point without numbers ends a line, so that none is drawn over a time of which nothing is known.
    stretches = _stretches(points, resolution)
    known = [point for stretch in stretches for point in (*stretch, {"date": stretch[-1]["date"]})]
    dates = [_date(point) for point in known]
    return {
        "dates": [date if "totalCapacity" in point else date + 1 for date, point in zip(dates, known, strict=True)],
        "series": [
            {"label": label, "dashed": dashed, "values": [point.get(name) for point in known]}
            for label, name, dashed in lines
        ],
    }


def drawn(points: Points, resolution: int) -> Drawing | None:
    """Draw what is available below what there is; None when there is nothing to draw."""
    if not points:
        return None
    first, last = _date(points[0]), _date(points[-1])
    most = max(point["totalCapacity"] for point in points) or 1
    lines = [
        " ".join(
            f"{WIDTH * (_date(point) - first) / ((last - first) or 1):.0f},"
            f"{HEIGHT - HEIGHT * point['availableCapacity'] / most:.0f}"
            for point in stretch
        )
        for stretch in _stretches(points, resolution)
    ]
    before, now = (size(points[at]["availableCapacity"]) for at in (0, -1))
    return Drawing(lines, f"From {before} available at {points[0]['date']} to {now} at {points[-1]['date']}.")


def _stretches(points: Points, resolution: int) -> list[list[Mapping[str, Any]]]:
    """Part the points where one is missing."""
    parted: list[list[Mapping[str, Any]]] = []
    for point in points:
        if parted and _date(point) - _date(parted[-1][-1]) <= 1.5 * resolution:
            parted[-1].append(point)
        else:
            parted.append([point])
    return parted


def _date(point: Mapping[str, Any]) -> float:
    return parse_date(point["date"]).timestamp()
