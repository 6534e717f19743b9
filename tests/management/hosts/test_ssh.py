"""The way into hosts over SSH, against a real OpenSSH server: what it does, and each way in which it fails."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bs_agent.contract.api import AddImageStoreParameters
from bs_agent.contract.errors import ApiError, StorageProblem
from bs_agent.contract.reasons import ReasonCode
from tests.beds.agent import client_of
from tests.beds.fleet import FleetBed, fleet, image_store
from tests.beds.installed import Installed
from tests.beds.sshd import PASSWORD, PLAIN, SUDOER, WHY_NOT, Sshd

pytestmark = [pytest.mark.asyncio, pytest.mark.skipif(bool(WHY_NOT), reason=f"no sshd of our own: {WHY_NOT}")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd") as running:
        yield running


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Installed]:
    """A host whose agent runs."""
    installed = Installed(tmp_path / "host")
    with installed.process:
        yield installed
    installed.end_service()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def over_ssh(images: Path, server: Sshd, **more: Any) -> AddImageStoreParameters:
    log_in = {"username": "root", "password": PASSWORD, "sshPort": server.port}
    return image_store(images, **{**log_in, **more})


async def refused(bed: FleetBed, parameters: AddImageStoreParameters) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        await bed.service.add_image_store(parameters)
    assert bed.service.poller.watching == 0
    return refusal.value


def code(error: ApiError) -> ReasonCode:
    assert isinstance(error, StorageProblem)
    return error.reason.code


@pytest.mark.parametrize("user", ["root", SUDOER])
async def test_reconnect_starts_a_stopped_agent(
    tmp_path: Path, server: Sshd, host: Installed, images: Path, user: str
) -> None:
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        uuid = await bed.service.add_image_store(over_ssh(images, server, username=user))
        host.process.kill()
        await bed.reaches(uuid, ("Disconnected", "AgentUnreachable"))
        await bed.service.reconnect(uuid)
        assert await bed.status(uuid) == ("Connected", "")
        assert await bed.system_tags(uuid) == [f"sshHostKey::{server.fingerprint}"]
        await bed.service.delete(uuid, "Permissive")
    assert content(tmp_path, "images/*") == []


async def test_add_starts_a_stopped_agent(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    host.process.stop()
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        uuid = await bed.service.add_image_store(over_ssh(images, server))
        assert await bed.status(uuid) == ("Connected", "")
    for stored in content(tmp_path, "management.db*"):
        assert PASSWORD.encode() not in stored, "secrets are encrypted at rest"


async def test_a_wrong_password_is_tried_once(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        error = await refused(bed, over_ssh(images, server, password="wrong"))
        assert code(error) == ReasonCode.SSH_AUTH_FAILED
        assert "wrong" not in error.details
    assert (server.folder / "log").read_text().count("Failed password") == 1


async def test_a_changed_host_key_is_refused_until_it_is_accepted(
    tmp_path: Path, server: Sshd, host: Installed, images: Path
) -> None:
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        uuid = await bed.service.add_image_store(over_ssh(images, server))
        host.process.kill()
        server.rebuild()
        with pytest.raises(StorageProblem, match=re.escape(server.fingerprint)) as problem:
            await bed.service.reconnect(uuid)
        assert problem.value.reason.code == ReasonCode.SSH_HOST_KEY_CHANGED
        assert await bed.status(uuid) == ("Disconnected", "SshHostKeyChanged")
        assert "Accepted password" not in (server.folder / "log").read_text().rpartition("Server listening")[2]

        await bed.service.reconnect(uuid, [f"sshHostKey::{server.fingerprint}"])
        assert await bed.status(uuid) == ("Connected", "")
        assert await bed.system_tags(uuid) == [f"sshHostKey::{server.fingerprint}"]


async def test_a_host_key_that_was_named_must_fit(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    named = f"sshHostKey::SHA256:{'x' * 43}"
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        error = await refused(bed, over_ssh(images, server, systemTags=[named]))
        assert code(error) == ReasonCode.SSH_HOST_KEY_CHANGED
        fits = over_ssh(images, server, systemTags=[f"sshHostKey::{server.fingerprint}"])
        await bed.service.add_image_store(fits)


async def test_no_route(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        server.stop()
        assert code(await refused(bed, over_ssh(images, server))) == ReasonCode.NO_ROUTE
        unknown = over_ssh(images, server, hostname="no-such-host.invalid")
        assert code(await refused(bed, unknown)) == ReasonCode.NO_ROUTE


@pytest.mark.parametrize("user", ["root", SUDOER])
async def test_no_agent_is_installed(tmp_path: Path, server: Sshd, host: Installed, images: Path, user: str) -> None:
    nothing = host.settings(enroll_command=["bs-agent-that-is-not-there", "enroll"])
    async with fleet(tmp_path, ssh=nothing) as bed:
        error = await refused(bed, over_ssh(images, server, username=user))
        assert code(error) == ReasonCode.AGENT_NOT_INSTALLED


async def test_a_user_without_rights(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        error = await refused(bed, over_ssh(images, server, username=PLAIN))
        assert code(error) == ReasonCode.SSH_FAILED
        assert "a password is required" in error.details


async def test_a_restart_that_fails_or_is_in_vain(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        uuid = await bed.service.add_image_store(over_ssh(images, server))
    host.process.kill()
    failing = host.script("failing", "echo the disk is full >&2; exit 3")
    for command, said in (([failing], "the disk is full"), (["true"], "does not answer")):
        settings = host.settings(restart_command=command, start_timeout=0.5)
        async with fleet(tmp_path, ssh=settings) as bed:
            with pytest.raises(StorageProblem, match=said) as problem:
                await bed.service.reconnect(uuid)
            assert problem.value.reason.code == ReasonCode.AGENT_START_FAILED
            assert "Connection refused" in problem.value.details


async def test_a_removed_agent(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        uuid = await bed.service.add_image_store(over_ssh(images, server))
    host.process.kill()
    gone = host.settings(enroll_command=["not-there", "enroll"], restart_command=["not-there-either"])
    async with fleet(tmp_path, ssh=gone) as bed:
        with pytest.raises(StorageProblem) as problem:
            await bed.service.reconnect(uuid)
        assert problem.value.reason.code == ReasonCode.AGENT_NOT_INSTALLED


async def test_commands_that_print_without_end_or_never_end(
    tmp_path: Path, server: Sshd, host: Installed, images: Path
) -> None:
    for command, said in ((["yes"], "without end"), (["sleep", "60"], "did not end")):
        script = host.script("enroll", f"exec {' '.join(command)}")
        settings = host.settings(enroll_command=[script], command_timeout=1.0)
        async with fleet(tmp_path, ssh=settings) as bed:
            error = await refused(bed, over_ssh(images, server))
            assert code(error) == ReasonCode.SSH_FAILED
            assert said in error.details


async def test_an_agent_whose_state_was_made_anew(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    second = tmp_path / "second"
    make(second)
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        uuid = await bed.service.add_image_store(over_ssh(images, server))
        other = await bed.service.add_image_store(image_store(second, host.process.enroll()))
        host.process.kill()
        shutil.rmtree(host.process.state)
        host.process.start()
        await bed.reaches(other, ("Disconnected", "CertificateChanged"))
        with pytest.raises(StorageProblem) as problem:
            await bed.service.reconnect(other)
        assert problem.value.reason.code == ReasonCode.CERTIFICATE_CHANGED, "without a log-in there is no SSH"

        await bed.service.reconnect(uuid)
        assert await bed.status(uuid) == ("Connected", "")
        await bed.reaches(other, ("Connected", ""))


async def test_new_trust_by_hand(tmp_path: Path, server: Sshd, host: Installed, images: Path) -> None:
    first = host.process.enroll()
    async with fleet(tmp_path, ssh=host.settings()) as bed, client_of(host.process.address, first) as client:
        uuid = await bed.service.add_image_store(image_store(images, first))
        await client.ask("DELETE", f"/v1/enrollments/{first.id}")
        await bed.reaches(uuid, ("Disconnected", "AgentUnauthorized"))
        await bed.service.reconnect(uuid, [f"agentEnrollment::{host.process.enroll().code}"])
        assert await bed.status(uuid) == ("Connected", "")
        assert await bed.system_tags(uuid) == []


async def test_the_users_own_ssh_configuration_does_not_count(
    tmp_path: Path, server: Sshd, host: Installed, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "home" / ".ssh"
    make(ours)
    (ours / "config").write_text(f"Host *\n  ProxyCommand touch {tmp_path}/ran\n  UserKnownHostsFile none\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    async with fleet(tmp_path, ssh=host.settings()) as bed:
        await bed.service.add_image_store(over_ssh(images, server))
    assert not (tmp_path / "ran").exists()
    assert [file.name for file in ours.iterdir()] == ["config"]


def content(folder: Path, pattern: str) -> list[bytes]:
    return [file.read_bytes() for file in folder.glob(pattern)]


def make(folder: Path) -> None:
    folder.mkdir(parents=True)
