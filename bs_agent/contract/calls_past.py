"""The calls on what has happened: jobs, events, and how capacities were."""

from typing import Literal

from pydantic import Field

from bs_agent.contract.dates import ApiDate
from bs_agent.contract.declaration import Api, OneResource, QueryParameters, QueryReply, Reply
from bs_agent.contract.inventory import EventInventory, Inventory, JobInventory

Period = Literal["hour", "day", "month", "years"]


class QueryJobReply(QueryReply):
    """The jobs that were found."""

    inventories: list[JobInventory] | None = None


class QueryEventReply(QueryReply):
    """The events that were found."""

    inventories: list[EventInventory] | None = None


class CapacityHistoryParameters(OneResource):
    """Of which storage, and how far back."""

    period: Period = Field(
        "day",
        description="hour, day: a point a minute; month: 31 days, a point an hour; years: two of them, a point a day.",
    )


class CapacityPoint(Inventory):
    """The capacities, in bytes, in one slot of time, of which `date` is the beginning.

    A point a minute is the last measurement of its minute. One an hour or a day is the measurement with the least
    available bytes of its hour or day (UTC): what fills a disk is seen though it is short.
    """

    java_class = "org.zstack.bsagent.CapacityPoint"

    date: ApiDate
    totalCapacity: int
    availableCapacity: int
    poolStored: int | None = None
    poolUsedCapacity: int | None = None
    poolMaxAvail: int | None = None


class CapacityHistoryReply(Reply):
    """The points, the oldest first. Where nothing was known there is none, and where nothing changed they are alike."""

    resolution: int = Field(description="Seconds from one point to the next.")
    points: list[CapacityPoint]
    daysUntilFull: float | None = Field(
        None, description="In how many days it is full if it goes on as in the last month; null: it is not filling."
    )


QUERY_JOB = Api(
    "QueryJob", "GET", ("/jobs", "/jobs/{uuid}"), QueryParameters, QueryJobReply,
    "Find jobs: who called what, and how that went.", queries=JobInventory,
)  # fmt: skip
QUERY_EVENT = Api(
    "QueryEvent", "GET", ("/events", "/events/{uuid}"), QueryParameters, QueryEventReply,
    "Find what has happened, when, to what, and by whom.", queries=EventInventory,
)  # fmt: skip
GET_CAPACITY_HISTORY = Api(
    "GetBackupStorageCapacityHistory", "GET", ("/backup-storage/{uuid}/capacity-history",), CapacityHistoryParameters,
    CapacityHistoryReply, "Show how the capacities of a backup storage were, and when it is full.",
)  # fmt: skip

PAST_CALLS = (QUERY_JOB, QUERY_EVENT, GET_CAPACITY_HISTORY)
