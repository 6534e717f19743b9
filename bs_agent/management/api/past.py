"""The call on how capacities were."""

from typing import Any

from bs_agent.contract import calls_past as calls
from bs_agent.contract.dates import format_seconds
from bs_agent.management.access.sessions import Caller
from bs_agent.management.api.calls import UseCase
from bs_agent.management.jobs.jobs import Payload
from bs_agent.management.model.history import Point, days_until_full
from bs_agent.management.store.database import Database
from bs_agent.management.store.history import read_history


class PastCalls:
    """Shows how capacities were."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self) -> dict[str, UseCase]:
        """Return the use case of each call."""
        return {calls.GET_CAPACITY_HISTORY.name: self.capacity_history}

    async def capacity_history(self, parameters: calls.CapacityHistoryParameters, _: Caller) -> Payload:
        """Show how the capacities of a storage were, and when it will be full."""
        resolution, points, month = await read_history(self._database, parameters.uuid, parameters.period)
        shown: Payload = {"resolution": resolution, "points": [_shown(point) for point in points]}
        days = days_until_full(month)
        return shown if days is None else shown | {"daysUntilFull": days}


def _shown(point: Point) -> dict[str, Any]:
    pool = {"poolStored": point.stored, "poolUsedCapacity": point.used, "poolMaxAvail": point.max_avail}
    return {
        "date": format_seconds(point.slot),
        "totalCapacity": point.total,
        "availableCapacity": point.available,
        **{name: value for name, value in pool.items() if value is not None},
    }
