"""How polls go is written for many agents at once, by the node that polls them, and by no other."""

import pytest
from sqlalchemy import select, update

from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.management.store.database import Database
from bs_agent.management.store.polled import Polled, write_polled
from bs_agent.management.store.tables import agent as table
from tests.beds.stores import agent, nodes, set_clock

pytestmark = pytest.mark.asyncio

NOW = 1_700_000_000
WHY = Reason(code=ReasonCode.AGENT_UNREACHABLE, details="no route")


async def test_what_changed_is_written_and_of_the_others_the_date(database: Database) -> None:
    quiet, away, foreign = agent(), agent(), agent()
    async with nodes(database) as (one, other):
        await one.meet(quiet, away, foreign)
        set_clock(database, NOW)
        async with database.writing() as connection:
            mine = update(table).where(table.c.uuid.in_([quiet.uuid, away.uuid]))
            await connection.execute(mine.values(leaseOwner=one.node.uuid))
            theirs = update(table).where(table.c.uuid == foreign.uuid)
            await connection.execute(theirs.values(leaseOwner=other.node.uuid))
        seen = [Polled(each.uuid, 2.0, "Connected", None, 0, 0.2) for each in (quiet, away, foreign)]
        await write_polled(database, one.node.uuid, seen)
        set_clock(database, NOW + 60)
        later = [
            Polled(quiet.uuid, 1.0, "Connected", None, 0, 0.2, version="2", certificate_end=NOW + 9),
            Polled(away.uuid, 3.0, "Disconnected", WHY, 3, 0.2, 40.0),
        ]
        await write_polled(database, one.node.uuid, later)
        await write_polled(database, one.node.uuid, [Polled(quiet.uuid, 1.0, "Connected", None, 0)])
        columns = (table.c.status, table.c.missedPolls, table.c.lastPollDate, table.c.lastPushDate, table.c.clockSkew)
        async with database.reading() as connection:
            rows = {row[0]: tuple(row[1:]) for row in await connection.execute(select(table.c.uuid, *columns))}
            shown = select(table.c.version, table.c.certificateEndDate).where(table.c.uuid == quiet.uuid)
            assert tuple((await connection.execute(shown)).one()) == ("2", NOW + 9), "what is not seen stays"
            why = await connection.execute(select(table.c.statusReason).where(table.c.uuid == away.uuid))
            assert why.scalar_one()["code"] == "AgentUnreachable"
    assert rows[quiet.uuid] == ("Connected", 0, NOW + 59, None, 0.2), "only the date is new"
    assert rows[away.uuid] == ("Disconnected", 3, NOW + 57, NOW + 20, 0.2)
    assert rows[foreign.uuid] == ("Connecting", 0, None, None, None), "another node polls it"
