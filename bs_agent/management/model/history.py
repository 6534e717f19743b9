"""How capacities were: from the few rows that are kept to a point for each slot of time, and to when it is full. Pure.

A value that stays the same is not written again: it holds until the next one, or until it was lost, but no longer than
values are looked at anew. So where nothing changed there are points, and where nothing was known there are none.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

MINUTE, HOUR, DAY = 60, 3600, 86400
HOLDS = {MINUTE: 4200, HOUR: 2 * HOUR, DAY: DAY}
"""Seconds for which a value of a resolution holds: what is the same is confirmed within the hour."""
KEPT = {MINUTE: DAY, HOUR: 31 * DAY, DAY: 731 * DAY}
"""Seconds for which rows of a resolution are kept."""
PERIODS = {"hour": (MINUTE, HOUR), "day": (MINUTE, DAY), "month": (HOUR, 31 * DAY), "years": (DAY, 731 * DAY)}
"""The resolution and the length of each period, in seconds."""
_MOST = 120
"""How many points a trend is taken of: the work grows with the square."""
_LONGEST = 3650.0
"""Days after which nobody says that it will be full."""


class Point(NamedTuple):
    """The capacities in the slot that begins at `slot`, in bytes; `lost` is since when nothing is known."""

    slot: int
    total: int
    available: int
    stored: int | None = None
    used: int | None = None
    max_avail: int | None = None
    lost: int | None = None


def filled(kept: Sequence[Point], first: int, last: int, resolution: int) -> list[Point]:
    """Return a point for each slot from `first` to `last` of which something is known; what is kept is in order."""
    points: list[Point] = []
    at, now = 0, None
    for slot in range(first, last + 1, resolution):
        while at < len(kept) and kept[at].slot <= slot:
            now, at = kept[at], at + 1
        if now is None or slot - now.slot >= HOLDS[resolution]:
            continue
        if now.lost is not None and slot >= now.lost:
            continue
        points.append(now._replace(slot=slot, lost=None))
    return points


def days_until_full(points: Iterable[Point]) -> float | None:
    """Return in how many days nothing is left, if it goes on as these points went; None: it is not filling.

    The trend is the median of the slopes between all pairs (Theil and Sen), which a clean-up, a peak or a step does not
    move, and is taken of what is used, so that more disks are no emptying. Less than a day says nothing.
    """
    known = list(points)
    pool = bool(known) and known[-1].stored is not None and known[-1].max_avail is not None
    if pool:
        known = [one for one in known if one.stored is not None and one.max_avail is not None]
    if len(known) < 2 or known[-1].slot - known[0].slot < DAY:
        return None
    left = known[-1].max_avail if pool else known[-1].available
    step = len(known) / min(len(known), _MOST)
    some = [known[int(at * step)] for at in range(min(len(known), _MOST) - 1)] + [known[-1]]
    used = [((one.stored or 0) if pool else one.total - one.available, one.slot) for one in some]
    growth = median((later - before) / (end - start) for (before, start), (later, end) in combinations(used, 2))
    if growth <= 0:
        return None
    days = (left or 0) / growth / DAY
    return round(days, 1) if days <= _LONGEST else None
