"""Certificates and tokens are rotated while the agent runs: nothing is dropped, and what was taken away is refused."""

import asyncio
import hashlib
import os
import shutil
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from bs_agent.daemon.certificate import ensure_certificate, fingerprint, paths, renew_certificate, server_context
from bs_agent.daemon.configuration import Address
from tests.agent.asking import connect, report
from tests.agent.conftest import UUID, eventually
from tests.beds.agent import AgentProcess, client_of

pytestmark = pytest.mark.asyncio


@pytest.fixture
def process(tmp_path: Path, tls: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path / "agent")
    shutil.copytree(tls, process.state / "tls")
    with process:
        yield process


def shown(address: Address) -> str:
    """Return the fingerprint of the certificate that a new connection sees."""
    return hashlib.sha256(
        ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((address.host, address.port)))
    ).hexdigest()


async def ask_until(enough: asyncio.Event, address: Address) -> int:
    """Ask by new connections, whatever certificate they see, and count the answers."""
    answers = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, force_close=True)) as session:
        while not enough.is_set():
            async with session.get(f"https://{address}/livez") as answer:
                assert answer.status == 200
                answers += 1
    return answers


async def test_a_rotated_certificate_is_shown_at_once_and_no_request_is_dropped(
    process: AgentProcess, directory: Path
) -> None:
    old = process.enroll()
    enough = asyncio.Event()
    async with client_of(process.address, old) as client:
        await connect(client, directory)
        asking = [asyncio.create_task(ask_until(enough, process.address)) for _ in range(3)]
        done = await asyncio.to_thread(process.run, "rotate-certificate")
        assert done.returncode == 0, done.stderr
        new = done.stdout.strip()
        assert new != old.fingerprint
        await eventually(lambda: shown(process.address) == new)
        enough.set()
        assert all(await asyncio.gather(*asking))
        last = await client.ask("GET", "/v1/report")
        assert (last.status, last.headers["Connection"]) == (200, "close"), "a kept connection is answered once more"
        with pytest.raises(aiohttp.ServerFingerprintMismatch):
            await client.ask("GET", "/v1/report")
    accepted = old.model_copy(update={"fingerprint": new})
    async with client_of(process.address, accepted) as client:
        assert [storage.uuid for storage in (await report(client)).storages] == [UUID], "the token still holds"
    assert process.enroll().fingerprint == new
    process.stop()
    process.start()
    assert await asyncio.to_thread(shown, process.address) == new


async def test_a_pair_that_does_not_fit_keeps_the_old_certificate(process: AgentProcess, tmp_path: Path) -> None:
    before = await asyncio.to_thread(shown, process.address)
    _, key = await ensure_certificate(tmp_path / "other", "other")
    shutil.copy(key, process.state / "tls" / "key.pem")
    process.signal(signal.SIGHUP)
    await eventually(lambda: "reload refused" in process.log.read_text())
    assert await asyncio.to_thread(shown, process.address) == before


async def test_a_renewal_that_was_cut_short_is_brought_to_its_end(tmp_path: Path, tls: Path) -> None:
    folder = tmp_path / "tls"
    shutil.copytree(tls, folder)
    certificate, key = paths(folder)
    old = fingerprint(certificate)
    await renew_certificate(folder, "name")
    new = fingerprint(certificate)
    assert new != old
    # As after a crash between the two renames: the key is new, the certificate still waits beside the old one.
    certificate.rename(folder / ".certificate.pem.new")
    shutil.copy(tls / "certificate.pem", certificate)
    with pytest.raises(Exception, match="key values mismatch"):
        server_context(certificate, key)
    assert await ensure_certificate(folder, "name") == (certificate, key)
    assert fingerprint(certificate) == new
    server_context(certificate, key)
    # As after a crash before the first of them: the old pair holds.
    for path in (key, certificate):
        shutil.copy(path, path.with_name(f".{path.name}.new"))
    await ensure_certificate(folder, "name")
    assert fingerprint(certificate) == new


@pytest.mark.parametrize("spoilt", [False, True], ids=["", "although the certificate is spoilt"])
async def test_a_removed_token_is_refused_at_once_and_its_storages_stay(
    process: AgentProcess, directory: Path, *, spoilt: bool
) -> None:
    kept, removed = process.enroll("kept"), process.enroll("a node that is gone")
    async with client_of(process.address, removed) as going, client_of(process.address, kept) as staying:
        await connect(going, directory)
        await connect(staying, directory)
        listed = process.run("enrollments", "list").stdout.splitlines()
        assert [(line.split()[0], line.split()[3], line.partition("  1  ")[2]) for line in listed] == [
            (kept.id, "1", "kept"),
            (removed.id, "1", "a node that is gone"),
        ]
        if spoilt:
            (process.state / "tls" / "certificate.pem").write_text("no certificate")
        done = process.run("enrollments", "remove", removed.id)
        assert (done.returncode, done.stdout) == (0, "removed: a node that is gone\n")
        assert "reconnect them with a new code" in done.stderr
        await eventually(lambda: "reload" in process.log.read_text())
        assert ("reload refused" in process.log.read_text()) == spoilt
        assert (await going.ask("GET", "/v1/report")).status == 401
        assert [storage.uuid for storage in (await report(staying)).storages] == [UUID]
    assert [line.split()[0] for line in process.run("enrollments", "list").stdout.splitlines()] == [kept.id]


async def test_an_enrolment_that_is_not_there(process: AgentProcess) -> None:
    done = process.run("enrollments", "remove", "f" * 32)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"bs-agent: there is no enrolment {'f' * 32}: `bs-agent enrollments list` shows those there are\n"
    )


async def test_the_commands_need_no_running_agent(tmp_path: Path, tls: Path) -> None:
    process = AgentProcess(tmp_path / "agent", {"server": {"listen": "127.0.0.1:7765"}})
    assert process.run("enrollments", "list").stdout == ""
    assert not process.state.exists(), "listing makes nothing"
    first = process.enroll()
    new = process.run("rotate-certificate").stdout.strip()
    assert new != first.fingerprint
    assert process.enroll().fingerprint == new
    assert process.run("enrollments", "remove", first.id).returncode == 0
    for path in process.state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
        assert os.fspath(path).endswith((".pem", ".db", "-wal", "-shm", "making", "running", "tls")), path
