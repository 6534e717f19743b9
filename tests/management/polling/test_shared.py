"""What nodes share of the agents: who looks when another one was told, what is shown of hosts that nobody has asked."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import update

from bs_agent.contract.inventory import Status
from bs_agent.management.config import ManagementSettings
from bs_agent.management.polling import poller, watches
from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import node as node_table
from bs_agent.management.store.watched import Claimed, ask_to_look, claim
from tests.beds.agent import AgentProcess
from tests.beds.fleet import POLL, FleetBed, fleet, image_store, until
from tests.beds.played import Played, Players, players
from tests.beds.postgresql import PostgreSQL

pytestmark = pytest.mark.asyncio

HOST = "127.0.0.2"
QUIET = {**POLL, "interval": 3600.0}


async def _add(bed: FleetBed, stage: Players) -> tuple[Played, str]:
    agent = await stage.add(HOST)
    tags = [f"agentEnrollment::{agent.code}"]
    return agent, await bed.service.add_image_store(image_store(Path("/images"), hostname=HOST, systemTags=tags))


@pytest.mark.parametrize("answers", [True, False])
async def test_what_nobody_has_asked_for_long_is_not_shown_as_known(tmp_path: Path, answers: bool) -> None:
    async with players(tmp_path) as stage:
        async with fleet(tmp_path) as bed:
            agent, uuid = await _add(bed, stage)
        database = Database.connect(f"sqlite:///{tmp_path}/management.db")
        async with database.writing() as connection:
            await connection.execute(update(node_table).values(leaseDate=node_table.c.leaseDate - 1_000_000))
        await database.close()
        connects = agent.asked["PUT storages"]
        async with fleet(tmp_path, poll=QUIET) as bed:
            await bed.reaches(uuid, ("Connecting", "Unobserved"))
            shown = await bed.shown(uuid)
            assert shown is not None
            assert shown["capacityStale"], "nor are its numbers"
            if not answers:
                agent.holds["GET report"] = asyncio.Event()
            bed.service.configure(ManagementSettings.model_validate({"poll": POLL}))
            await bed.reaches(uuid, ("Connected", "") if answers else ("Disconnected", "AgentTimeout"))
        if answers:
            assert agent.asked["PUT storages"] == connects, "a host that is well is not connected afresh for that"
        else:
            agent.holds.pop("GET report").set()


async def test_a_node_that_starts_again_at_once_shows_what_it_knew(tmp_path: Path) -> None:
    async with players(tmp_path) as stage:
        async with fleet(tmp_path, poll=QUIET) as bed:
            _, uuid = await _add(bed, stage)
        async with fleet(tmp_path, poll=QUIET) as bed:
            await until(lambda: _watches(bed, 1))
            await asyncio.sleep(0)
            assert await bed.status(uuid) == ("Connected", "")


async def _watches(bed: FleetBed, count: int) -> bool:
    return bed.service.poller.watching == count


async def test_who_hears_of_news_makes_the_holder_look(tmp_path: Path, postgresql_server: PostgreSQL) -> None:
    url = postgresql_server.new_database()
    async with players(tmp_path) as stage, fleet(tmp_path, url, poll=QUIET) as holder:
        agent, uuid = await _add(holder, stage)
        (watch,) = holder.service.poller._watches
        async with fleet(tmp_path, url, poll=QUIET) as other:
            assert not other.service.poller.receive(watch.uuid, agent.report())
            polls = agent.asked["GET report"]
            agent.change(uuid, usage=agent.storages[uuid].sections()[0].model_copy(update={"stale": True}))
            await ask_to_look(other.database, watch.uuid)

            async def has_looked() -> bool:
                shown = await other.shown(uuid)
                return agent.asked["GET report"] > polls and shown is not None and shown["capacityStale"]

            await until(has_looked)


async def test_who_looks_sweeps_no_more_often_for_that(
    tmp_path: Path, postgresql_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "_TICK", 3600.0)
    sweeps: list[str] = []

    async def counted(database: Database, owner: str) -> Claimed:
        sweeps.append(owner)
        return await claim(database, owner)

    async with players(tmp_path) as stage:
        bed = fleet(tmp_path, postgresql_server.new_database(), poll=QUIET)
        async with bed as holder:
            agent, _ = await _add(holder, stage)
            (watch,) = holder.service.poller._watches
            monkeypatch.setattr(watches, "claim", counted)
            for _ in range(5):
                polls = agent.asked["GET report"]
                await ask_to_look(holder.database, watch.uuid)
                await until(lambda polls=polls: _has_polled(agent, polls))  # type: ignore[misc]
            assert sweeps == []


async def _has_polled(agent: Played, before: int) -> bool:
    return agent.asked["GET report"] > before


@pytest.mark.parametrize(("was", "connects"), [("Connecting", 0), ("Disconnected", 0), ("Connected", 1)])
async def test_a_host_that_somebody_has_connected_meanwhile_is_not_connected_again(
    tmp_path: Path, was: Status, connects: int
) -> None:
    """One that is Connected is connected all the same where its agent does not know the storage any more."""
    async with players(tmp_path) as stage, fleet(tmp_path, poll={**QUIET, "timeout": 30.0}) as bed:
        agent, uuid = await _add(bed, stage)
        (host,) = await bed.service.means.hosts.of(uuid)
        before = agent.asked["PUT storages"]
        await bed.service.poller._restore(uuid, host.monUuid, was)
        assert agent.asked["PUT storages"] - before == connects


async def test_letting_go_of_an_agent_and_an_add_on_another_node_do_not_meet(
    tmp_path: Path, postgresql_server: PostgreSQL
) -> None:
    url, settings = postgresql_server.new_database(), {"probe": {"interval": 5.0, "deadline": 5.0}}
    quiet = {"interval": 3600.0, "timeout": 10.0}
    with AgentProcess(tmp_path / "agent", settings) as agent:
        async with fleet(tmp_path, url, poll=quiet) as first, fleet(tmp_path, url, poll=quiet) as second:
            old = ""
            for number in range(4):
                one, two = (first, second) if number % 2 else (second, first)
                path = tmp_path / f"images-{number}"
                path.mkdir()
                adding = two.service.add_image_store(image_store(path, agent.enroll()))
                if old:
                    _, new = await asyncio.gather(one.service.delete(old, "Permissive"), adding)
                else:
                    new = await adding
                await one.service.reconnect(new)
                assert agent.run("enrollments", "list").stdout.count("test") == 1
                old = new
