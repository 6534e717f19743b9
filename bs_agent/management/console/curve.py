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
    """The corners of the line of what is available, and what it shows in words."""

    corners: str
    said: str


def series(points: Points, *, is_ceph: bool) -> dict[str, Any]:
    """Return dates in Unix seconds and a line for each number, in bytes; None where one was not known."""
    lines = [("Available", "availableCapacity", False), ("Total", "totalCapacity", True)]
    if is_ceph:
        lines += [("Pool stored", "poolStored", False), ("Pool max_avail", "poolMaxAvail", True)]
    return {
        "dates": [_date(point) for point in points],
        "series": [
            {"label": label, "dashed": dashed, "values": [point.get(name) for point in points]}
            for label, name, dashed in lines
        ],
    }


def drawn(points: Points) -> Drawing | None:
    """Draw what is available below what there is; None when there is nothing to draw."""
    if not points:
        return None
    first, last = _date(points[0]), _date(points[-1])
    most = max(point["totalCapacity"] for point in points) or 1
    corners = " ".join(
        f"{WIDTH * (_date(point) - first) / ((last - first) or 1):.0f},"
        f"{HEIGHT - HEIGHT * point['availableCapacity'] / most:.0f}"
        for point in points
    )
    before, now = (size(points[at]["availableCapacity"]) for at in (0, -1))
    said = f"From {before} available at {points[0]['date']} to {now} at {points[-1]['date']}."
    return Drawing(corners, said)


def _date(point: Mapping[str, Any]) -> float:
    return parse_date(point["date"]).timestamp()
