"""The agent as a real process: killed, signalled, watched by a service manager, and enrolled with while it runs."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bs_agent.daemon.configuration import BAD_CONFIGURATION, Address
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


def _pass(process: AgentProcess, *sockets: socket.socket) -> None:
    """Let a process inherit sockets as systemd passes them: from descriptor 3 on, LISTEN_FDS, LISTEN_PID."""
    moves = " ".join(f"{number}<&{passed.fileno()}" for number, passed in enumerate(sockets, start=3))
    shell = f'exec {moves}; LISTEN_FDS={len(sockets)} LISTEN_PID=$$ exec "$@"'
    process.before, process.inherited = ["bash", "-c", shell, "bash"], [passed.fileno() for passed in sockets]


async def test_a_listening_socket_is_taken_over(tmp_path: Path) -> None:
    process = AgentProcess(tmp_path / "agent")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _pass(process, listener)
        with process:
            assert process.enroll().port == listener.getsockname()[1]
            process.stop()


async def test_all_listening_sockets_are_taken_over(tmp_path: Path) -> None:
    process = AgentProcess(tmp_path / "agent")
    with ExitStack() as stack:
        tcp = [stack.enter_context(socket.create_server((f"127.0.0.{number}", 0))) for number in (1, 2)]
        tcp.append(stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6)))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        idle = stack.enter_context(socket.socket())
        _pass(process, local, tcp[0], udp, tcp[1], idle, tcp[2])
        with process:
            enrollment = process.enroll()
            assert enrollment.port == tcp[0].getsockname()[1]
            for listener in tcp:
                async with client_of(Address(*listener.getsockname()[:2]), enrollment) as client:
                    assert (await client.ask("GET", "/v1/report")).status == 200
            assert process.stop() == 0


async def test_it_stops_although_the_name_server_hangs(process: AgentProcess, directory: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("its own resolv.conf wants root")
    process.stop()
    (tmp_path / "resolv.conf").write_text("nameserver 127.9.9.9\noptions timeout:30 attempts:5\n")
    own = f'mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec "$@"'
    process.before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", own, "sh"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.9.9.9", 53))
        server.settimeout(30)
        process.start()
        async with client_of(process.address, process.enroll()) as client:
            report_to = {"url": "https://node.example.test:8080", "fingerprint": "ab" * 32}
            assert (await connect(client, directory, reportTo=report_to)).status == 200
            (directory / MARKER).unlink()
            await asyncio.to_thread(server.recv, 4096)  # the look-up has begun
        assert process.stop() == 0


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        (
            {"server": {"listen": "192.0.2.1:0"}},
            1,
            "cannot listen on 192.0.2.1:0: Cannot assign requested address -> server.listen must name an address",
        ),
        (
            {"state": {"directory": "/dev/null/state"}},
            1,
            "the state directory /dev/null/state cannot be used: Not a directory -> Name a directory that can be made",
        ),
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
