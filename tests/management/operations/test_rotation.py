"""An agent's rotated certificate is refused until the operator accepts it, by a new code or over SSH."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from tests.beds.fleet import FleetBed, fleet, image_store
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


async def test_a_rotated_certificate_is_accepted_by_a_new_code(
    tmp_path: Path, host: Installed, directories: list[Path]
) -> None:
    async with fleet(tmp_path, poll=POLL) as bed:
        uuid, other = await add_both(bed, host, directories)
        host.process.run("rotate-certificate")
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
async def test_a_rotated_certificate_is_accepted_over_ssh(
    tmp_path: Path, host: Installed, directories: list[Path]
) -> None:
    with Sshd(tmp_path / "sshd") as server:
        log_in: dict[str, Any] = {"username": "root", "password": PASSWORD, "sshPort": server.port}
        async with fleet(tmp_path, ssh=host.settings(), poll=POLL) as bed:
            uuid = await bed.service.add_image_store(image_store(directories[0], **log_in))
            (before,) = enrollments(host)
            host.process.run("rotate-certificate")
            await bed.reaches(uuid, ("Disconnected", "CertificateChanged"))
            await bed.service.reconnect(uuid)
            await bed.reaches(uuid, ("Connected", ""))
            (after,) = enrollments(host)
            assert after != before
