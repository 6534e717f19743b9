"""The lists of agents, events and debts, and what a storage's page takes from them."""

from typing import Any

import pytest
from sqlalchemy import insert

from bs_agent.management.console.lists import AGENT_SORTS
from bs_agent.management.store import tables
from tests.management.console.looking import Looker
from tests.management.server import Server, mon_row, storage_row

pytestmark = pytest.mark.asyncio

ANY, AGENT = "1" * 32, "a" * 32
NOW = 1_800_000_000
REASON = {"code": "AgentUnreachable", "details": "10.0.0.7:7765: Connection refused"}


async def fleet(server: Server) -> None:
    """One storage whose agent is away, and to which a clean-up of another storage is owed."""
    await server.store(storage_row(uuid=ANY, name="store-7", status="Disconnected", statusReason=REASON))
    agent: dict[str, Any] = {"uuid": AGENT, "hostname": "host-7", "port": 7765, "fingerprint": "f" * 64}
    agent |= {"enrollmentId": "e" * 32, "tokenSecret": "", "leaving": False, "createDate": NOW, "version": "0.9.0"}
    agent |= {"status": "Disconnected", "statusReason": REASON, "missedPolls": 5, "lastPollDate": NOW}
    debt: dict[str, Any] = {"uuid": "d" * 32, "type": "Cleanup", "agentUuid": AGENT, "operationUuid": "0" * 32}
    debt |= {"commandUuid": "c" * 32, "backupStorageUuid": ANY, "backupStorageName": "store-6", "hostOnly": False}
    debt |= {"lastReason": REASON, "createDate": NOW}
    async with server.database.writing() as connection:
        await connection.execute(insert(tables.agent).values(agent))
        await connection.execute(insert(tables.agent_address).values(hostname="h7", port=7765, agentUuid=AGENT))
        await connection.execute(insert(tables.host).values(mon_row(ANY, "host-7") | {"agentUuid": AGENT}))
        await connection.execute(insert(tables.debt).values(debt))


async def test_agents_are_listed_in_each_order(server: Server, browser: Looker) -> None:
    await fleet(server)
    for sort in AGENT_SORTS:
        shown = await browser.get(f"/agents?sort={sort}")
        assert shown.status == 200
        for text in ("host-7:7765", "also h7", "store-7", "0.9.0", "5 polls missed", "Start the agent"):
            assert text in shown.words, sort
    assert "No agent fits" in (await browser.get("/agents?q=nobody")).words
    assert "host-7" not in (await browser.get("/agents?status=Connected")).words
    assert "host-7" in (await browser.get("/agents?status=Disconnected&q=OST-")).words


async def test_debts_say_why_they_are_not_paid(server: Server, browser: Looker) -> None:
    await fleet(server)
    words = (await browser.get("/debts")).words
    for text in ("A clean-up", "host-7", "store-6", "Connection refused", "What to do: Start the agent"):
        assert text in words
    assert "1 clean-up is still owed" in (await browser.get(f"/storages/{ANY}")).words


async def test_events_tell_who_did_what(server: Server, browser: Looker) -> None:
    await fleet(server)
    await browser.get(f"/storages/{ANY}")
    await browser.send(f"/storages/{ANY}/state")
    words = (await browser.get("/events")).words
    assert "Log in from 127.0.0.1 admin" in words
    assert "State changed store-7 Enabled → Disabled admin" in words
    assert "Log in" not in (await browser.get("/events?type=StateChanged")).words.partition("When")[2]
    assert "State changed" in (await browser.get(f"/events?resource={ANY}")).words.partition("When")[2]
    assert "Nothing is recorded" in (await browser.get("/events?q=no-such-name")).words
    assert "State changed" in (await browser.get(f"/storages/{ANY}")).words
