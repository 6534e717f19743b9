"""bs-management as an operator runs it: its commands as processes of their own."""

import asyncio
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import insert

from bs_agent.management.secrets import KEY_FILE, Keyring
from bs_agent.management.store.database import Database
from bs_agent.management.store.tables import agent
from tests.beds.certificate import ensure_certificate

pytestmark = pytest.mark.asyncio

PROGRAM = (sys.executable, "-m", "bs_agent.management.main")


def _write(folder: Path, text: str = "") -> Path:
    path = folder / "management.toml"
    path.write_text(
        f'[database]\nurl = "sqlite:///{folder}/data/management.db"\n[state]\ndirectory = "{folder}/data"\n'
        f'[log]\nlevel = "info"\n[server]\nlisten = "127.0.0.1:0"\n{text}'
    )
    return path


async def _program(*arguments: str | Path, stdin: str = "") -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await asyncio.wait_for(child.communicate(stdin.encode()), 60)
    return child.returncode or 0, stdout.decode(), stderr.decode()


class Running:
    """A bs-management that runs: where its API is, and what it has printed."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.url = ""
        self.log: list[str] = []

    async def until(self, text: str) -> str:
        """Wait for a line of the log."""
        assert self.child.stderr
        while True:
            line = (await asyncio.wait_for(self.child.stderr.readline(), 30)).decode()
            assert line, "".join(self.log)
            self.log.append(line)
            if text in line:
                return line

    async def call(self, method: str, path: str, body: Any = None, session: str = "") -> tuple[int, Any]:
        """Send a request."""

        headers = {"Authorization": f"OAuth {session}"}
        async with aiohttp.request(method, self.url + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def log_in(self, password: str) -> tuple[int, Any]:
        """Log admin in."""
        body = {"logInByAccount": {"accountName": "admin", "password": password}}
        return await self.call("PUT", "/accounts/login", body)


@asynccontextmanager
async def _running(config: Path) -> AsyncIterator[Running]:
    child = await asyncio.create_subprocess_exec(
        *PROGRAM, "run", "--config", config, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    running = Running(child)
    try:
        running.url = (await running.until("the public API is at")).split()[-1]
        yield running
    finally:
        child.send_signal(signal.SIGTERM)
        assert child.stderr
        rest = await asyncio.wait_for(child.stderr.read(), 30)
        running.log.append(rest.decode())
        assert await asyncio.wait_for(child.wait(), 30) == 0


async def test_the_first_start_shows_a_password_once_and_not_in_the_log(tmp_path: Path) -> None:
    config = _write(tmp_path)
    async with _running(config) as first:
        assert first.child.stdout
        shown = (await asyncio.wait_for(first.child.stdout.readline(), 10)).decode()
        password = shown.split()[-1]
        assert (await first.log_in(password))[0] == 200
        assert (await first.log_in(password + "x"))[1]["error"]["code"] == "ID.1000"
    assert password not in "".join(first.log)
    assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    async with _running(config) as second:
        assert (await second.log_in(password))[0] == 200
    assert second.child.stdout
    assert await second.child.stdout.read() == b""
    with closing(sqlite3.connect(tmp_path / "data/management.db")) as database:
        ((stored,),) = database.execute("SELECT passwordHash FROM account").fetchall()
    # RFC 9106 calls this the second recommended choice: 64 MiB, three passes, four lanes.
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def _first_start(folder: Path, output: int, read: Callable[[], bytes]) -> tuple[str, str]:
    """Start a node whose output is not buffered, until it is ready; return all that came, and its password."""
    command = (*PROGRAM, "run", "--config", _write(folder))
    child = await asyncio.create_subprocess_exec(
        *command, stdout=output, stderr=output, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    os.close(output)
    said = b""
    while b"ready: " not in said:
        said += await asyncio.wait_for(asyncio.to_thread(read), 30)
    child.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 30) == 0
    text = said.decode()
    return text, text.partition("The password of the account admin is ")[2].split()[0]


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
async def test_the_password_is_a_line_of_its_own_beside_the_log(tmp_path: Path, kind: str) -> None:
    here, there = os.openpty() if kind == "terminal" else os.pipe()
    try:
        said, password = await _first_start(tmp_path, there, lambda: os.read(here, 65536))
    finally:
        os.close(here)
    lines = said.splitlines()
    assert f"The password of the account admin is {password}" in lines
    others = [line for line in lines if password not in line]
    assert all(" bs_agent." in line for line in others), others  # what Alembic and other libraries do is not told


async def test_the_password_and_the_end_of_its_line_are_written_in_one_piece(tmp_path: Path) -> None:
    """Each write to a socket of this kind is a message; between two of them, another process may write."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    messages: list[bytes] = []

    def read() -> bytes:
        messages.append(here.recv(65536))
        return messages[-1]

    with here:
        _, password = await _first_start(tmp_path, there.detach(), read)
    assert f"The password of the account admin is {password}\n".encode() in messages


async def test_a_first_start_that_fails_keeps_no_password_that_nobody_has_seen(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = _write(tmp_path)
        listen = f"server.listen=127.0.0.1:{taken.getsockname()[1]}"
        code, shown, said = await _program("run", "--config", config, "--set", listen)
    assert (code, shown) == (1, "")
    assert "in use" in said
    async with _running(config) as running:
        assert running.child.stdout
        shown = (await asyncio.wait_for(running.child.stdout.readline(), 10)).decode()
        assert (await running.log_in(shown.split()[-1]))[0] == 200


async def test_set_password_takes_a_line_from_a_pipe_and_ends_sessions(tmp_path: Path) -> None:
    config = _write(tmp_path)
    assert (await _program("set-password", "--config", config, "admin", stdin="first password\n"))[0] == 0
    async with _running(config) as node:
        session = (await node.log_in("first password"))[1]["inventory"]["uuid"]
        assert (await node.call("GET", "/backup-storage", session=session))[0] == 200
        code, said, _ = await _program("set-password", "--config", config, "admin", stdin="second password\n")
        assert (code, said.strip()) == (0, "the password of admin was set; its sessions have ended")
        assert (await node.call("GET", "/backup-storage", session=session))[1]["error"]["code"] == "ID.1001"
        assert (await node.log_in("first password"))[1]["error"]["code"] == "ID.1000"
        assert (await node.log_in("second password"))[0] == 200
    assert "the password must have at least" in (await _program("set-password", "--config", config, "admin"))[2]
    refused = await _program("set-password", "--config", config, "nobody", stdin="long enough\n")
    assert (refused[0], refused[2].strip()) == (1, "bs-management: there is no account nobody")


async def test_a_token_to_scrape_by_is_shown_once_listed_and_taken_away(tmp_path: Path) -> None:
    config = _write(tmp_path)
    async with _running(config) as node:
        metrics = node.url.removesuffix("/zstack/v1") + "/metrics"

        async def scrape(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            async with aiohttp.request("GET", metrics, headers=headers) as response:
                return response.status

        code, shown, _ = await _program("scrape-tokens", "add", "--config", config, "prometheus of the east")
        token = shown.removesuffix("\n")
        assert (code, len(token), await scrape(token), await scrape(token + "x")) == (0, 43, 200, 401)
        code, listed, _ = await _program("scrape-tokens", "list", "--config", config)
        assert listed.endswith("  prometheus of the east\n")
        assert token not in listed
        uuid = listed.split()[0]
        code, said, _ = await _program("scrape-tokens", "remove", "--config", config, uuid.upper())
        assert (code, said, await scrape(token)) == (0, "removed; it is refused from now on\n", 401)
        assert (await _program("scrape-tokens", "list", "--config", config))[1] == ""
        code, _, said = await _program("scrape-tokens", "remove", "--config", config, uuid)
        assert (code, f"there is no token {uuid}" in said) == (1, True)
        code, _, said = await _program("scrape-tokens", "add", "--config", config, "x" * 201)
        assert (code, "the label must have 1 to 200 printable characters" in said) == (1, True)
    assert token not in "".join(node.log)


async def test_set_password_asks_twice_on_a_terminal(tmp_path: Path) -> None:
    master, slave = os.openpty()
    child = await asyncio.create_subprocess_exec(
        *PROGRAM, "set-password", "--config", _write(tmp_path), "admin", stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    said = b""

    def read_until(text: bytes) -> None:
        nonlocal said
        while text not in said:
            said += os.read(master, 1000)

    for prompt in (b"New password: ", b"Repeat for confirmation: "):
        await asyncio.wait_for(asyncio.to_thread(read_until, prompt), 30)
        os.write(master, b"typed password\n")
    await asyncio.wait_for(asyncio.to_thread(read_until, b"was set"), 30)
    assert await asyncio.wait_for(child.wait(), 30) == 0
    os.close(master)
    assert b"typed password" not in said


async def test_check_config_tells_all_faults_at_once(tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(
        '[poll]\ninterval = "often"\n[server]\nlisten = "0.0.0.0:80"\ncolour = 1\n[session]\nlifetime = 1\n'
    )
    code, _, faults = await _program("check-config", "--config", config)
    assert code == 78
    for key in ("line 2: poll.interval", "line 5: server.colour", "line 7: session.lifetime"):
        assert f"bs-management: {config}: {key}: " in faults
    config.write_text('[server]\nlisten = "0.0.0.0:80"\n')
    assert "not a loopback address: give tls_certificate" in (await _program("check-config", "--config", config))[2]
    assert (await _program("check-config", "--config", _write(tmp_path)))[:2] == (0, "the configuration is valid\n")


async def test_migrate_says_what_it_did(tmp_path: Path) -> None:
    config = _write(tmp_path)
    assert "brought from nothing to" in (await _program("migrate", "--config", config))[1]
    assert "nothing to do" in (await _program("migrate", "--config", config))[1]


async def test_help_has_examples_and_needs_no_heavy_imports() -> None:
    upkeep = ("backup",), ("restore",), ("rotate-key",), ("move-host",)
    tokens = ("scrape-tokens",), *(("scrape-tokens", verb) for verb in ("add", "list", "remove"))
    for command in ((), ("run",), ("check-config",), ("migrate",), ("set-password",), *upkeep, *tokens):
        code, said, _ = await _program(*command, "--help")
        assert (code, "Example:\n    bs-management " in said) == (0, True)
    assert (await _program("--version"))[1].startswith("bs-management, version ")
    script = "import sys, bs_agent.management.main; print({'sqlalchemy', 'asyncssh', 'aiohttp'} & set(sys.modules))"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert (await child.communicate())[0] == b"set()\n"


async def test_a_key_file_of_another_database_is_refused(tmp_path: Path) -> None:
    config = _write(tmp_path)
    await _program("migrate", "--config", config)
    token = Keyring.open(tmp_path / "data").encrypt("token")
    database = Database.connect(f"sqlite:///{tmp_path}/data/management.db")
    row = {"uuid": "1" * 32, "hostname": "h", "port": 7765, "fingerprint": "0" * 64, "enrollmentId": "2" * 32}
    async with database.writing() as connection:
        await connection.execute(insert(agent).values(**row, tokenSecret=token, leaving=False, createDate=0))
    await database.close()
    (tmp_path / "data" / KEY_FILE).unlink()
    code, _, said = await _program("run", "--config", config)
    assert code == 1
    assert "is not the key that the secrets of the database were encrypted with" in said.splitlines()[-1]


async def test_sighup_reloads_and_a_bad_file_keeps_the_old_configuration(tmp_path: Path) -> None:
    config = _write(tmp_path)
    async with _running(config) as node:
        _write(tmp_path, "colour = 1\n")
        node.child.send_signal(signal.SIGHUP)
        assert "server.colour: there is no such key" in await node.until("reload refused")
        _write(tmp_path, "[session]\nlifetime = 100\n[poll]\ninterval = 30\n")
        node.child.send_signal(signal.SIGHUP)
        assert (await node.until("take effect after a restart")).strip().endswith("session.lifetime")
        await node.until("reloaded")
        assert (await node.call("GET", "/nothing"))[0] == 404


async def test_tls(tmp_path: Path) -> None:
    certificate, key = await ensure_certificate(tmp_path / "tls", "management")
    config = _write(tmp_path, f'tls_certificate = "{certificate}"\ntls_key = "{key}"\n')
    async with _running(config) as node:
        assert node.url.startswith("https://127.0.0.1:")
        curl = ("curl", "-sk", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", f"{node.url}/nothing")
        child = await asyncio.create_subprocess_exec(*curl, stdout=asyncio.subprocess.PIPE)
        assert (await child.communicate())[0] == b"404"
    missing = _write(tmp_path, f'tls_certificate = "{certificate}.gone"\ntls_key = "{key}"\n')
    assert "No such file" in (await _program("run", "--config", missing))[2]
