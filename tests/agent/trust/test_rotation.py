"""Certificates and tokens are rotated while the agent runs: nothing is dropped, and what was taken away is refused."""

import asyncio
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from bs_agent.agent.journal import database
from bs_agent.agent.state import present_of
from bs_agent.contract.report import KNOWS_NEXT, HostReport
from bs_agent.daemon.certificate import fingerprint, make_certificates, server_context
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.connection import connector
from tests.agent.asking import connect, report
from tests.agent.conftest import UUID, eventually
from tests.beds import faults
from tests.beds.agent import ROOT, AgentClient, AgentProcess, client_of

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
    async with aiohttp.ClientSession(connector=connector(ssl=False, force_close=True)) as session:
        while not enough.is_set():
            async with session.get(f"https://{address}/livez") as answer:
                assert answer.status == 200
                answers += 1
    return answers


async def told(client: AgentClient, process: AgentProcess) -> str:
    """Store the next fingerprint of the report, as a management node does, and say so; return it."""
    announced = (await report(client)).nextFingerprint
    await client.ask("GET", "/v1/report", headers={KNOWS_NEXT: announced})
    with closing(database.connect(process.state / "agent.db")) as journal:
        query = "SELECT told FROM enrollments WHERE id = ?"
        await eventually(lambda: journal.execute(query, (client.enrollment.id,)).fetchone() == (announced,))
    return announced


async def rotate(process: AgentProcess, *arguments: str) -> str:
    """Rotate the certificate, and wait until it is shown."""
    done = await asyncio.to_thread(process.run, "rotate-certificate", *arguments)
    assert done.returncode == 0, done.stderr
    new = done.stdout.strip()
    await eventually(lambda: shown(process.address) == new)
    return new


async def test_a_rotated_certificate_is_shown_at_once_and_no_request_is_dropped(
    process: AgentProcess, directory: Path
) -> None:
    old = process.enroll()
    enough = asyncio.Event()
    async with client_of(process.address, old) as client:
        await connect(client, directory)
        announced = await told(client, process)
        asking = [asyncio.create_task(ask_until(enough, process.address)) for _ in range(3)]
        new = await rotate(process)
        assert new == announced != old.fingerprint
        enough.set()
        assert all(await asyncio.gather(*asking))
        last = await client.ask("GET", "/v1/report")
        assert (last.status, last.headers["Connection"]) == (200, "close"), "a kept connection is answered once more"
        assert last.body["nextFingerprint"] == new, "it still shows the old one: the next that its peer sees is the new"
        with pytest.raises(aiohttp.ServerFingerprintMismatch):
            await client.ask("GET", "/v1/report")
    accepted = old.model_copy(update={"fingerprint": new})
    async with client_of(process.address, accepted) as client:
        after = await report(client)
        assert [storage.uuid for storage in after.storages] == [UUID], "the token still holds"
        assert len({after.nextFingerprint, new, old.fingerprint, ""}) == 4
    assert process.enroll().fingerprint == new
    process.stop()
    process.start()
    assert await asyncio.to_thread(shown, process.address) == new
    assert HostReport.model_validate_json(process.run("report").stdout).nextFingerprint == after.nextFingerprint


async def test_who_was_not_told_would_be_locked_out(process: AgentProcess, directory: Path, tmp_path: Path) -> None:
    """Three have storages here, of whom one is told; a Prometheus has a token and no storage."""
    names = ("asked", "silent", "gone")
    tokens = {name: process.enroll(name) for name in (*names, "prometheus")}
    for number, name in enumerate(names):
        folder = tmp_path / name
        folder.mkdir()
        async with client_of(process.address, tokens[name]) as client:
            assert (await connect(client, folder, f"{number:032x}")).status == 200
    async with client_of(process.address, tokens["asked"]) as client:
        announced = await told(client, process)
    before = await asyncio.to_thread(shown, process.address)
    refused = process.run("rotate-certificate")
    assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (1, "", 1)
    for name, is_named in {"asked": False, "silent": True, "gone": True, "prometheus": False}.items():
        assert (f"{tokens[name].id} ({name})" in refused.stderr) == is_named
    assert await asyncio.to_thread(shown, process.address) == before
    assert process.run("enrollments", "remove", tokens["gone"].id).returncode == 0
    async with client_of(process.address, tokens["silent"]) as client:
        assert await told(client, process) == announced
    assert await rotate(process) == announced
    # Now nobody has been told of the next one.
    again = process.run("rotate-certificate")
    assert again.returncode == 1
    assert all(tokens[name].id in again.stderr for name in ("asked", "silent"))


async def test_the_operator_may_rotate_all_the_same(process: AgentProcess, directory: Path) -> None:
    async with client_of(process.address, process.enroll()) as client:
        await connect(client, directory)
        assert process.run("rotate-certificate").returncode == 1
        new = await rotate(process, "--force")
        await client.ask("GET", "/livez")  # a kept connection is answered once more
        with pytest.raises(aiohttp.ServerFingerprintMismatch):
            await client.ask("GET", "/livez")
    code = process.enroll()
    assert code.fingerprint == new
    async with client_of(process.address, code) as client:
        assert (await connect(client, directory)).status == 200


async def test_only_who_has_stored_the_next_certificate_knows_it(process: AgentProcess, directory: Path) -> None:
    """An answer may be lost, and a node may die before it has written what it was answered."""
    async with client_of(process.address, process.enroll()) as client:
        await connect(client, directory)
        announced = (await report(client)).nextFingerprint
        for known in ("", client.enrollment.fingerprint, announced.upper(), announced[:-1], "0" * 64):
            assert (await client.ask("GET", "/v1/report", headers={KNOWS_NEXT: known})).status == 200
        process.stop()
        assert client.enrollment.id in process.run("rotate-certificate").stderr
        process.start()
        etag = (await client.ask("GET", "/v1/report")).headers["ETag"]
        while (answer := await client.ask("GET", "/v1/report", headers={"If-None-Match": etag})).status != 304:
            etag = answer.headers["ETag"]
        headers = {"If-None-Match": etag, KNOWS_NEXT: announced}
        assert (await client.ask("GET", "/v1/report", headers=headers)).status == 304, "an unchanged report is enough"
        await eventually(lambda: process.run("rotate-certificate").stdout.strip() == announced)


async def test_a_pair_that_does_not_fit_keeps_the_old_certificate(process: AgentProcess, tmp_path: Path) -> None:
    before = await asyncio.to_thread(shown, process.address)
    present = present_of(process.state)
    key, mark, certificate = present.read_text().partition("-----END PRIVATE KEY-----\n")
    await make_certificates("other", {tmp_path / "other.pem": 1})
    other = (tmp_path / "other.pem").read_text().partition(mark)[0]

    def refused() -> int:
        return process.log.read_text().count("reload refused")

    for content in (other + mark + certificate, key + mark, certificate, "", "no certificate"):
        before_that = refused()
        present.write_text(content)
        process.signal(signal.SIGHUP)
        await eventually(lambda before_that=before_that: refused() > before_that)  # type: ignore[misc]
        assert await asyncio.to_thread(shown, process.address) == before
    process.stop()
    process.start(wait=False)
    assert process.wait() == 1
    assert f"remove {present.parent} to start anew" in process.log.read_text().splitlines()[-1]
    shutil.rmtree(present.parent)
    process.start()
    assert await asyncio.to_thread(shown, process.address) != before


@pytest.mark.parametrize("call", ["rename", "fsync", "unlink"])
async def test_a_rotation_that_is_killed_again_and_again_leaves_a_whole_certificate(
    tmp_path: Path, tls: Path, call: str
) -> None:
    if why := faults.missing():
        pytest.skip(why)
    process = AgentProcess(tmp_path / "agent", {"server": {"listen": "127.0.0.1:7765"}})
    shutil.copytree(tls, process.state / "tls")
    process.enroll()
    command = process.command("rotate-certificate", "--force")
    for number in (1, 2):
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        for _ in range(2):
            killed = await asyncio.to_thread(
                subprocess.run,
                ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), *inject, *command],
                check=False, capture_output=True, cwd=ROOT, timeout=60,
            )  # fmt: skip
            assert f"{call}(" in (tmp_path / "trace").read_text() or killed.returncode == 0
            server_context(present_of(process.state))
    done = process.run("rotate-certificate", "--force")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == fingerprint(present_of(process.state))


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
            present_of(process.state).write_text("no certificate")
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
