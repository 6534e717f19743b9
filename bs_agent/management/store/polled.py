"""Writes how the polls of agents go: many in one transaction; of those for which nothing has changed, the date only."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason
from bs_agent.management.store.database import Database
from bs_agent.management.store.events import Event, write_events
from bs_agent.management.store.repeated import repeated
from bs_agent.management.store.rows import batched, to_json
from bs_agent.management.store.tables import agent

_WRITTEN = (
    "status", "statusReason", "missedPolls", "lastPushDate", "clockSkew", "version", "certificateEndDate",
)  # fmt: skip
_COLUMNS = [agent.c[name] for name in ("uuid", "hostname", *_WRITTEN)]


class Polled(NamedTuple):
    """How the polls of an agent go: the last was `age` seconds ago, its last push `push_age`; `skew` is its clock's.

    What has not been seen is None, and stays as it is written.
    """

    uuid: str
    age: float
    status: Status
    reason: Reason | None
    misses: int
    skew: float | None = None
    push_age: float | None = None
    version: str | None = None
    certificate_end: int | None = None


async def write_polled(database: Database, owner: str, polled: Sequence[Polled]) -> None:
    """Write what the node `owner` has seen of agents that it polls; what somebody else writes just now is left out.

    Raises:
        DatabaseUnavailable: some of it, or all, is not written.
    """
    for some in batched(sorted(polled)):
        await _write(database, owner, {one.uuid: one for one in some})


@repeated
async def _write(database: Database, owner: str, polled: dict[str, Polled]) -> None:
    mine = (agent.c.leaseOwner == owner, agent.c.uuid.in_(list(polled)))
    # To wait for one while others are locked is to get in the way: it is polled again soon.
    free = select(*_COLUMNS).where(*mine).order_by(agent.c.uuid).with_for_update(key_share=True, skip_locked=True)
    async with database.writing() as connection:
        rows = (await connection.execute(free)).all()
        now = await database.now(connection)
        as_before: dict[int, list[str]] = defaultdict(list)
        changed: list[dict[str, Any]] = []
        events: list[Event] = []
        for row in rows:
            seen = polled[row.uuid]
            date = int(now - seen.age)
            if row.status != seen.status and "Disconnected" in {row.status, seen.status}:
                events.append(_turned(seen, row.hostname, row.status))
            values = _values(seen, now, row)
            if any(getattr(row, name) != value for name, value in values.items()):
                changed.append({"key": row.uuid, "date": date} | {f"new_{name}": values[name] for name in values})
            else:
                as_before[date].append(row.uuid)
        await _write_rows(connection, as_before, changed)
        await write_events(connection, now, events)


def _values(seen: Polled, now: float, row: Any) -> dict[str, Any]:  # noqa: ANN401 RUF100  a row of `_COLUMNS`
    pushed = row.lastPushDate
    if seen.push_age is not None:
        pushed = max(pushed or 0, int(now - seen.push_age))
    return {
        "status": seen.status,
        "statusReason": to_json(seen.reason),
        "missedPolls": seen.misses,
        "lastPushDate": pushed,
        "clockSkew": row.clockSkew if seen.skew is None else round(seen.skew, 1),
        "version": seen.version or row.version,
        "certificateEndDate": seen.certificate_end or row.certificateEndDate,
    }


def _turned(seen: Polled, hostname: str, before: Status) -> Event:
    return Event(
        "AgentAway" if seen.status == "Disconnected" else "AgentBack",
        ("AgentVO", seen.uuid, hostname),
        old=before,
        new=seen.status,
        code=seen.reason.code.value if seen.reason else None,
        details=seen.reason.details if seen.reason else None,
    )


async def _write_rows(
    connection: AsyncConnection, as_before: dict[int, list[str]], changed: list[dict[str, Any]]
) -> None:
    for date, uuids in as_before.items():
        await connection.execute(update(agent).where(agent.c.uuid.in_(uuids)).values(lastPollDate=date))
    if changed:
        bound: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _WRITTEN}
        statement = update(agent).where(agent.c.uuid == bindparam("key"))
        await connection.execute(statement.values(**bound, lastPollDate=bindparam("date")), changed)
