"""One machine is one agent: under several names and addresses, at another address, with a new certificate, cloned."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from bs_agent.contract.enrollment import decode, encode
from bs_agent.contract.errors import InvalidArgument, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.contract.report import Enrollment
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.store.tables import agent as table
from bs_agent.management.store.tables import agent_address
from tests.beds.agent import AgentProcess
from tests.beds.fleet import FleetBed, fleet, image_store, until
from tests.beds.node import free_port
from tests.beds.played import Players, players

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240)]

QUIET = {"interval": 3600.0, "timeout": 5.0}
NAMES = ("127.0.0.1", "localhost", "::1")


def _boot(folder: Path) -> str:
    """Make a file in which a machine names its boot."""
    file = folder / f"boot-{uuid4().hex[:8]}"
    text = uuid4().hex
    file.write_text("-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])) + "\n")
    return str(file)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that is reached by IPv4 and by IPv6."""
    settings: dict[str, dict[str, Any]] = {
        "server": {"listen": f"[::]:{free_port()}"},
        "probe": {"interval": 5.0, "deadline": 5.0, "boot_id": _boot(tmp_path)},
    }
    with AgentProcess(tmp_path / "agent", settings) as running:
        yield running


def _directories(folder: Path, count: int) -> list[Path]:
    made = [folder / f"images-{number}" for number in range(count)]
    for path in made:
        path.mkdir()
    return made


async def _agents(bed: FleetBed) -> list[AgentRecord]:
    async with bed.database.reading() as connection:
        uuids = (await connection.execute(select(table.c.uuid))).scalars().all()
    return list((await bed.service.means.agents.find(uuids)).values())


async def _places(bed: FleetBed) -> set[str]:
    async with bed.database.reading() as connection:
        return set((await connection.execute(select(agent_address.c.hostname))).scalars())


def _enrolled(agent: AgentProcess) -> int:
    return agent.run("enrollments", "list").stdout.count("test")


async def test_one_machine_under_three_names_is_one_agent(tmp_path: Path, agent: AgentProcess) -> None:
    directories = _directories(tmp_path, 3)
    async with fleet(tmp_path, poll=QUIET) as bed:
        uuids = [
            await bed.service.add_image_store(image_store(path, agent.enroll(), hostname=name))
            for path, name in zip(directories, NAMES, strict=True)
        ]
        assert len(await _agents(bed)) == 1
        assert bed.service.poller.watching == 1
        assert await _places(bed) == set(NAMES)
        assert _enrolled(agent) == 1, "one push channel"
        for uuid in uuids:
            await bed.service.reconnect(uuid)
        for name in NAMES:
            with pytest.raises(InvalidArgument, match=uuids[0]):
                await bed.service.add_image_store(image_store(directories[0], agent.enroll(), hostname=name))
        assert _enrolled(agent) == 1
        for uuid in uuids:
            await bed.service.delete(uuid, "Permissive")
        assert await _agents(bed) == []
        assert await _places(bed) == set()
    assert _enrolled(agent) == 0
    assert all(list(path.iterdir()) == [] for path in directories)


async def test_an_agent_is_followed_to_another_of_its_addresses(tmp_path: Path, agent: AgentProcess) -> None:
    first, second = _directories(tmp_path, 2)
    async with fleet(tmp_path) as bed:
        uuid = await bed.service.add_image_store(image_store(second, agent.enroll(), hostname="::1"))
        await bed.service.add_image_store(image_store(first, agent.enroll(), hostname="127.0.0.1"))
        assert [one.hostname for one in await _agents(bed)] == ["127.0.0.1"]
        port = agent.address.port
        agent.stop()
        agent.configure({"server": {"listen": f"[::1]:{port}"}})
        await bed.reaches(uuid, ("Disconnected", "AgentUnreachable"))
        agent.start()
        await bed.reaches(uuid, ("Connected", ""))
        await until(lambda: _is_reached_at(bed, "::1"))


async def _is_reached_at(bed: FleetBed, hostname: str) -> bool:
    return [one.hostname for one in await _agents(bed)] == [hostname]


async def test_a_changed_address_is_taken_by_a_reconnect(tmp_path: Path, agent: AgentProcess) -> None:
    (images,) = _directories(tmp_path, 1)
    async with fleet(tmp_path, poll=QUIET) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        (before,) = await _agents(bed)
        agent.stop()
        agent.configure({"server": {"listen": f"127.0.0.1:{free_port()}"}})
        agent.start()
        await bed.service.reconnect(uuid, [f"agentEnrollment::{agent.enroll().code}"])
        (after,) = await _agents(bed)
        assert (after.uuid, after.port) == (before.uuid, agent.address.port)
        assert await bed.status(uuid) == ("Connected", "")
    assert _enrolled(agent) == 1


async def test_a_machine_that_was_made_anew_takes_the_place_of_the_one_before(
    tmp_path: Path, agent: AgentProcess
) -> None:
    (images,) = _directories(tmp_path, 1)
    async with fleet(tmp_path, poll=QUIET) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        (before,) = await _agents(bed)
        agent.stop()
        shutil.rmtree(agent.state)
        agent.start()
        with pytest.raises(StorageProblem) as problem:
            await bed.service.reconnect(uuid)
        assert problem.value.reason.code == ReasonCode.CERTIFICATE_CHANGED
        await bed.service.reconnect(uuid, [f"agentEnrollment::{agent.enroll().code}"])
        (after,) = await _agents(bed)
        assert after.uuid == before.uuid
        assert after.fingerprint != before.fingerprint
        assert await bed.owed() == []


async def test_a_clone_is_refused_and_its_origin_goes_on(tmp_path: Path, agent: AgentProcess) -> None:
    images, other = _directories(tmp_path, 2)
    port = agent.address.port
    agent.stop()
    agent.configure({"server": {"listen": f"127.0.0.1:{port}"}})
    agent.start()
    async with fleet(tmp_path, poll=QUIET) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        with Clone(tmp_path, agent) as (clone, enrollment):
            with pytest.raises(StorageProblem, match="are two machines") as problem:
                await bed.service.add_image_store(image_store(other, enrollment, hostname="127.0.0.3"))
            assert problem.value.reason.code == ReasonCode.AGENT_CLONED
            assert enrollment.id not in clone.run("enrollments", "list").stdout
        assert list(other.iterdir()) == []
        await bed.service.reconnect(uuid)
        assert [one.hostname for one in await _agents(bed)] == ["127.0.0.1"]


class Clone:
    """A machine with a copy of an agent's state, booted for itself, that answers at 127.0.0.3."""

    def __init__(self, folder: Path, origin: AgentProcess) -> None:
        self._clone = AgentProcess(
            folder / "clone",
            {"server": {"listen": f"127.0.0.3:{origin.address.port}"}, "probe": {"boot_id": _boot(folder)}},
        )
        shutil.copytree(origin.state, self._clone.state, dirs_exist_ok=True)
        for left in ("agent.lock", "address"):
            (self._clone.state / left).unlink(missing_ok=True)

    def __enter__(self) -> tuple[AgentProcess, Enrollment]:
        self._clone.start()
        return self._clone, self._clone.enroll()

    def __exit__(self, *_: object) -> None:
        self._clone.stop()


async def test_two_machines_that_answer_in_turn_are_told_from_one_that_boots(tmp_path: Path) -> None:
    boots = [f"{number}" * 8 + "-0000-0000-0000-" + "0" * 12 for number in range(3)]
    async with players(tmp_path) as stage, fleet(tmp_path) as bed:
        agent = await stage.add("127.0.0.2")
        agent.boot = boots[0]
        wanted = image_store(Path("/images"), hostname="127.0.0.2", systemTags=[f"agentEnrollment::{agent.code}"])
        uuid = await bed.service.add_image_store(wanted)

        async def hear(boot: str) -> None:
            agent.boot = boot
            polls = agent.asked["GET report"] + 2

            async def often_enough() -> bool:
                return agent.asked["GET report"] >= polls

            await until(often_enough)

        for boot in boots:
            await hear(boot)
            assert await bed.status(uuid) == ("Connected", ""), "it has booted again"
        agent.boot = boots[1]
        await bed.reaches(uuid, ("Disconnected", "AgentCloned"))
        await bed.reaches(uuid, ("Connected", ""))


async def _played(stage: Players, bed: FleetBed, host: str, directory: str = "/images") -> str:
    """Add a directory of a played agent; return the storage's uuid."""
    agent = stage.by_host.get(host) or await stage.add(host)
    tags = [f"agentEnrollment::{agent.code}"]
    return await bed.service.add_image_store(image_store(Path(directory), hostname=host, systemTags=tags))


async def test_a_code_that_does_not_fit_does_not_take_the_place_of_what_does(tmp_path: Path) -> None:
    async with players(tmp_path) as stage, fleet(tmp_path, poll=QUIET) as bed:
        uuid = await _played(stage, bed, "127.0.0.2")
        another = await stage.add("127.0.0.3")
        (before,) = await _agents(bed)
        with pytest.raises(StorageProblem) as problem:
            await bed.service.reconnect(uuid, [f"agentEnrollment::{another.code}"])
        assert problem.value.reason.code == ReasonCode.CERTIFICATE_CHANGED
        assert await _agents(bed) == [before], "what was known is known still"
        await bed.service.reconnect(uuid)
        assert await bed.owed() == []


async def test_a_code_that_is_not_valid_any_more_does_not_take_the_place_of_what_is(
    tmp_path: Path, agent: AgentProcess
) -> None:
    (images,) = _directories(tmp_path, 1)
    async with fleet(tmp_path, poll=QUIET) as bed:
        uuid = await bed.service.add_image_store(image_store(images, agent.enroll()))
        (before,) = await _agents(bed)
        old = agent.enroll()
        agent.run("enrollments", "remove", old.id)
        with pytest.raises(StorageProblem) as problem:
            await bed.service.reconnect(uuid, [f"agentEnrollment::{old.code}"])
        assert problem.value.reason.code == ReasonCode.AGENT_UNAUTHORIZED
        assert await _agents(bed) == [before]
        await bed.service.reconnect(uuid)
    assert _enrolled(agent) == 1


async def test_a_code_that_does_not_fit_leaves_no_agent_behind(tmp_path: Path) -> None:
    async with players(tmp_path) as stage, fleet(tmp_path, poll=QUIET) as bed:
        one, _ = await stage.add("127.0.0.2"), await stage.add("127.0.0.3")
        tags = [f"agentEnrollment::{one.code}"]
        with pytest.raises(StorageProblem) as problem:
            await bed.service.add_image_store(image_store(Path("/images"), hostname="127.0.0.3", systemTags=tags))
        assert problem.value.reason.code == ReasonCode.CERTIFICATE_CHANGED
        assert await _agents(bed) == []
        assert await bed.owed() == []


async def test_an_agent_that_announces_the_certificate_of_another_machine_does_not_become_it(tmp_path: Path) -> None:
    async with players(tmp_path) as stage, fleet(tmp_path) as bed:
        liar, honest = await stage.add("127.0.0.2"), await stage.add("127.0.0.3")
        first = await _played(stage, bed, "127.0.0.2")
        (known,) = await _agents(bed)
        liar.next = decode(honest.code).fingerprint
        honest.token = "the-token-of-another"
        honest.code = encode(stage.port, honest.token, liar.next)

        async def is_announced() -> bool:
            return [one.nextFingerprint for one in await _agents(bed)] == [liar.next]

        await until(is_announced)
        second = await _played(stage, bed, "127.0.0.3", "/others")
        agents = {one.hostname: one for one in await _agents(bed)}
        assert agents["127.0.0.2"].uuid == known.uuid
        assert agents["127.0.0.3"].uuid != known.uuid, "another machine"
        assert agents["127.0.0.2"].nextFingerprint is None, "who shows it is not the one who only says so"
        for uuid in (first, second):
            await bed.service.reconnect(uuid)
        assert "the-token-of-another" not in liar.tokens
