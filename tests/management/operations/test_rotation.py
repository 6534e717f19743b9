"""A rotation of an agent's certificate needs no visit; keys made anew want one, by a new code or over SSH."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.store.tables import agent
from tests.beds.fleet import FleetBed, fleet, image_store, until
from tests.beds.installed import Installed
from tests.beds.sshd import PASSWORD, WHY_NOT, Sshd

pytestmark = pytest.mark.asyncio

POLL = {"interval": 1, "timeout": 1}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Installed]:
    """A host whose agent runs."""
    installed = Installed(tmp_path / "host")
    installed.process.configure({"probe": {"interval": 3, "deadline": 3}})
    with installed.process:
        yield installed
    installed.end_service()


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in ("images", "second")]
    for folder in folders:
        folder.mkdir()
    return folders


def enrollments(host: Installed) -> list[str]:
    return [line.split()[0] for line in host.process.run("enrollments", "list").stdout.splitlines()]


async def add_both(bed: FleetBed, host: Installed, directories: list[Path]) -> list[str]:
    """Add two storages of one agent."""
    return [await bed.service.add_image_store(image_store(folder, host.process.enroll())) for folder in directories]


async def rotate(host: Installed) -> str:
    """Rotate as soon as the management node has been told of the next certificate."""
    done = await asyncio.to_thread(host.process.run, "rotate-certificate")
    while done.returncode:
        assert "have not been told" in done.stderr
        done = await asyncio.to_thread(host.process.run, "rotate-certificate")
    return done.stdout.strip()


def make_keys_anew(host: Installed) -> None:
    """Do what cures a stolen key."""
    host.process.stop()
    shutil.rmtree(host.process.state / "tls")
    host.process.start()


async def test_a_rotation_needs_no_visit(tmp_path: Path, host: Installed, directories: list[Path]) -> None:
    async with fleet(tmp_path, poll=POLL) as bed:
        storages = await add_both(bed, host, directories)
        before = enrollments(host)
        for _ in range(2):
            new = await rotate(host)

            async def accepted(new: str = new) -> bool:
                async with bed.database.reading() as connection:
                    return bool(new == (await connection.execute(select(agent.c.fingerprint))).scalar_one())

            await until(accepted)
            for storage in storages:
                await bed.service.reconnect(storage)
                assert await bed.status(storage) == ("Connected", "")
        assert enrollments(host) == before


async def test_keys_made_anew_are_accepted_by_a_new_code(
    tmp_path: Path, host: Installed, directories: list[Path]
) -> None:
    async with fleet(tmp_path, poll=POLL) as bed:
        uuid, other = await add_both(bed, host, directories)
        make_keys_anew(host)
        for storage in (uuid, other):
            await bed.reaches(storage, ("Disconnected", "CertificateChanged"))
        with pytest.raises(StorageProblem) as problem:
            await bed.service.reconnect(uuid)
        assert problem.value.reason.code == ReasonCode.CERTIFICATE_CHANGED
        new = host.process.enroll()
        await bed.service.reconnect(uuid, [f"agentEnrollment::{new.code}"])
        for storage in (uuid, other):
            await bed.reaches(storage, ("Connected", ""))
        assert enrollments(host) == [new.id], "the token from before is taken away"


async def test_a_new_code_rotates_the_token(tmp_path: Path, host: Installed, directories: list[Path]) -> None:
    async with fleet(tmp_path, poll=POLL) as bed:
        uuid, other = await add_both(bed, host, directories)
        new = host.process.enroll()
        await bed.service.reconnect(uuid, [f"agentEnrollment::{new.code}"])
        for storage in (uuid, other):
            await bed.reaches(storage, ("Connected", ""))
        assert enrollments(host) == [new.id]


@pytest.mark.skipif(bool(WHY_NOT), reason=f"no sshd of our own: {WHY_NOT}")
async def test_keys_made_anew_are_accepted_over_ssh(tmp_path: Path, host: Installed, directories: list[Path]) -> None:
    with Sshd(tmp_path / "sshd") as server:
        log_in: dict[str, Any] = {"username": "root", "password": PASSWORD, "sshPort": server.port}
        async with fleet(tmp_path, ssh=host.settings(), poll=POLL) as bed:
            uuid = await bed.service.add_image_store(image_store(directories[0], **log_in))
            (before,) = enrollments(host)
            make_keys_anew(host)
            await bed.reaches(uuid, ("Disconnected", "CertificateChanged"))
            await bed.service.reconnect(uuid)
            await bed.reaches(uuid, ("Connected", ""))
            (after,) = enrollments(host)
            assert after != before
