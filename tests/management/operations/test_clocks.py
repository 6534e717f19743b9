"""Clocks that are ahead, behind, set back and set forward: of agents, of nodes, of the database's own machine."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bs_agent.management.store.tables import node as node_table
from tests.beds import clocks, mounts
from tests.beds.agent import AgentProcess
from tests.beds.clocks import Clock
from tests.beds.fleet import FleetBed, fleet, image_store, until
from tests.beds.node import NodeProcess, client_of
from tests.beds.nodes import LEASE, Site, site
from tests.beds.played import players
from tests.beds.postgresql import PostgreSQL

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(clocks.missing()), reason=clocks.missing()),
]

HOUR, DAY, YEAR = 3600, 86400, 365 * 86400
MIB = 2**20


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MiB that nobody else writes to."""
    if why := mounts.missing():
        pytest.skip(why)
    with mounts.tmpfs(tmp_path / "images", "size=32m") as disk:
        yield disk


async def _follows(bed: FleetBed, uuid: str, images: Path) -> None:
    """See that a number that changes on the disk is shown, and shown as new."""
    before = await bed.shown(uuid)
    assert before is not None
    with (images / "image").open("ab") as image:
        image.write(b"\0" * MIB)

    async def is_less() -> bool:
        shown = await bed.shown(uuid)
        assert shown is not None
        return bool(shown["availableCapacity"] < before["availableCapacity"]) and not shown["capacityStale"]

    await until(is_less, lambda: bed.shown(uuid))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_an_agent_may_have_any_clock_at_any_time(
    tmp_path: Path, images: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgresql_server").new_database() if kind == "postgresql" else ""
    clock, agent = Clock(tmp_path, DAY), AgentProcess(tmp_path / "agent", {"probe": {"interval": 2.0, "deadline": 2.0}})
    agent.environment = clock.environment
    with agent:
        async with fleet(tmp_path, url, poll={"interval": 0.5, "timeout": 0.5, "command_timeout": 60.0}) as bed:
            uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
            await _follows(bed, uuid, images)
            for seconds in (0, -DAY, YEAR, -HOUR):
                clock.set(seconds)
                await _follows(bed, uuid, images)
            await bed.service.reconnect(uuid)
            await bed.service.delete(uuid, "Permissive")


async def test_a_node_may_have_any_clock(tmp_path: Path, postgresql_server: PostgreSQL) -> None:
    ahead, behind = Clock(_folder(tmp_path, "ahead"), HOUR), Clock(_folder(tmp_path, "behind"), -HOUR)
    async with players(tmp_path) as stage:
        agent = await stage.add("127.0.0.2")
        parameters = {"name": "images", "hostname": "127.0.0.2", "url": "/images"}
        call = {"params": parameters, "systemTags": [f"agentEnrollment::{agent.code}"]}
        async with site(tmp_path, postgresql_server.new_database(), 3, {1: ahead, 2: behind}) as nodes:
            first, *others = nodes.members
            agent.holds["PUT storages"] = asyncio.Event()
            added = asyncio.create_task(first.client.call("POST", "/backup-storage/image-store", call))
            await _renewed(nodes)
            for clock, seconds in ((ahead, -HOUR), (behind, HOUR)):
                clock.set(seconds)
            await _renewed(nodes)
            assert not added.done(), "nobody has ended another one's job"
            agent.holds.pop("PUT storages").set()
            uuid = (await added)["inventory"]["uuid"]
            for member in others:
                answer = await member.client.call(
                    "PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}}
                )
                assert answer["inventory"]["status"] == "Connected"
            assert (await others[0].client.call("DELETE", f"/backup-storage/{uuid}")) == {}
            assert agent.asked["clean"] == 1


def _folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


async def _renewed(nodes: Site) -> None:
    """Wait until each node has renewed its lease often enough to notice whatever it takes for lost."""

    async def leases() -> dict[str, float]:
        async with nodes.database.reading() as connection:
            return {row.uuid: row.leaseDate for row in await connection.execute(select(node_table))}

    before = await leases()
    assert max(before.values()) - min(before.values()) < LEASE, "all are by one clock"

    async def are_newer() -> bool:
        return all(date > before[uuid] + 2 * LEASE for uuid, date in (await leases()).items())

    await until(are_newer)


async def test_the_clock_of_a_node_alone_is_set_back_and_forward(tmp_path: Path) -> None:
    clock = Clock(_folder(tmp_path, "clock"))
    poll: dict[str, dict[str, Any]] = {"poll": {"interval": 5.0, "timeout": 5.0}}
    process = NodeProcess(tmp_path / "node", poll)
    process.environment = clock.environment
    async with players(tmp_path) as stage:
        agent = await stage.add("127.0.0.2")
        with process as node:
            async with client_of(node) as client:
                parameters = {"name": "images", "hostname": "127.0.0.2", "url": "/images"}
                call = {"params": parameters, "systemTags": [f"agentEnrollment::{agent.code}"]}
                uuid = (await client.call("POST", "/backup-storage/image-store", call))["inventory"]["uuid"]
                for seconds in (-HOUR, -YEAR, HOUR, 0):
                    clock.set(seconds)
                    await client.log_in(node.password)  # a session lives by the same clock
                    answer = await client.call("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
                    assert answer["inventory"]["status"] == "Connected", (seconds, answer)
                numbers = [parameters["number"] for parameters in agent.parameters]
                assert numbers == sorted(set(numbers)), "no operation's number goes back"
                assert await client.call("DELETE", f"/backup-storage/{uuid}") == {}
