"""What the doctor says of a host, each check both ways; unit and sandbox are looked at on a booted host."""

import asyncio
import errno
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.doctor import ceph as doctor_ceph
from bs_agent.agent.doctor import clock as doctor_clock
from bs_agent.agent.doctor import host as doctor_host
from bs_agent.agent.doctor import service as doctor_service
from bs_agent.agent.doctor import storages as doctor_storages
from bs_agent.agent.doctor.doctor import Check, examine
from bs_agent.agent.doctor.finding import Finding
from bs_agent.agent.journal import database
from bs_agent.agent.state import present_of
from bs_agent.contract.push import ReportTo
from bs_agent.daemon.certificate import fingerprint, make_certificates, server_context
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.http import serving
from tests.agent.asking import MARKER, connect, move
from tests.beds.agent import AgentProcess, client_of

pytestmark = pytest.mark.asyncio

DISTRIBUTION = "/usr/bin/python3"


def settings_of(tmp_path: Path, **sections: dict[str, object]) -> AgentSettings:
    return AgentSettings.model_validate({"state": {"directory": tmp_path / "state"}, **sections})


async def found(check: Check, settings: AgentSettings, subject: str) -> Finding:
    """Return the one finding on a subject; whatever is not well says what to do."""
    (finding,) = (one for one in await check(settings) if one.subject == subject)
    assert (finding.level == "ok") == (finding.cure == ""), finding
    assert "\n" not in str(finding)
    return finding


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


async def test_the_python_of_the_worker(tmp_path: Path) -> None:
    async def level(python: Path | str) -> tuple[str, str]:
        settings = settings_of(tmp_path, probe={"python": python})
        finding = await found(doctor_host.python, settings, "worker python")
        return finding.level, finding.text

    assert (await level(sys.executable))[0] == "ok"
    assert await level("/nowhere/python3") == ("FAIL", "/nowhere/python3: No such file or directory")
    old = program(tmp_path / "old", "echo 3.5.2")
    assert await level(old) == ("FAIL", f"3.5.2, {old}")


async def test_librados(tmp_path: Path) -> None:
    conf = tmp_path / "ceph.conf"
    assert await doctor_ceph.librados(settings_of(tmp_path, ceph={"conf": conf})) == [], "this is no Ceph host"
    conf.touch()
    without = program(tmp_path / "python", f'exec {sys.executable} -I -S "$@"')
    missing = settings_of(tmp_path, ceph={"conf": conf}, probe={"python": without})
    finding = await found(doctor_ceph.librados, missing, "librados")
    assert finding.level == "FAIL"
    assert "No module named 'rados'" in finding.text
    assert "python3-rados" in finding.cure


@pytest.mark.skipif(not list(Path("/usr/lib/python3/dist-packages").glob("rados.*.so")), reason="no python3-rados")
async def test_librados_is_there(tmp_path: Path) -> None:
    (tmp_path / "ceph.conf").touch()
    settings = settings_of(tmp_path, ceph={"conf": tmp_path / "ceph.conf"}, probe={"python": DISTRIBUTION})
    finding = await found(doctor_ceph.librados, settings, "librados")
    assert (finding.level, finding.text.partition(" ")[0]) == ("ok", "interface")


async def test_the_keyring(tmp_path: Path) -> None:
    conf, keyring = tmp_path / "ceph.conf", tmp_path / "keyring"
    conf.touch()
    settings = settings_of(tmp_path, ceph={"conf": conf, "keyring": str(keyring), "client": "client.x"})
    assert (await found(doctor_ceph.keyring, settings, "ceph.conf")).level == "ok"
    missing = await found(doctor_ceph.keyring, settings, "keyring")
    assert (missing.level, "setfacl" in missing.cure) == ("FAIL", True)
    keyring.touch()
    assert (await found(doctor_ceph.keyring, settings, "keyring")).level == "ok"
    unnamed = settings_of(tmp_path, ceph={"conf": conf, "client": "client.nobody-has-this-name"})
    assert (await found(doctor_ceph.keyring, unnamed, "keyring")).level == "warn"


async def test_the_admin_socket(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, ceph={"run_dir": tmp_path})
    assert await doctor_ceph.admin_sockets(settings) == []
    with socket.socket(socket.AF_UNIX) as mon:
        mon.bind(str(tmp_path / "ceph-mon.a.asok"))
        mon.listen()
        assert (await found(doctor_ceph.admin_sockets, settings, "admin socket")).level == "ok"
    gone = await found(doctor_ceph.admin_sockets, settings, "admin socket")
    assert (gone.level, gone.cure) == ("FAIL", "Start the mon.")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name is short, as the path of a socket has to be."""
    with TemporaryDirectory(prefix="bs-", dir="/tmp") as made:
        yield Path(made)


async def test_the_admin_sockets_of_cephadm_and_of_mons_that_are_gone(tmp_path: Path, short: Path) -> None:
    settings = settings_of(tmp_path, ceph={"run_dir": short})
    folder = short / "15a14fb2-0fe0-4721-a187-f90b1256a420"
    folder.mkdir()
    for name in ("ceph-mon.gone.asok", "ceph-mon.purged.asok"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(short / name))
    gone = await found(doctor_ceph.admin_sockets, settings, "admin socket")
    assert (gone.level, "and 1 others: nobody answers" in gone.text) == ("FAIL", True)
    with ExitStack() as stack:
        for path in (folder / "ceph-mon.a.asok", short / "ceph-mgr.x-mon.abc.asok"):
            daemon = stack.enter_context(socket.socket(socket.AF_UNIX))
            daemon.bind(str(path))
            daemon.listen()
        seen = await doctor_ceph.admin_sockets(settings)
    assert [finding.level for finding in seen] == ["ok", "warn"]
    assert seen[0].text == f"{folder}/ceph-mon.a.asok is open to the agent"


def closed(short: Path, below: str) -> Path:
    """Make a folder that other users may not look into."""
    short.chmod(0o755)
    folder = short / below
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    return folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("below", ["", "15a14fb2-0fe0-4721-a187-f90b1256a420"])
async def test_a_folder_of_admin_sockets_that_is_closed_to_the_agent(short: Path, below: str) -> None:
    """As Debian makes /run/ceph, and cephadm the folder of a cluster in it: there seems to be no socket."""
    folder = await asyncio.to_thread(closed, short, below)
    os.setresuid(65534, 65534, 0)
    try:
        (finding,) = doctor_ceph._reach_all(short)
    finally:
        os.setresuid(0, 0, 0)
    assert (finding.level, finding.text) == ("warn", f"{folder} is not open to the agent")


async def test_a_configuration_of_ceph_that_is_missing(tmp_path: Path) -> None:
    named = settings_of(tmp_path, ceph={"conf": tmp_path / "ceph.conf"})
    missing = await found(doctor_ceph.configuration, named, "ceph.conf")
    assert (missing.level, missing.text) == ("FAIL", f"{tmp_path}/ceph.conf is not there")
    (tmp_path / "ceph.conf").touch()
    assert await doctor_ceph.configuration(named) == []
    usual = settings_of(tmp_path)
    if usual.ceph.conf.exists():
        pytest.skip(f"this host has a {usual.ceph.conf}")
    assert await doctor_ceph.configuration(usual) == [], "this is no Ceph host"
    usual.state.directory.mkdir()
    database.create(usual.state.directory / "agent.db")
    with closing(database.connect(usual.state.directory / "agent.db")) as journal:
        row = ("1" * 32, '{"type": "Ceph", "poolName": "images"}')
        journal.execute("INSERT INTO storages (uuid, parameters) VALUES (?, ?)", row)
    assert (await found(doctor_ceph.configuration, usual, "ceph.conf")).text == f"{usual.ceph.conf} is not there"


@pytest.mark.parametrize("said", ["3.11", "-I -c import sys", "", "3.11.2 and more", "9" * 5000 + ".1.1", "3.11.²"])
async def test_what_is_no_python_is_none(tmp_path: Path, said: str) -> None:
    settings = settings_of(tmp_path, probe={"python": program(tmp_path / "python", f"echo '{said}'")})
    finding = await found(doctor_host.python, settings, "worker python")
    assert (finding.level, finding.text) == ("FAIL", f"{tmp_path}/python is no Python")


async def test_a_fault_of_one_check_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: AgentSettings) -> list[Finding]:
        raise RuntimeError("ours")

    monkeypatch.setattr(doctor_host, "python", fail)
    seen = await examine(settings_of(tmp_path, ceph={"run_dir": tmp_path}))
    assert [(finding.level, finding.text) for finding in seen if finding.subject == "fail"] == [
        ("FAIL", "could not be looked at: RuntimeError('ours')")
    ]
    assert {"clock", "port", "storages"} <= {finding.subject for finding in seen}


async def test_the_port(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "agent") as process:
        address = process.address
        settings = settings_of(tmp_path / "agent", server={"listen": str(address)})
        assert (await found(doctor_service.port, settings, "port")).level == "ok"
        # A certificate that was renewed behind the agent's back is not the one that it shows.
        await make_certificates("behind", {present_of(process.state): 1})
        changed = await found(doctor_service.port, settings, "port")
        assert (changed.level, "systemctl restart" in changed.cure) == ("FAIL", True)
        stranger = settings_of(tmp_path / "other", server={"listen": str(address)})
        taken = await found(doctor_service.port, stranger, "port")
        assert (taken.level, taken.text) == ("FAIL", f"{address}: Address already in use")
        assert f"sport = :{address.port}" in taken.cure
    assert (await found(doctor_service.port, settings, "port")).text.endswith("is free: no agent runs")


def certificate(folder: Path, days: int) -> None:
    """Write a key and a certificate that is valid for so many days more."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=4000)).not_valid_after(now + timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "present.pem").write_bytes(private + made.public_bytes(encoding))


async def test_the_certificate(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert (await found(doctor_service.certificate, settings, "certificate")).level == "warn"
    for days, level in ((61, "ok"), (59, "warn"), (-2, "FAIL")):
        certificate(tmp_path / "state" / "tls", days)
        finding = await found(doctor_service.certificate, settings, "certificate")
        assert finding.level == level
        assert level == "ok" or "bs-agent rotate-certificate" in finding.cure
    pair = present_of(tmp_path / "state")
    private, mark, public = pair.read_text().partition("-----END PRIVATE KEY-----\n")
    certificate(tmp_path / "other", 61)
    other = (tmp_path / "other" / "present.pem").read_text().partition(mark)[0]
    for content in ("no certificate", "", public, private + mark, other + mark + public):
        pair.write_text(content)
        assert (await found(doctor_service.certificate, settings, "certificate")).level == "FAIL", content


async def test_directory_and_marker(tmp_path: Path, directory: Path) -> None:
    with AgentProcess(tmp_path / "agent") as process:
        settings = AgentSettings.model_validate({"state": {"directory": process.state}})
        assert (await found(doctor_storages.storages, settings, "storages")).text == "none is connected yet"
        async with client_of(process.address, process.enroll()) as client:
            await connect(client, directory)
        assert (await found(doctor_storages.storages, settings, "directory")).level == "ok"
        (directory / MARKER).unlink()
        unmarked = await found(doctor_storages.storages, settings, "directory")
        assert (unmarked.level, "MarkerMissing" in unmarked.text) == ("FAIL", True)
        assert "Mount the disk" in unmarked.cure
        move(directory, tmp_path / "elsewhere")
        assert "DirectoryMissing" in (await found(doctor_storages.storages, settings, "directory")).text
    (process.state / "agent.db").write_bytes(b"no journal" * 1000)
    for log in process.state.glob("agent.db-*"):
        log.unlink()
    assert (await found(doctor_storages.storages, settings, "journal")).level == "FAIL"


@asynccontextmanager
async def node(tls: Path, ahead: float) -> AsyncIterator[ReportTo]:
    """Be a management node whose clock is so many seconds ahead."""

    async def livez(_: web.Request) -> web.Response:
        now = datetime.now(UTC) + timedelta(seconds=ahead)
        return web.Response(text="ok\n", headers={"Date": format_datetime(now, usegmt=True)} if ahead else {})

    application = web.Application()
    application.router.add_get("/livez", livez)
    context = server_context(tls / "present.pem")
    async with serving(application, Address("127.0.0.1", 0), context) as address:
        yield ReportTo(url=f"https://{address}", fingerprint=fingerprint(tls / "present.pem"))


@pytest.fixture
def synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a host whose clock follows a time server."""
    monkeypatch.setattr(doctor_clock, "kernel_error", lambda: 21_000)


@pytest.mark.usefixtures("synchronised")
@pytest.mark.parametrize(
    ("ahead", "said"), [(0.0, "agrees with"), (300.0, r"(29\d|300) s behind"), (-300.0, r"(29\d|300) s ahead of")]
)
async def test_the_clock_beside_that_of_a_management_node(
    tmp_path: Path, tls: Path, directory: Path, ahead: float, said: str
) -> None:
    async with node(tls, ahead) as place:
        with AgentProcess(tmp_path / "agent") as process:
            settings = AgentSettings.model_validate({"state": {"directory": process.state}})
            async with client_of(process.address, process.enroll()) as client:
                await connect(client, directory, reportTo=place.model_dump())
        finding = await found(doctor_clock.clock, settings, "clock")
        assert re.fullmatch(f"synchronised within 0.021 s, {said} {place.url}", finding.text), finding
        assert (finding.level, "timedatectl" in finding.cure) == (("warn", True) if ahead else ("ok", False))
    silent = await found(doctor_clock.clock, settings, "clock")
    assert (silent.level, "does not tell its time" in silent.text) == ("ok", True)


async def test_the_clock_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)
    with suppress(PermissionError):  # of a container
        assert 0 <= doctor_clock.kernel_error() <= doctor_clock.UNBOUNDED

    async def seen() -> tuple[str, str]:
        finding = await found(doctor_clock.clock, settings, "clock")
        return finding.level, finding.text

    monkeypatch.setattr(doctor_clock, "kernel_error", lambda: 1_500)
    assert await seen() == ("ok", "synchronised within 0.002 s")
    monkeypatch.setattr(doctor_clock, "kernel_error", lambda: 16_000_000)
    assert await seen() == ("warn", "not synchronised")

    def refuse() -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(doctor_clock, "kernel_error", refuse)
    assert await seen() == ("warn", "cannot tell whether it is synchronised: Operation not permitted")


def interpreter_is_private() -> str:
    """Say why another user cannot run this Python; empty when that is possible."""
    interpreter = Path(sys.executable).resolve()
    private = any(parent.stat().st_mode & 0o005 != 0o005 for parent in interpreter.parents)
    return f"other users may not run {interpreter}" if private else ""


async def test_it_looks_with_the_rights_of_the_service(tmp_path: Path, tls: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    if why := interpreter_is_private():
        pytest.skip(why)
    keyring, conf = tmp_path / "keyring", tmp_path / "ceph.conf"
    keyring.touch(mode=0o600)
    conf.touch(mode=0o644)
    ceph = {"conf": str(conf), "keyring": str(keyring), "run_dir": str(tmp_path)}
    process = AgentProcess(tmp_path / "agent", {"ceph": ceph})
    shutil.copytree(tls, process.state / "tls")
    for path in (process.state, *process.state.rglob("*")):
        os.chown(path, 12345, 12345)
    for parent in process.state.parents:
        if "pytest" in str(parent):
            parent.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as mon:
        mon.bind(str(tmp_path / "ceph-mon.a.asok"))
        (tmp_path / "ceph-mon.a.asok").chmod(0o600)
        mon.listen()
        done = process.run("doctor")
        assert done.returncode == 1
        assert f"FAIL  keyring       {keyring} cannot be read by user id 12345" in done.stdout
        assert f"warn  admin socket  {tmp_path}/ceph-mon.a.asok is not open to the agent" in done.stdout
        keyring.chmod(0o644)
        (tmp_path / "ceph-mon.a.asok").chmod(0o666)
        done = process.run("doctor")
    assert f"ok    keyring       {keyring} is readable" in done.stdout
    assert f"ok    admin socket  {tmp_path}/ceph-mon.a.asok is open to the agent" in done.stdout
    assert (done.returncode, "FAIL" in done.stdout) == (0, False) or "librados" in done.stdout
