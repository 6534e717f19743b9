"""The agent as a real process: killed, signalled, watched by a service manager, and enrolled with while it runs."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bs_agent.daemon.configuration import BAD_CONFIGURATION
from tests.agent.asking import MARKER, clean, connect, report
from tests.agent.conftest import UUID, eventually, tree
from tests.beds import mounts
from tests.beds.agent import AgentProcess, client_of

pytestmark = pytest.mark.asyncio


@pytest.fixture
def process(tmp_path: Path, tls: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path / "agent")
    shutil.copytree(tls, process.state / "tls")
    with process:
        yield process


async def test_what_was_connected_survives_a_kill(process: AgentProcess, directory: Path) -> None:
    enrollment = process.enroll()
    async with client_of(process.address, enrollment) as client:
        await connect(client, directory)
        address = process.address
        process.kill()
        process.start()
        assert process.address == address
        assert [storage.uuid for storage in (await report(client)).storages] == [UUID]
        before = tree(directory).keys() - {MARKER}
        assert (await clean(client)).state == "done"
        assert tree(directory).keys() == before


async def test_a_token_made_by_another_process_is_honoured_at_once(process: AgentProcess) -> None:
    for number in range(3):
        enrollment = process.enroll(f"node {number}")
        assert (enrollment.port, len(enrollment.token)) == (process.address.port, 43)
        async with client_of(process.address, enrollment) as client:
            assert (await client.ask("GET", "/v1/report")).status == 200
    assert not [path for path in process.state.glob("agent.db*") if enrollment.token.encode() in path.read_bytes()]
    assert enrollment.token not in process.log.read_text()


async def test_a_second_daemon_is_refused(process: AgentProcess) -> None:
    done = process.run("run")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "another bs-agent runs" in done.stderr
    assert process.poll() is None


async def test_it_stops_on_sigterm_and_leaves_no_children(process: AgentProcess, directory: Path) -> None:
    async with client_of(process.address, process.enroll()) as client:
        await connect(client, directory)
    (child,) = process.children
    assert process.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


async def test_it_stops_although_a_disk_hangs(process: AgentProcess, tmp_path: Path, mountable: None) -> None:
    with mounts.tmpfs(tmp_path / "disk", "size=1m") as disk:
        async with client_of(process.address, process.enroll()) as client:
            await connect(client, disk)
            with mounts.hung(disk, taken=True):
                await report(client)
                assert process.stop() == 0


async def test_a_reload_applies_what_it_can_and_names_the_rest(process: AgentProcess) -> None:
    process.configure({"probe": {"interval": 2.0, "python": "/usr/bin/python3.11"}, "server": {"max_requests": 3}})
    process.signal(signal.SIGHUP)
    await eventually(lambda: "reloaded" in process.log.read_text())
    said = process.log.read_text()
    assert "probe.python has changed: restart" in said
    assert "server.max_requests has changed: restart" in said
    assert "probe.interval has changed" not in said
    process.configure({"probe": {"interval": 1.0, "deadline": 5.0}, "log": {"level": "loud"}})
    process.signal(signal.SIGHUP)
    await eventually(lambda: "reload refused" in process.log.read_text())
    (refused,) = (line for line in process.log.read_text().splitlines() if "reload refused" in line)
    assert "deadline (5) must not be longer than interval (1)" in refused
    assert "log.level" in refused
    process.configure({"probe": {"deadline": 1.0}, "log": {"level": "error"}})
    process.signal(signal.SIGHUP)
    await asyncio.sleep(0.5)
    assert process.poll() is None
    assert process.log.read_text().count("INFO    bs_agent.daemon.lifecycle: reloaded") == 1  # the level holds at once


async def test_the_service_manager_is_told(tmp_path: Path) -> None:
    process = AgentProcess(tmp_path / "agent")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        process.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "300000"}
        with process:
            said = [manager.recv(4096).decode() for _ in range(4)]
            process.signal(signal.SIGHUP)
            while not any("RELOADING=1" in message for message in said):
                said.append(manager.recv(4096).decode())
            process.stop()
            while not any("STOPPING=1" in message for message in said):
                said.append(manager.recv(4096).decode())
    ready = next(message for message in said if message.startswith("READY=1"))
    assert "STATUS=serving 0 backup storages on 127.0.0.1:" in ready
    assert any(message.startswith("WATCHDOG=1\nSTATUS=serving") for message in said)


async def test_a_listening_socket_is_taken_over(tmp_path: Path) -> None:
    """As systemd passes it: descriptor 3, LISTEN_FDS, LISTEN_PID."""
    process = AgentProcess(tmp_path / "agent")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        shell = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        process.before, process.inherited = ["bash", "-c", shell, "bash"], [listener.fileno()]
        with process:
            assert process.enroll().port == listener.getsockname()[1]
            process.stop()


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        ({"server": {"listen": "192.0.2.1:0"}}, 1, "cannot listen on 192.0.2.1:0"),
        ({"state": {"directory": "/dev/null/state"}}, 1, "the state directory /dev/null/state cannot be used"),
        ({"probe": {"interval": 0}}, BAD_CONFIGURATION, "probe.interval"),
    ],
)
async def test_what_keeps_it_from_starting_is_one_sentence(
    tmp_path: Path, settings: dict[str, dict[str, object]], status: int, said: str
) -> None:
    process = AgentProcess(tmp_path / "agent", settings)
    process.start(wait=False)
    assert process.wait() == status
    (line,) = process.log.read_text().splitlines()
    assert said in line
