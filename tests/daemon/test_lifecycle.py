"""A real child process that is a daemon: what it tells the service manager, and how it stops; tasks that end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bs_agent.daemon.lifecycle import background

PROGRAM = """
import asyncio, sys
from contextlib import AsyncExitStack, asynccontextmanager
from bs_agent.daemon import lifecycle
from bs_agent.daemon.configuration import ConfigError

@asynccontextmanager
async def part(name, fails):
    print("start", name, flush=True)
    try:
        yield
    finally:
        print("stop", name, flush=True)
        if fails:
            raise RuntimeError(name)

async def start(stack):
    for name in ("first", "second", "third"):
        await lifecycle.enter_guarded(stack, part(name, name == "second"))

reloads = []

async def reload():
    reloads.append(1)
    if len(reloads) == 1:
        raise ConfigError(["sample.toml: bad"])
    if len(reloads) == 2:
        raise RuntimeError("a fault of ours")

def progressing():
    return len(reloads) < 4

def status():
    return f"{2 + len(reloads)} storages"

asyncio.run(lifecycle.run(lifecycle.Daemon(start, reload, progressing, status)))
"""


def test_a_daemon_talks_to_systemd_and_stops_in_reverse_order(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        environment.pop("WATCHDOG_PID", None)

        def wait_for(wanted: str) -> str:
            while True:
                message = manager.recv(4096).decode()
                if wanted in message:
                    return message

        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert wait_for("READY=1") == "READY=1\nSTATUS=2 storages"
            assert wait_for("WATCHDOG=1") == "WATCHDOG=1\nSTATUS=2 storages"
            child.send_signal(signal.SIGHUP)
            assert "MONOTONIC_USEC=" in wait_for("RELOADING=1")
            refused = "STATUS=3 storages; reload refused: sample.toml: bad"
            assert wait_for("READY=1") == f"READY=1\n{refused}"
            assert wait_for("WATCHDOG=1") == f"WATCHDOG=1\n{refused}"
            child.send_signal(signal.SIGHUP)
            faulty = "STATUS=4 storages; reload refused: an unexpected fault; the log has the rest"
            assert wait_for("READY=1") == f"READY=1\n{faulty}"
            child.send_signal(signal.SIGHUP)
            assert wait_for("READY=1") == "READY=1\nSTATUS=5 storages"
            child.send_signal(signal.SIGHUP)
            wait_for("READY=1")
            # From here on it does not progress, and the watchdog is not fed.
            manager.settimeout(0.5)
            with pytest.raises(TimeoutError):
                manager.recv(4096)
            manager.settimeout(20)
            child.terminate()
            wait_for("STOPPING=1")
            stdout, stderr = child.communicate(timeout=20)
        finally:
            child.kill()
            child.wait(timeout=20)
    assert child.returncode == 0
    assert stdout.split("\n")[:-1] == [
        "start first", "start second", "start third", "stop third", "stop second", "stop first",
    ]  # fmt: skip
    assert "RuntimeError: second" in stderr
    assert "RuntimeError: a fault of ours" in stderr


@pytest.mark.parametrize("fault", ["KeyError('x')", "asyncio.CancelledError()"])
def test_no_kind_of_fault_in_one_reload_makes_the_next_one_impossible(tmp_path: Path, fault: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        program = PROGRAM.replace('RuntimeError("a fault of ours")', fault)
        child = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True)
        try:
            assert manager.recv(4096).decode() == "READY=1\nSTATUS=2 storages"
            faulty = "; reload refused: an unexpected fault; the log has the rest"
            for number, said in ((3, "; reload refused: sample.toml: bad"), (4, faulty), (5, "")):
                child.send_signal(signal.SIGHUP)
                assert manager.recv(4096).decode().startswith("RELOADING=1")
                assert manager.recv(4096).decode() == f"READY=1\nSTATUS={number} storages{said}"
            child.terminate()
            _, stderr = child.communicate(timeout=20)
        finally:
            child.kill()
            child.wait(timeout=20)
    assert child.returncode == 0
    assert fault.partition("(")[0].removeprefix("asyncio.") in stderr


def test_a_status_that_cannot_be_told_keeps_nothing_from_being_told(tmp_path: Path) -> None:
    program = PROGRAM.replace('return f"{2 + len(reloads)} storages"', 'raise ValueError("surrogates")')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        environment.pop("WATCHDOG_PID", None)
        child = subprocess.Popen([sys.executable, "-c", program], env=environment)
        try:
            said = [manager.recv(4096).decode() for _ in range(3)]
        finally:
            child.kill()
            child.wait(timeout=20)
    assert {message.partition("\n")[0] for message in said} == {"READY=1", "WATCHDOG=1"}
    assert all(message.endswith("the status cannot be told: surrogates") for message in said)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("end", "said"),
    [
        (None, []),
        (RuntimeError(), ["watcher ended by itself"]),
        (asyncio.CancelledError(), ["watcher ended by itself: it was cancelled from within"]),
    ],
    ids=["left", "failed", "cancelled"],
)
async def test_a_task_that_ends_by_itself_is_told_of(
    caplog: pytest.LogCaptureFixture, end: BaseException | None, said: list[str]
) -> None:
    async def work() -> None:
        if end:
            raise end
        await asyncio.Event().wait()

    async with background(work(), "watcher") as task:
        await asyncio.wait([task], timeout=None if end else 0)
    await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == said
